"""The supervisor of a job: holds the board, starts one worker per repetition, keeps the journal.

It runs detached from the controller, so the link, the controller or the laptop's lid may go at any time.
Workers crash, hang or get killed without taking the job's journal along, and each end is named.
"""

import contextlib
import os
import signal
import time
from typing import Any, BinaryIO, Optional, Tuple

from device_agents import device_facts, telemetry
from device_agents.boards.board import Board
from device_agents.boards.host import this_host
from device_agents.boards.table import this_board
from device_agents.cooling import Cooling
from device_agents.engines.job_engine import RUNGS
from device_agents.journal import Journal
from device_agents.own_command import agent_command
from device_agents.protocol import (
    BuildAttemptFailed,
    EngineBuilt,
    Job,
    JobEnded,
    JobStarted,
    JobWaiting,
    OutputsSaved,
    RepetitionEnded,
    RepetitionStarted,
    RuntimeLoaded,
    SamplesTaken,
    StageReached,
    ToolTiming,
)
from device_agents.runtimes.table import RUNTIMES
from device_agents.watched import Ended, Watch
from device_agents.workspace import Workspace, WorkspaceError, hold, is_full

LOCK_POLL_S = 0.2
WAITING_INTERVAL_S = 5.0

#: Which failure class an end of a worker belongs to; design section 8.
_CLASSES = {
    "runtime_unavailable": "runtime",
    "load_failed": "runtime",
    "inference_failed": "runtime",
    "out_of_memory": "runtime",
    "illegal_instruction": "runtime",
    "crashed": "runtime",
    "killed": "runtime",
    "protocol": "infrastructure",
    "disk_full": "infrastructure",
    "io_failed": "infrastructure",
    "deadline": "timeout",
}

#: A build that ended so may succeed with less workspace.
_LACK_OF_MEMORY = frozenset({"out_of_memory", "killed"})

#: Ends of a build that are not the build's own; they keep the class they have anywhere.
_NOT_OF_BUILDING = frozenset({"runtime_unavailable", "deadline", "protocol", "disk_full", "io_failed"})

#: What a worker may say; the rest of the journal is the supervisor's.
_WORKER_EVENTS = (StageReached, RuntimeLoaded, SamplesTaken, OutputsSaved)


#: `cancel` leaves it in the job's folder: a signal without it is not the controller's.
CANCEL_MARK = "cancelled"


class Cancelled(Exception):
    """The controller asked for the job's end, or the board shuts down."""


def supervise(workspace: Workspace, job: Job) -> int:
    """Run a job to its end; the journal tells everything. Returns the process's exit status."""
    folder = workspace.job(job.job_id)
    # `cancel` may come as soon as the lock is held; it has to find somebody who can write the job's end.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.signal(signal.SIGTERM, _cancel)
    held = hold(folder)
    if held is None or os.path.getsize(os.path.join(folder, "journal.jsonl")) > 0:
        return 0  # the job has its supervisor, or had it
    journal = Journal(folder)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        journal.keep_space_for_end()
        outcome, end = _run_on_board(workspace, job, journal)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except Cancelled:
        outcome, end = _end_by_signal(folder)
    except OSError as error:
        reason = "disk_full" if is_full(error) else "io_failed"
        where = f" ({error.filename})" if error.filename else ""
        outcome = "failed"
        end = Ended(reason, f"the job's supervisor could not go on: {error.strerror or error}{where}")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    failure_class = None
    if outcome != "ok":
        failure_class = end.failure_class or _CLASSES.get(end.reason or "", "infrastructure")
    journal.end(JobEnded(time.time(), outcome, failure_class, end.reason, end.message))
    held.close()
    return 0


def _end_by_signal(folder: str) -> Tuple[str, Ended]:
    """Whose SIGTERM it was: systemd sends one to everything when a board shuts down or restarts."""
    if os.path.exists(os.path.join(folder, CANCEL_MARK)):
        return "cancelled", Ended("cancelled", "the job was cancelled")
    message = "the job was told to end (SIGTERM) by somebody else: the board shut down, or a person ended it"
    return "failed", Ended("terminated", message)


def _cancel(_signal: int, _frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; a second would cut short the first
    raise Cancelled


def _run_on_board(workspace: Workspace, job: Job, journal: Journal) -> Tuple[str, Ended]:
    board = _take_board(workspace, job, journal)
    if board is None:
        holder, since = workspace.holder() or ("another job", time.time())
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(since))
        return "failed", Ended(
            "board_busy", f"{holder} holds the board since {when}; waited {job.lock_wait_s:g} s"
        )
    with board:
        try:
            return _JobOnBoard(workspace, job, journal).run()
        finally:
            _show_life(workspace)


def _take_board(workspace: Workspace, job: Job, journal: Journal) -> Optional[BinaryIO]:
    """The board's lock, waited for as long as the job allows; while waiting the journal says who has it."""
    give_up = time.monotonic() + job.lock_wait_s
    told = -WAITING_INTERVAL_S
    while True:
        board = workspace.try_board(job.job_id)
        if board is not None or time.monotonic() >= give_up:
            return board
        if time.monotonic() - told >= WAITING_INTERVAL_S:
            told = time.monotonic()
            holder, since = workspace.holder() or ("another job", time.time())
            journal.write(JobWaiting(time.time(), holder, since))
            _show_life(workspace)
        time.sleep(LOCK_POLL_S)


