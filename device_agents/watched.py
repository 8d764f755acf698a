"""One child process of the supervisor, watched: its events go into the journal, its end gets a name.

Children crash, hang or get killed without taking the job's journal along.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from device_agents import telemetry
from device_agents.journal import Journal
from device_agents.protocol import MAX_LINE_BYTES, ProtocolError, decode, encode

TELEMETRY_INTERVAL_S = 1.0

#: A child's log is cut to the second of these once it is longer than the first.
MAX_LOG_BYTES = 1 << 20
KEPT_LOG_BYTES = 64 << 10


class Ended(NamedTuple):
    """How a child or a job ended; no reason means well. `failure_class` where the reason does not say."""

    reason: Optional[str] = None
    message: Optional[str] = None
    failure_class: Optional[str] = None


class Watch:
    """A child, from its start to its end. It may send events of the types in `says`, one JSON line each.

    One of the types in `closing` has to be its last word; without it, it died.
    """

    def __init__(
        self,
        command: List[str],
        log_path: str,
        journal: Journal,
        says: Tuple[Any, ...],
        closing: Tuple[Any, ...],
    ) -> None:
        self._command = command
        self._log_path = log_path
        self._journal = journal
        self._says = says + closing
        self._closing = closing
        self._buffer = b""
        #: The last event it sent.
        self.last: Any = None

    def run(
        self,
        deadline: float,
        started: Callable[[int], None] = lambda _pid: None,
        sample: Callable[[], Any] = lambda: None,
    ) -> Ended:
        """See it through; `deadline` is on the monotonic clock, `sample` is called every second meanwhile.

        No reason in the answer means that it said its last word, which is in `last`.
        """
        kills_before = telemetry.oom_kills()
        # For appending: what it writes after the file was shortened goes to its end.
        _remove(self._log_path)
        with open(self._log_path, "ab") as log:
            child = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        with child:
            started(child.pid)
            try:
                fault = self._watch(child, deadline, sample)
            finally:
                child.kill()
                child.wait()
        if fault is not None:
            return fault
        if isinstance(self.last, self._closing):
            return Ended()
        return _name_of_death(child.returncode, kills_before, self._log_path)

    def _watch(
        self, child: "subprocess.Popen[bytes]", deadline: float, sample: Callable[[], Any]
    ) -> Optional[Ended]:
        """Pass the child's events on and sample the board until its output ends; a fault ends it early."""
        assert child.stdout is not None
        began = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            next_sample = began + TELEMETRY_INTERVAL_S
            while True:
                now = time.monotonic()
                if now >= deadline:
                    return Ended("deadline", f"the job's time was over {now - began:.0f} s into this step")
                if now >= next_sample:
                    sample()
                    _shorten(self._log_path)
                    next_sample = now + TELEMETRY_INTERVAL_S
                if not selector.select(max(0.0, min(next_sample, deadline) - now)):
                    # What it left behind may hold its output open for ever.
                    if child.poll() is not None and not selector.select(0.0):
                        return None
                    continue
                piece = os.read(child.stdout.fileno(), 1 << 16)
                if not piece:
                    return None
                fault = self._take(piece)
                if fault is not None:
                    return fault

    def _take(self, piece: bytes) -> Optional[Ended]:
        """Whole lines of the child into the journal, each checked first."""
        lines = (self._buffer + piece).split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) > MAX_LINE_BYTES:
            return Ended("protocol", "the worker wrote a line without end")
        for line in lines:
            try:
                event = decode(line)
            except ProtocolError as error:
                return Ended("protocol", f"the worker wrote to the agent's channel: {error}")
            if not isinstance(event, self._says):
                return Ended("protocol", f"the worker sent {type(event).__name__}, which is not its to say")
            self.last = event
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


def _shorten(log_path: str) -> None:
    """Keep a talkative child from filling the board's disk: of what it said too much, the end is kept."""
    with contextlib.suppress(OSError):
        if os.path.getsize(log_path) > MAX_LOG_BYTES:
            with open(log_path, "r+b") as log:
                log.seek(-KEPT_LOG_BYTES, os.SEEK_END)
                kept = log.read(KEPT_LOG_BYTES)
                log.seek(0)
                log.truncate()
                log.write(kept)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def _last_words(log_path: str) -> str:
    try:
        with open(log_path, "rb") as log:
            log.seek(max(0, os.path.getsize(log_path) - 2000))
            text = log.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return f"; it last said: {text}" if text else ""
