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
from dataclasses import dataclass, replace

from device_agents.protocol import ProbeReply, RuntimeStatus
from harness.benchmark import CaseOutcome, CaseRequest, Interrupted, run_case
from harness.case_records import failure_record, now, unsupported_record
from harness.errors import BenchError, CaseError, DeviceError, LinkError, RuntimeUnavailable
from harness.link.device_session import DeviceSession
from harness.plan import PlannedCase
from harness.preparation import Preparation, Workload
from harness.progress import Observer
from harness.store import Samples, Store, case_key
from profiles.measurement import MeasurementProfile
from reports.record import Attempt, Record

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

        Everything is prepared before anything is measured: `local` may be one of the boards, and converting
        beside a measurement would spoil it.
        """
        todo = [item for item in planned if case_key(item.case) not in finished]
        try:
            ready = self._prepare(todo)
            devices = list(dict.fromkeys(item.case.device for item in todo))
            self._await(
                [
                    _started(
                        functools.partial(
                            self._run_device,
                            device,
                            [pair for pair in ready if pair[0].case.device == device],
                        )
                    )
                    for device in devices
                ]
            )
        except KeyboardInterrupt:
            self._stop.set()
        return not self._stop.is_set()

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

    # --- on this host -----------------------------------------------------------------------------

    def _prepare(self, todo: Sequence[PlannedCase]) -> list[tuple[PlannedCase, Workload]]:
        """The workloads of all cases; those that have none get their record here."""
        ready: list[tuple[PlannedCase, Workload]] = []
        made: dict[object, Workload | CaseError] = {}
        noted: set[str] = set()
        for item in todo:
            case = item.case
            key = (case.model, case.runtime, case.precision, case.batch_size)
            if key not in made:
                self._observer.preparing(f"{case.model} for {case.runtime} at {case.precision}")
                made[key] = self._workload(item)
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

    def _workload(self, item: PlannedCase) -> Workload | CaseError:
        try:
            return self._preparation.workload(
                item.model, item.case.runtime, item.case.precision, item.case.batch_size
            )
        except CaseError as error:
            return error

    # --- on a board -------------------------------------------------------------------------------

    def _run_device(self, device: str, ready: Sequence[tuple[PlannedCase, Workload]]) -> None:
        if not ready or self._stop.is_set():
            return
        try:
            session = self._open_session(device)
        except BenchError as error:
            self._fail_all(ready, _of_device(device, error))
            return
        try:
            runtimes = sorted({item.case.runtime for item, _ in ready})
            try:
                probe = session.open(runtimes)
            except BenchError as error:
                self._fail_all(ready, _of_device(device, error))
                return
            self._observer.device_ready(device, describe(probe))
            states = {status.name: status for status in probe.runtimes}
            for item, workload in ready:
                if self._stop.is_set():
                    return
                self._run_one(session, item, workload, states)
        finally:
            session.close()

    def _run_one(
        self,
        session: DeviceSession,
        item: PlannedCase,
        workload: Workload,
        states: Mapping[str, RuntimeStatus],
    ) -> None:
        state = states.get(item.case.runtime)
        if state is None or not state.available:
            self._save(_without_runtime(item, state), {})
            return
        try:
            outcome = self._with_retries(session, item, workload)
        except Interrupted:
            return
        self._save(outcome.record, outcome.samples)

    def _with_retries(self, session: DeviceSession, item: PlannedCase, workload: Workload) -> CaseOutcome:
        """The first outcome that is no passing infrastructure failure; all attempts are kept."""
        attempts: list[Attempt] = []
        number = 0
        while True:
            job_id = self._job_id(item, number)
            request = CaseRequest(
                item.case, workload, self._settings.measurement, job_id, self._settings.lock_wait_s
            )
            link_failed = False
            try:
                outcome = run_case(session, request, self._observer, self._stop.is_set)
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

    def _fail_all(self, ready: Sequence[tuple[PlannedCase, Workload]], error: CaseError) -> None:
        for item, workload in ready:
            self._save(failure_record(item.case, error, workload), {})

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
    return unsupported_record(item.case, error.reason, error.message, error.remedy, error.failure_class)


#: Reasons that say: this precision is not to be had for this model.
_PRECISION_REASONS = frozenset({"calibration_required", "already_quantized", "precision_not_reached"})


def _without_runtime(item: PlannedCase, state: RuntimeStatus | None) -> Record:
    why = state.reason if state is not None and state.reason else "the agent does not know it"
    message = f"{item.case.device}: {item.case.runtime} does not work there: {why}"
    remedy = f"install {item.case.runtime} in the Python that the inventory names for {item.case.device}"
    error = RuntimeUnavailable(message, remedy)
    if item.runtime_asked:
        return failure_record(item.case, error)
    return unsupported_record(item.case, error.reason, message, remedy, error.failure_class)
