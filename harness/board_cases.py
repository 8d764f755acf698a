"""The cases of one board, one after the other.

Once a case's results are here the board gets the next, and the record is made beside that. Every record is
saved the moment it is complete, failures too; a failed case does not stop the others.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

from device_agents.protocol import RuntimeStatus
from harness.background import started
from harness.benchmark import CaseOutcome, CaseRequest, Interrupted, MeasuredCase, run_case
from harness.board_lease import BoardLease, Stopped
from harness.board_options import BoardOptions
from harness.case_preparation import ReadyCase
from harness.errors import BenchError, CaseError, DeviceError, LeaseLost, LinkError
from harness.farm.inventory import LOCAL
from harness.link.device_session import DeviceSession
from harness.plan import PlannedCase
from harness.preparation import Workload
from harness.progress import Observer
from harness.records.case_records import failure_record, now
from harness.store import Samples, case_key
from profiles.devices import DeviceProfile
from profiles.measurement import MeasurementProfile
from reports.record import Attempt, Record

#: An infrastructure failure is tried again this often; more would hide a board that is broken.
MAX_RETRIES = 2

#: A case may find so often that its board went to another run just before it.
MAX_LEASES_LOST = 10

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


@dataclass(frozen=True)
class CampaignSettings:
    """What holds for all cases of a run."""

    run_id: str
    measurement: MeasurementProfile
    lock_wait_s: float
    options: BoardOptions = field(default_factory=BoardOptions)
    #: The kind each board is said to be, by the board's name.
    profiles: Mapping[str, DeviceProfile] = field(default_factory=dict)
    #: Boards whose lease this run has already, because it chose them for being free.
    claimed: frozenset[str] = frozenset()
    #: Whether the run that has a lease was one of this computer and is no more.
    is_gone: Callable[[str], bool] = lambda _lease: False
    #: The longest that a case may take on its board, seconds; None leaves it to the measurement.
    deadline_s: float | None = None


@dataclass(frozen=True)
class ReachedBoard:
    """A board that answers, and what it said."""

    session: DeviceSession
    lease: BoardLease
    runtimes: Mapping[str, RuntimeStatus]
    profile: DeviceProfile | None

    def let_go(self) -> None:
        """For others to use."""
        self.lease.release()
        self.session.close()


@dataclass(frozen=True)
class _Trial:
    """A case that is to be measured, after `attempts` that failed; `number` is that of its job."""

    item: PlannedCase
    workload: Workload
    number: int = 0
    attempts: tuple[Attempt, ...] = ()


class BoardCases:
    """Measures cases on boards, each board's on a thread of its own; `run` is called for each.

    `save` gets every record as it is complete, with its samples.
    """

    def __init__(
        self,
        settings: CampaignSettings,
        observer: Observer,
        save: Callable[[Record, Samples], None],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._save = save
        self._stop = stop
        self._recorders = threading.BoundedSemaphore(RECORDS_AT_ONCE)

    def run(self, board: ReachedBoard, ready: Sequence[ReadyCase], scratch: Path) -> None:
        """Measure the cases and let the board go; the record of each is made while the next is measured.

        Result files are in `scratch` meanwhile.
        """
        finishing: deque[Future[_Trial | None]] = deque()
        try:
            todo = deque(_Trial(item, workload) for item, workload in ready)
            while todo and not self._stop.is_set():
                trial = todo.popleft()
                measured = self._measured(board, trial, scratch)
                finishing.append(started(functools.partial(self._finished, trial, measured)))
                beside = 1 if _leaves_time(trial, measured, todo) else 0
                again = [finishing.popleft().result() for _ in range(len(finishing) - beside)]
                todo.extendleft(each for each in again if each is not None)
        except (Interrupted, Stopped):
            pass
        finally:
            board.let_go()
            for future in finishing:
                future.result()

    # --- on the board -----------------------------------------------------------------------------

    def _measured(self, board: ReachedBoard, trial: _Trial, scratch: Path) -> MeasuredCase | CaseOutcome:
        """What came of the case on its board; a board that failed has given a failure."""
        request = CaseRequest(
            trial.item.case,
            trial.workload,
            self._settings.measurement,
            self._job_id(trial),
            self._settings.lock_wait_s,
            self._settings.options,
            board.profile,
            self._settings.deadline_s,
            scratch,
        )
        try:
            return self._leased(board, request)
        except BenchError as error:
            return _failed(trial, error)

    def _leased(self, board: ReachedBoard, request: CaseRequest) -> MeasuredCase | CaseOutcome:
        """The case, once the run has the board; if another run got it meanwhile, it is waited for again."""
        for _ in range(MAX_LEASES_LOST):
            board.lease.take()
            try:
                return run_case(board.session, request, self._observer, self._stop.is_set)
            except LeaseLost:
                board.lease.lost()
        board.lease.take()
        return run_case(board.session, request, self._observer, self._stop.is_set)

    def _job_id(self, trial: _Trial) -> str:
        """The same case of the same run is the same job on the board, so that resuming finds it again."""
        digest = hashlib.sha256(case_key(trial.item.case).encode()).hexdigest()[:12]
        return f"{self._settings.run_id}-{digest}-{trial.number}"

    # --- without the board ------------------------------------------------------------------------

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


def _leaves_time(trial: _Trial, measured: MeasuredCase | CaseOutcome, todo: Sequence[_Trial]) -> bool:
    """Whether the record can be made beside the next case: not beside one that this machine measures."""
    return isinstance(measured, MeasuredCase) and bool(todo) and trial.item.case.device != LOCAL


def _failed(trial: _Trial, error: BenchError) -> CaseOutcome:
    case = trial.item.case
    record = failure_record(case, failure_of_board(case.device, error), trial.workload)
    return CaseOutcome(record, {}, unheard=isinstance(error, LinkError))


def failure_of_board(device: str, error: BenchError) -> CaseError:
    """Whatever keeps a board from being reached is its own failure: a broken known_hosts file, say."""
    if isinstance(error, CaseError):
        return error
    return DeviceError(f"{device}: {error.message}", error.remedy, "bad_configuration")
