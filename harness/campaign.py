"""Runs the cases of a plan: boards beside each other, the cases of a board one after the other.

Every record is saved the moment it is complete, failures too. A failed case never stops the others, and a
board that cannot be reached fails its own cases only.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace

from device_agents.protocol import ProbeReply, RuntimeStatus
from harness.benchmark import CaseOutcome, CaseRequest, Interrupted, run_case
from harness.board_options import BoardOptions
from harness.errors import (
    BenchError,
    CaseError,
    DeviceError,
    LinkError,
    PrecisionUnsupported,
    RuntimeUnavailable,
)
from harness.link.device_session import DeviceSession
from harness.negotiation import ArtifactForm, negotiate
from harness.plan import PlannedCase
from harness.preparation import Preparation, Workload
from harness.progress import Observer
from harness.records.board_expectations import differences, profile_of
from harness.records.case_records import failure_record, now, unsupported_record
from harness.store import Samples, Store, case_key
from profiles.devices import DeviceProfile
from profiles.measurement import MeasurementProfile
from reports.record import Attempt, Case, Record

#: An infrastructure failure is tried again this often; more would hide a board that is broken.
MAX_RETRIES = 2

#: How many jobs of a case an earlier, interrupted run may have left on its board.
MAX_KNOWN_JOBS = 100

#: Infrastructure failures that trying again does not mend.
_LASTING = frozenset(
    {
        "access_denied",
        "host_key_changed",
        "host_key_unknown",
        "no_python",
        "agent_start_failed",
        "protocol_mismatch",
        "endless_job",
        "host_disk",
        "workspace_unusable",
        "bad_configuration",
        "disk_full",
        "board_busy",
    }
)

OpenSession = Callable[[str], DeviceSession]


@dataclass(frozen=True)
class CampaignSettings:
    """What holds for all cases of a run."""

    run_id: str
    measurement: MeasurementProfile
    lock_wait_s: float
    options: BoardOptions = field(default_factory=BoardOptions)
    #: The kind each board is said to be, by the board's name.
    profiles: Mapping[str, DeviceProfile] = field(default_factory=dict)


@dataclass(frozen=True)
class _Board:
    """A board that answers, and what it said."""

    session: DeviceSession
    runtimes: Mapping[str, RuntimeStatus]
    profile: DeviceProfile | None


class Campaign:
    """One run over its boards."""

    def __init__(
        self,
        settings: CampaignSettings,
        store: Store,
        preparation: Preparation,
        open_session: OpenSession,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._store = store
        self._preparation = preparation
        self._open_session = open_session
        self._observer = observer
        self._stop = threading.Event()

    def run(self, planned: Sequence[PlannedCase], finished: frozenset[str]) -> bool:
        """Measure every case but those whose key is in `finished`; False if it was interrupted.

        All boards are asked what they are first: it decides what is converted for them. Then everything is
        prepared before anything is measured: `local` may be one of the boards, and converting beside a
        measurement would spoil it.
        """
        todo = [item for item in planned if case_key(item.case) not in finished]
        try:
            boards = self._open_boards(todo)
            ready = self._prepared(todo, boards)
            self._in_parallel(
                {
                    device: functools.partial(
                        self._run_device, board, [pair for pair in ready if pair[0].case.device == device]
                    )
                    for device, board in boards.items()
                }
            )
        except KeyboardInterrupt:
            self._stop.set()
        return not self._stop.is_set()

    def _in_parallel(self, work: Mapping[str, Callable[[], None]]) -> None:
        self._await([_started(each) for each in work.values()])

    def _await(self, running: Sequence[Future[None]]) -> None:
        """Wait for all boards; Ctrl-C asks them to stop; a second one ends the wait too."""
        try:
            while wait(running, timeout=0.5).not_done:
                pass
        except KeyboardInterrupt:
            self._observer.note("stopping: what is finished is kept (Ctrl-C again to leave at once)")
            self._stop.set()
            # In short waits: a signal that another thread takes does not wake a long one.
            while wait(running, timeout=0.5).not_done:
                pass
        for future in running:
            future.result()

    # --- which boards are there -------------------------------------------------------------------

    def _open_boards(self, todo: Sequence[PlannedCase]) -> dict[str, _Board]:
        """The boards that answer, by name; the cases of the others get their record here."""
        opened: dict[str, _Board] = {}
        lock = threading.Lock()

        def open_one(device: str) -> None:
            cases = [item for item in todo if item.case.device == device]
            board = self._open_board(device, cases)
            if board is not None:
                with lock:
                    opened[device] = board

        devices = list(dict.fromkeys(item.case.device for item in todo))
        self._in_parallel({device: functools.partial(open_one, device) for device in devices})
        return {device: opened[device] for device in devices if device in opened}

    def _open_board(self, device: str, cases: Sequence[PlannedCase]) -> _Board | None:
        session = None
        try:
            session = self._open_session(device)
            probe = session.open(sorted({item.case.runtime for item in cases}))
        except BenchError as error:
            if session is not None:
                session.close()
            for item in cases:
                self._save(failure_record(item.case, _of_device(device, error)), {})
            return None
        self._observer.device_ready(device, describe(probe))
        profile = profile_of(self._settings.profiles.get(device), probe.facts)
        for sentence in differences(self._settings.profiles.get(device), probe.facts, probe.runtimes):
            self._observer.note(f"{device}: {sentence}")
        return _Board(session, {status.name: status for status in probe.runtimes}, profile)

    # --- on this host -----------------------------------------------------------------------------

    def _prepared(
        self, todo: Sequence[PlannedCase], boards: Mapping[str, _Board]
    ) -> list[tuple[PlannedCase, Workload]]:
        """As `_prepare`; what cannot go on leaves no session open."""
        try:
            return self._prepare(todo, boards)
        except BaseException:
            for board in boards.values():
                board.session.close()
            raise

    def _prepare(
        self, todo: Sequence[PlannedCase], boards: Mapping[str, _Board]
    ) -> list[tuple[PlannedCase, Workload]]:
        """The workloads of all cases; those that have none get their record here."""
        ready: list[tuple[PlannedCase, Workload]] = []
        made: dict[object, Workload | CaseError] = {}
        noted: set[str] = set()
        for item in todo:
            case = item.case
            if self._stop.is_set():
                break
            if case.device not in boards:
                continue
            state = boards[case.device].runtimes.get(case.runtime)
            if state is None or not state.available:
                self._save(_without_runtime(item, state), {})
                continue
            try:
                form = negotiate(case, state, self._settings.options)
            except PrecisionUnsupported as error:
                self._save(_unsupported(case, error), {})
                continue
            key = (case.model, case.runtime, case.batch_size, form.key)
            if key not in made:
                self._observer.preparing(f"{case.model} for {case.runtime} at {case.precision}")
                made[key] = self._workload(item, form)
            outcome = made[key]
            if isinstance(outcome, Workload):
                ready.append((item, outcome))
                for note in outcome.notes:
                    if note not in noted:
                        noted.add(note)
                        self._observer.note(note)
            else:
                self._save(_unprepared(item, outcome), {})
        return ready

    def _workload(self, item: PlannedCase, form: ArtifactForm) -> Workload | CaseError:
        try:
            return self._preparation.workload(item.model, item.case.runtime, form, item.case.batch_size)
        except CaseError as error:
            return error

    # --- on a board -------------------------------------------------------------------------------

    def _run_device(self, board: _Board, ready: Sequence[tuple[PlannedCase, Workload]]) -> None:
        try:
            for item, workload in ready:
                if self._stop.is_set():
                    return
                outcome = self._with_retries(board, item, workload)
                self._save(outcome.record, outcome.samples)
        except Interrupted:
            pass
        finally:
            board.session.close()

    def _with_retries(self, board: _Board, item: PlannedCase, workload: Workload) -> CaseOutcome:
        """The first outcome that is no passing infrastructure failure; all attempts are kept."""
        attempts: list[Attempt] = []
        number = 0
        while True:
            job_id = self._job_id(item, number)
            request = CaseRequest(
                item.case,
                workload,
                self._settings.measurement,
                job_id,
                self._settings.lock_wait_s,
                self._settings.options,
                board.profile,
            )
            link_failed = False
            try:
                outcome = run_case(board.session, request, self._observer, self._stop.is_set)
            except BenchError as error:
                link_failed = isinstance(error, LinkError)
                failed = failure_record(item.case, _of_device(item.case.device, error), workload)
                outcome = CaseOutcome(failed, {})
            failure = outcome.record.failure
            infrastructure = failure is not None and failure.class_ == "infrastructure"
            if infrastructure and outcome.known and number < MAX_KNOWN_JOBS and not self._stop.is_set():
                number += 1
                continue  # that is how it ended before; what the board says now is a job further on
            passing = infrastructure and failure is not None and failure.reason not in _LASTING
            if failure is None or not passing or len(attempts) >= MAX_RETRIES or self._stop.is_set():
                record = replace(outcome.record, attempts=tuple(attempts), job_id=job_id)
                return CaseOutcome(record, outcome.samples)
            attempts.append(Attempt(failure, now()))
            # A link says nothing about the job: it may be running, and is joined again by its id.
            number += not link_failed
            self._observer.retrying(item.case, failure.message)

    def _job_id(self, item: PlannedCase, number: int) -> str:
        """The same case of the same run is the same job on the board, so that resuming finds it again."""
        digest = hashlib.sha256(case_key(item.case).encode()).hexdigest()[:12]
        return f"{self._settings.run_id}-{digest}-{number}"

    # --- records ----------------------------------------------------------------------------------

    def _save(self, record: Record, samples: Samples) -> None:
        self._store.save(self._settings.run_id, record, samples)
        self._observer.case_finished(record)


def _of_device(device: str, error: BenchError) -> CaseError:
    """Whatever keeps a board from being reached is its own failure: a broken known_hosts file, say."""
    if isinstance(error, CaseError):
        return error
    return DeviceError(f"{device}: {error.message}", error.remedy, "bad_configuration")


def _started(work: Callable[[], None]) -> Future[None]:
    """Begin it on a thread that does not keep the process alive, so that a second Ctrl-C can leave it."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="device", daemon=True).start()
    return future


