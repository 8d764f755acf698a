"""The supervisor of a job: holds the board, starts one worker per repetition, keeps the journal.

It runs detached from the controller, so the link, the controller or the laptop's lid may go at any time.
Workers crash, hang or get killed without taking the job's journal along, and each end is named.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from typing import Any, BinaryIO, List, NamedTuple, Optional, Tuple

from device_agents import device_facts, telemetry
from device_agents.journal import Journal
from device_agents.protocol import (
    MAX_LINE_BYTES,
    Job,
    JobEnded,
    JobStarted,
    JobWaiting,
    OutputsSaved,
    ProtocolError,
    RepetitionEnded,
    RepetitionStarted,
    RuntimeLoaded,
    SamplesTaken,
    StageReached,
    decode,
    encode,
)
from device_agents.workspace import Workspace, hold

TELEMETRY_INTERVAL_S = 1.0
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


#: What a worker may say; the rest of the journal is the supervisor's.
_WORKER_EVENTS = (StageReached, RuntimeLoaded, SamplesTaken, OutputsSaved, RepetitionEnded)


class Ended(NamedTuple):
    """How a repetition or a job ended; no reason means well."""

    reason: Optional[str] = None
    message: Optional[str] = None


class Cancelled(Exception):
    """The controller asked for the job's end, or the board shuts down."""


def agent_command(*arguments: str) -> List[str]:
    """How this agent starts itself, from its archive or from a checkout."""
    package = os.path.dirname(os.path.abspath(__file__))
    archive = os.path.dirname(package)
    if os.path.isfile(archive):
        return [sys.executable, archive] + list(arguments)
    code = (
        f"import sys; sys.path.insert(0, {archive!r}); "
        "from device_agents.main import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code] + list(arguments)


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
        outcome, end = _run_on_board(workspace, job, journal)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except Cancelled:
        outcome, end = "cancelled", Ended("cancelled", "the job was cancelled")
    except OSError as error:
        reason = "disk_full" if error.errno == 28 else "io_failed"
        outcome, end = "failed", Ended(reason, f"the supervisor failed: {error}")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    failure_class = None if outcome == "ok" else _CLASSES.get(end.reason or "", "infrastructure")
    journal.write(JobEnded(time.time(), outcome, failure_class, end.reason, end.message))
    journal.sync()
    held.close()
    return 0


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
        journal.write(JobStarted(time.time(), os.getpid(), device_facts.collect()))
        deadline = time.monotonic() + job.deadline_s
        for repetition in range(job.measurement.repetitions):
            end = Repetition(workspace, job, repetition, journal).run(deadline)
            if end.reason is not None:
                return "failed", end
        return "ok", Ended()


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
        time.sleep(LOCK_POLL_S)


class Repetition:
    """One worker process, watched."""

    def __init__(self, workspace: Workspace, job: Job, number: int, journal: Journal) -> None:
        self._workspace = workspace
        self._folder = workspace.job(job.job_id)
        self._job = job
        self._number = number
        self._journal = journal
        self._buffer = b""
        self._ended: Optional[RepetitionEnded] = None

    def run(self, deadline: float) -> Ended:
        """Start the worker and see it through; `deadline` is on the monotonic clock."""
        kills_before = telemetry.oom_kills()
        self._journal.write(telemetry.sample("before"))
        log_path = os.path.join(self._folder, f"worker-{self._number}.log")
        with open(log_path, "wb") as log:
            worker = subprocess.Popen(
                agent_command(
                    "--workspace", self._workspace.root, "worker", self._job.job_id, str(self._number)
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        with worker:
            self._journal.write(RepetitionStarted(time.time(), self._number, worker.pid))
            try:
                fault = self._watch(worker, deadline)
            finally:
                worker.kill()
                worker.wait()
        self._journal.write(telemetry.sample("after"))
        if fault is None and self._ended is not None:
            return Ended(self._ended.reason, self._ended.message)
        end = fault or _name_of_death(worker.returncode, kills_before, log_path)
        self._journal.write(RepetitionEnded(time.time(), self._number, "failed", end.reason, end.message))
        return end

    def _watch(self, worker: "subprocess.Popen[bytes]", deadline: float) -> Optional[Ended]:
        """Pass the worker's events on and sample the board until its output ends; a fault ends it early."""
        assert worker.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(worker.stdout, selectors.EVENT_READ)
            next_sample = time.monotonic() + TELEMETRY_INTERVAL_S
            while True:
                now = time.monotonic()
                if now >= deadline:
                    return Ended("deadline", f"the job took longer than its {self._job.deadline_s:g} s")
                if now >= next_sample:
                    self._journal.write(telemetry.sample("running"))
                    next_sample = now + TELEMETRY_INTERVAL_S
                if not selector.select(max(0.0, min(next_sample, deadline) - now)):
                    continue
                piece = os.read(worker.stdout.fileno(), 1 << 16)
                if not piece:
                    return None
                fault = self._take(piece)
                if fault is not None:
                    return fault

    def _take(self, piece: bytes) -> Optional[Ended]:
        """Whole lines of the worker into the journal, each checked first."""
        lines = (self._buffer + piece).split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) > MAX_LINE_BYTES:
            return Ended("protocol", "the worker wrote a line without end")
        for line in lines:
            try:
                event = decode(line)
            except ProtocolError as error:
                return Ended("protocol", f"the worker wrote to the agent's channel: {error}")
            if not isinstance(event, _WORKER_EVENTS):
                return Ended("protocol", f"the worker sent {type(event).__name__}, which is not its to say")
            if isinstance(event, RepetitionEnded):
                self._ended = event
            self._journal.write_line(encode(event))
        return None


def _name_of_death(status: int, kills_before: Optional[int], log_path: str) -> Ended:
    """What a worker died of that could not say so itself."""
    said = _last_words(log_path)
    if status >= 0:
        return Ended("crashed", f"the worker ended with status {status} and no result{said}")
    if -status == signal.SIGILL:
        message = (
            "illegal instruction: the runtime's package was built for a newer processor than this board has"
        )
        return Ended("illegal_instruction", message + said)
    if -status == signal.SIGKILL:
        kills_after = telemetry.oom_kills()
        if kills_before is not None and kills_after is not None and kills_after > kills_before:
            return Ended("out_of_memory", f"the kernel killed the worker for lack of memory{said}")
        return Ended("killed", f"the worker was killed (SIGKILL), most often for lack of memory{said}")
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return Ended("crashed", f"the worker died of {name}{said}")


def _last_words(log_path: str) -> str:
    try:
        with open(log_path, "rb") as log:
            log.seek(max(0, os.path.getsize(log_path) - 2000))
            text = log.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return f"; it last said: {text}" if text else ""