def _show_life(workspace: Workspace) -> None:
    """The run's lease outlives this job; while it has the board nothing is written."""
    from device_agents.leases import Leases

    with contextlib.suppress(OSError, WorkspaceError):
        Leases(workspace).hand_back()


class _JobOnBoard:
    """A job that has the board: from its state as found, through the measurements, back to that state."""

    def __init__(self, workspace: Workspace, job: Job, journal: Journal) -> None:
        self._workspace = workspace
        self._folder = workspace.job(job.job_id)
        self._job = job
        self._journal = journal
        self._host = this_host()
        self._board: Board = this_board(self._host)
        self._deadline = time.monotonic() + job.deadline_s
        self._cooling = Cooling(self._board, job.max_start_temperature_c, job.cool_down_s)

    def run(self) -> Tuple[str, Ended]:
        """Measure, and leave the board as it was, however that ends."""
        self._restore_leftovers()
        self._journal.write(JobStarted(time.time(), os.getpid(), device_facts.collect(self._board)))
        if self._job.performance_mode == "keep":
            return self._measure()
        from device_agents.performance.mode import PerformanceMode

        mode = PerformanceMode(self._workspace, self._host, self._job.performance_mode)
        try:
            self._journal.write(mode.enter())
            return self._measure()
        finally:
            self._journal.write(mode.leave())

    def _restore_leftovers(self) -> None:
        """Put back what an agent that died with its guard left raised."""
        if not self._workspace.is_raised():
            return
        from device_agents.performance.mode import restore_leftovers

        restored = restore_leftovers(self._workspace, self._host)
        if restored is not None:
            self._journal.write(restored)

    def _measure(self) -> Tuple[str, Ended]:
        self._board.start()
        try:
            end = self._build_engine()
            for repetition in range(self._job.measurement.repetitions):
                if end.reason is not None:
                    return "failed", end
                self._cool_down()
                end = self._repeat(repetition)
            if end.reason is None:
                self._cross_check()
            return ("ok" if end.reason is None else "failed"), end
        finally:
            self._board.stop()

    # --- the engine -------------------------------------------------------------------------------

    def _build_engine(self) -> Ended:
        """The engine, in as many tries as there are rungs of workspace; nothing without engines."""
        runtime = RUNTIMES.get(self._job.runtime)
        if runtime is None or not runtime().builds_engines:
            return Ended()
        end = Ended()
        for rung in range(RUNGS):
            watch = self._child(f"build-{rung}", (), (EngineBuilt, BuildAttemptFailed), "build", str(rung))
            end = self._watched(watch)
            if isinstance(watch.last, EngineBuilt) and end.reason is None:
                return end
            if isinstance(watch.last, BuildAttemptFailed) and end.reason is None:
                end = Ended(watch.last.reason, watch.last.message)
            else:
                message = end.message or ""
                self._journal.write(BuildAttemptFailed(time.time(), rung, None, end.reason or "", message))
            if end.reason not in _LACK_OF_MEMORY:
                break
        failure_class = _CLASSES.get(end.reason or "") if end.reason in _NOT_OF_BUILDING else "build"
        return end._replace(failure_class=failure_class)

    def _cross_check(self) -> None:
        """The vendor's own tool on the same engine, where the job asks for it; it cannot fail the job."""
        if not self._job.options.get("via"):
            return
        watch = self._child("cross-check", (), (ToolTiming,), "cross-check")
        end = self._watched(watch)
        if end.reason is not None:
            tool, said = self._job.options["via"], end.message or end.reason
            self._journal.write(ToolTiming(time.time(), tool, "", "", 0, 0.0, 0.0, [said]))

    # --- repetitions ------------------------------------------------------------------------------

    def _repeat(self, number: int) -> Ended:
        """One fresh worker process."""
        self._journal.write(telemetry.sample(self._board, "before"))
        watch = self._child(f"worker-{number}", _WORKER_EVENTS, (RepetitionEnded,), "worker", str(number))
        end = self._watched(
            watch,
            started=lambda pid: self._journal.write(RepetitionStarted(time.time(), number, pid)),
            sample=lambda: self._journal.write(telemetry.sample(self._board, "running")),
        )
        self._journal.write(telemetry.sample(self._board, "after"))
        if end.reason is None:
            return Ended(watch.last.reason, watch.last.message)
        self._journal.write(RepetitionEnded(time.time(), number, "failed", end.reason, end.message))
        return end

    def _cool_down(self) -> None:
        cooled = self._cooling.wait(self._deadline)
        if cooled is not None:
            self._journal.write(cooled)

    def _child(
        self, name: str, says: Tuple[Any, ...], closing: Tuple[Any, ...], command: str, *arguments: str
    ) -> Watch:
        full = agent_command("--workspace", self._workspace.root, command, self._job.job_id, *arguments)
        return Watch(full, os.path.join(self._folder, f"{name}.log"), self._journal, says, closing)

    def _watched(self, watch: Watch, **callbacks: Any) -> Ended:
        end = watch.run(self._deadline, **callbacks)
        if end.reason == "deadline":
            return Ended(end.reason, f"the job took longer than its {self._job.deadline_s:g} s")
        return end
