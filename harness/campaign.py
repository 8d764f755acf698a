"""Runs the cases of a plan: boards beside each other, the cases of a board one after the other.

A board that is slow to answer, or never does, delays no other but `local`.

Once a case's results are here the board gets the next, and the record is made beside that. Every record is
saved the moment it is complete, failures too. A failed case never stops the others, and a
board that cannot be reached fails its own cases only.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from device_agents.protocol import ProbeReply, RuntimeStatus
from harness.benchmark import CaseOutcome, CaseRequest, Interrupted, MeasuredCase, run_case
from harness.board_options import BoardOptions
from harness.case_preparation import CasePreparation, ReadyCase
from harness.errors import BenchError, CaseError, DeviceError, LinkError
from harness.farm.inventory import LOCAL
from harness.link.device_session import DeviceSession
from harness.open_files import allow_open_files
from harness.plan import PlannedCase
from harness.preparation import Preparation, Workload
from harness.progress import Observer
from harness.records.board_expectations import differences, profile_of
from harness.records.case_records import failure_record, now
from harness.store import Samples, Store, case_key
from profiles.devices import DeviceProfile
from profiles.measurement import MeasurementProfile
from reports.record import Attempt, Record

#: An infrastructure failure is tried again this often; more would hide a board that is broken.
MAX_RETRIES = 2

#: How many jobs of a case an earlier, interrupted run may have left on its board.
MAX_KNOWN_JOBS = 100

#: Records that are made at once; each may take as much memory as its data set's outputs.
RECORDS_AT_ONCE = 8

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

#: The cases of each board.
_Todo = dict[str, list[PlannedCase]]

T = TypeVar("T")


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


@dataclass(frozen=True)
class _Trial:
    """A case that is to be measured, after `attempts` that failed; `number` is that of its job."""

    item: PlannedCase
    workload: Workload
    number: int = 0
    attempts: tuple[Attempt, ...] = ()


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
        self._cases = CasePreparation(
            preparation, settings.options, observer, lambda record: self._save(record, {})
        )
        self._open_session = open_session
        self._observer = observer
        self._stop = threading.Event()
        self._recorders = threading.BoundedSemaphore(RECORDS_AT_ONCE)

    def run(self, planned: Sequence[PlannedCase], finished: frozenset[str]) -> bool:
        """Measure every case but those whose key is in `finished`; False if it was interrupted.

        Each board is asked what it is, which decides what is converted for it; once it has answered it is
        prepared for and measured. Only `local` waits until everything is prepared for the others too:
        converting beside a measurement on the same machine would spoil it.
        """
        todo: _Todo = {}
        for item in planned:
            if case_key(item.case) not in finished:
                todo.setdefault(item.case.device, []).append(item)
        too_few = allow_open_files(len(todo))
        if too_few is not None:
            self._observer.note(too_few)
        running: list[Future[Any]] = []
        try:
            self._run_boards(todo, running)
        except KeyboardInterrupt:
            return False
        for future in running:
            future.result()
        return not self._stop.is_set()

    def _run_boards(self, todo: _Todo, running: list[Future[Any]]) -> None:
        """Start all and wait for what is `running`; Ctrl-C asks it to stop, a second one ends the wait."""
        try:
            self._start_boards(todo, running)
            _await(running)
        except KeyboardInterrupt:
            self._stop.set()
            if not all(future.done() for future in running):
                self._observer.note("stopping: what is finished is kept (Ctrl-C again to leave at once)")
            _await(running)
        except BaseException:
            self._stop.set()
            _await(running)
            raise

    def _start_boards(self, todo: _Todo, running: list[Future[Any]]) -> None:
        """Prepare for each board as it answers, on this thread, and measure it on one of its own."""
        opening = {
            _started(functools.partial(self._open_board, device, items)): device
            for device, items in todo.items()
        }
        all_prepared = threading.Event()
        try:
            while opening:
                answered = wait(opening, timeout=0.5, return_when=FIRST_COMPLETED).done
                for future in [each for each in opening if each in answered]:
                    device = opening.pop(future)
                    board = None if future.exception() else future.result()
                    if board is None:
                        running.append(future)  # which tells of an error nobody expected
                        continue
                    ready = self._prepared(todo[device], board)
                    begin = all_prepared if device == LOCAL else None
                    running.append(_started(functools.partial(self._run_device, board, ready, begin)))
        except BaseException:
            self._stop.set()
            raise
        finally:
            all_prepared.set()
            for future in opening:  # a board that answers now is not needed any more
                future.add_done_callback(_let_go)

    def _open_board(self, device: str, cases: Sequence[PlannedCase]) -> _Board | None:
        """The board, if it answers; else its cases get their record here."""
        session = None
        try:
            session = self._open_session(device)
            probe = session.open(sorted({item.case.runtime for item in cases}))
        except BenchError as error:
            if session is not None:
                session.close()
            for item in cases if not self._stop.is_set() else ():
                self._save(failure_record(item.case, _of_device(device, error)), {})
            return None
        self._observer.device_ready(device, describe(probe))
        profile = profile_of(self._settings.profiles.get(device), probe.facts)
        for sentence in differences(self._settings.profiles.get(device), probe.facts, probe.runtimes):
            self._observer.note(f"{device}: {sentence}")
        return _Board(session, {status.name: status for status in probe.runtimes}, profile)

    def _prepared(self, cases: Sequence[PlannedCase], board: _Board) -> list[ReadyCase]:
        """What the board is given for its cases; if that cannot be known, its session is closed."""
        try:
            return self._cases.of_board(cases, board.runtimes, self._stop.is_set)
        except BaseException:
            board.session.close()
            raise

    # --- on a board -------------------------------------------------------------------------------

    def _run_device(self, board: _Board, ready: Sequence[ReadyCase], begin: threading.Event | None) -> None:
        """Measure the cases one after the other; the record of each is made while the next is measured."""
        finishing: deque[Future[_Trial | None]] = deque()
        try:
            if begin is not None:
                begin.wait()
            todo = deque(_Trial(item, workload) for item, workload in ready)
            while todo and not self._stop.is_set():
                trial = todo.popleft()
                measured = self._tried(board, trial)
                finishing.append(_started(functools.partial(self._finished, trial, measured)))
                beside = 1 if _leaves_time(trial, measured, todo) else 0
                again = [finishing.popleft().result() for _ in range(len(finishing) - beside)]
                todo.extendleft(each for each in again if each is not None)
        except Interrupted:
            pass
        finally:
            board.session.close()
            for future in finishing:
                future.result()

    def _tried(self, board: _Board, trial: _Trial) -> MeasuredCase | CaseOutcome:
        """What came of the case on its board; a board that failed has given a failure."""
        item, settings = trial.item, self._settings
        request = CaseRequest(
            item.case,
            trial.workload,
            settings.measurement,
            self._job_id(trial),
            settings.lock_wait_s,
            settings.options,
            board.profile,
        )
        try:
            return run_case(board.session, request, self._observer, self._stop.is_set)
        except BenchError as error:
            return _failed(trial, error)

    def _finished(self, trial: _Trial, measured: MeasuredCase | CaseOutcome) -> _Trial | None:
        """Save the case's record, or say what to try instead."""
        outcome = self._outcome(trial, measured)
        failure, stopping = outcome.record.failure, self._stop.is_set()
        infrastructure = failure is not None and failure.class_ == "infrastructure"
        if infrastructure and outcome.known and trial.number < MAX_KNOWN_JOBS and not stopping:
            # That is how it ended before; what the board says now is a job further on.
            return replace(trial, number=trial.number + 1)
        passing = infrastructure and failure is not None and failure.reason not in _LASTING
        if failure is None or not passing or len(trial.attempts) >= MAX_RETRIES or stopping:
            record = replace(outcome.record, attempts=trial.attempts, job_id=self._job_id(trial))
            self._save(record, outcome.samples)
            return None
        self._observer.retrying(trial.item.case, failure.message)
        attempts = (*trial.attempts, Attempt(failure, now()))
        # A link says nothing about the job: it may be running, and is joined again by its id.
        return replace(trial, number=trial.number + (not outcome.unheard), attempts=attempts)

    def _outcome(self, trial: _Trial, measured: MeasuredCase | CaseOutcome) -> CaseOutcome:
        if isinstance(measured, CaseOutcome):
            return measured
        with self._recorders:
            try:
                return measured.outcome()
            except BenchError as error:
                return _failed(trial, error)

    def _job_id(self, trial: _Trial) -> str:
        """The same case of the same run is the same job on the board, so that resuming finds it again."""
        digest = hashlib.sha256(case_key(trial.item.case).encode()).hexdigest()[:12]
        return f"{self._settings.run_id}-{digest}-{trial.number}"

    # --- records ----------------------------------------------------------------------------------

    def _save(self, record: Record, samples: Samples) -> None:
        self._store.save(self._settings.run_id, record, samples)
        self._observer.case_finished(record)