def describe(probe: ProbeReply) -> str:
    """A board in one line."""
    facts = probe.facts
    words = [facts.board, facts.cpu_model, f"{facts.cpu_count} cores" if facts.cpu_count else None, facts.os]
    return ", ".join(word for word in words if word)


def _unprepared(item: PlannedCase, error: CaseError) -> Record:
    """What nobody asked for by name and cannot be is `unsupported`; what was asked for has failed."""
    wanted = item.precision_asked if error.reason in _PRECISION_REASONS else True
    if wanted:
        return failure_record(item.case, error)
    return _unsupported(item.case, error)


def _unsupported(case: Case, error: CaseError) -> Record:
    return unsupported_record(case, error.reason, error.message, error.remedy, error.failure_class)


#: Reasons that say: this precision is not to be had for this model.
_PRECISION_REASONS = frozenset({"calibration_required", "already_quantized", "precision_not_reached"})


def _without_runtime(item: PlannedCase, state: RuntimeStatus | None) -> Record:
    why = state.reason if state is not None and state.reason else "the agent does not know it"
    message = f"{item.case.device}: {item.case.runtime} does not work there: {why}"
    remedy = f"`bench device check {item.case.device}` says what is missing and the command that mends it"
    error = RuntimeUnavailable(message, remedy)
    if item.runtime_asked:
        return failure_record(item.case, error)
    return _unsupported(item.case, error)
