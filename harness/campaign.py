"""Runs the cases of a plan: boards beside each other, the cases of a board one after the other.

A board that is slow to answer, or never does, delays no other but `local`.

Every record is saved the moment it is complete, failures too. A failed case never stops the others, and a
board that cannot be reached fails its own cases only.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from device_agents.protocol import ProbeReply, RuntimeStatus
from harness.benchmark import CaseOutcome, CaseRequest, Interrupted, run_case
from harness.board_lease import BoardLease, Stopped, holder_words, kept
from harness.board_options import BoardOptions
from harness.case_preparation import CasePreparation, ReadyCase
from harness.errors import BenchError, CaseError, DeviceError, LeaseLost, LinkError
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

#: A case may find so often that its board went to another run just before it.
MAX_LEASES_LOST = 10

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
    #: Boards whose lease this run has already, because it chose them for being free.
    claimed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Board:
    """A board that answers, and what it said."""

    session: DeviceSession
    lease: BoardLease
    runtimes: Mapping[str, RuntimeStatus]
    profile: DeviceProfile | None

    def let_go(self) -> None:
        """For others to use."""
        self.lease.release()
        self.session.close()


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
        #: Called when a board is about to be measured: from then on its jobs keep its lease.
        self._end_keeping: Callable[[str], None] = lambda _device: None

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
        claimed = {device: functools.partial(self._open_session, device) for device in self._settings.claimed}
        try:
            with kept(claimed) as self._end_keeping:
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
                    _started(functools.partial(self._run_device, board, ready, begin), running)
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
        lease = BoardLease(
            session,
            holder_words(f"run {self._settings.run_id}"),
            self._settings.lock_wait_s,
            functools.partial(self._observer.waiting, device),
            self._stop.is_set,
            held=device in self._settings.claimed,
        )
        return _Board(session, lease, {status.name: status for status in probe.runtimes}, profile)

    def _prepared(self, cases: Sequence[PlannedCase], board: _Board) -> list[ReadyCase]:
        """What the board is given for its cases; if that cannot be known, it is let go."""
        try:
            return self._cases.of_board(cases, board.runtimes, self._stop.is_set)
        except BaseException:
            board.let_go()
            raise

    # --- on a board -------------------------------------------------------------------------------

    def _run_device(self, board: _Board, ready: Sequence[ReadyCase], begin: threading.Event | None) -> None:
        try:
            if begin is not None:
                begin.wait()
            self._end_keeping(board.session.device)
            for item, workload in ready:
                if self._stop.is_set():
                    return
                outcome = self._with_retries(board, item, workload)
                self._save(outcome.record, outcome.samples)
        except (Interrupted, Stopped):
            pass
        finally:
            board.let_go()

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
                outcome = self._measured(board, request)
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

    def _measured(self, board: _Board, request: CaseRequest) -> CaseOutcome:
        """The case, once the run has the board; if another run got it meanwhile, it is waited for again."""
        for _ in range(MAX_LEASES_LOST):
            board.lease.take()
            try:
                return run_case(board.session, request, self._observer, self._stop.is_set)
            except LeaseLost:
                board.lease.lost()
        board.lease.take()
        return run_case(board.session, request, self._observer, self._stop.is_set)

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


def _started(work: Callable[[], T], among: list[Future[T]] | None = None) -> Future[T]:
    """Begin it on a thread that does not keep the process alive, so that a second Ctrl-C can leave it.

    It is `among` the others before it begins: a Ctrl-C at its very start has to wait for it too.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)

    thread = threading.Thread(target=run, name="device", daemon=True)
    if among is not None:
        among.append(future)
    try:
        thread.start()
    except BaseException as error:
        if thread.ident is None:  # nobody else will end it
            future.set_exception(error)
        raise
    return future


def _await(running: Sequence[Future[Any]]) -> None:
    """Until all have ended; in short waits: a signal that another thread takes does not wake a long one."""
    while wait(running, timeout=0.5).not_done:
        pass


def _let_go(answered: Future[_Board | None]) -> None:
    board = None if answered.exception() else answered.result()
    if board is not None:
        board.let_go()


def describe(probe: ProbeReply) -> str:
    """A board in one line."""
    facts = probe.facts
    words = [facts.board, facts.cpu_model, f"{facts.cpu_count} cores" if facts.cpu_count else None, facts.os]
    return ", ".join(word for word in words if word)