def _leaves_time(trial: _Trial, measured: MeasuredCase | CaseOutcome, todo: Sequence[_Trial]) -> bool:
    """Whether the record can be made beside the next case: not beside one that this machine measures."""
    return isinstance(measured, MeasuredCase) and bool(todo) and trial.item.case.device != LOCAL


def _failed(trial: _Trial, error: BenchError) -> CaseOutcome:
    case = trial.item.case
    record = failure_record(case, _of_device(case.device, error), trial.workload)
    return CaseOutcome(record, {}, unheard=isinstance(error, LinkError))


def _of_device(device: str, error: BenchError) -> CaseError:
    """Whatever keeps a board from being reached is its own failure: a broken known_hosts file, say."""
    if isinstance(error, CaseError):
        return error
    return DeviceError(f"{device}: {error.message}", error.remedy, "bad_configuration")


def _started(work: Callable[[], T]) -> Future[T]:
    """Begin it on a thread that does not keep the process alive, so that a second Ctrl-C can leave it."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="device", daemon=True).start()
    return future


def _await(running: Sequence[Future[Any]]) -> None:
    """Until all have ended; in short waits: a signal that another thread takes does not wake a long one."""
    while wait(running, timeout=0.5).not_done:
        pass


def _let_go(answered: Future[_Board | None]) -> None:
    board = None if answered.exception() else answered.result()
    if board is not None:
        board.session.close()


def describe(probe: ProbeReply) -> str:
    """A board in one line."""
    facts = probe.facts
    words = [facts.board, facts.cpu_model, f"{facts.cpu_count} cores" if facts.cpu_count else None, facts.os]
    return ", ".join(word for word in words if word)
