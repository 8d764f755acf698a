"""Runs `bench` itself as a child, so that a crash, a lack of memory or a hang costs one model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

_ROOT = str(Path(__file__).resolve().parent.parent)
#: `-P` keeps the current folder off sys.path: a stray harness.py there must not be imported.
_BOOTSTRAP = (
    "import sys; root = sys.argv.pop(1); root in sys.path or sys.path.insert(0, root); "
    "from harness.commands.cli import main; main()"
)
#: How often memory is looked at.
_LOOK_S = 0.05
#: What a child that was asked to end may take to end its own children.
_GRACE_S = 5.0
_LAST_LINES = 20


@dataclass(frozen=True)
class ProcessEnd:
    """How the child ended."""

    #: Exit status, negative for a signal; None where it was stopped for its time or memory.
    status: int | None
    out: str
    #: The end of what it said on standard error.
    last_words: str
    seconds: float
    over_memory: bool
    #: Most bytes that the child itself held, its own children aside: they have the same limit each.
    peak_memory: int


def run_bench(
    arguments: Sequence[str],
    *,
    deadline_s: float | None,
    memory_limit: int | None,
    tell: Callable[[str], None],
) -> ProcessEnd:
    """Runs `bench ARGUMENTS` to its end or its limits; `tell` gets its lines on standard error."""
    command = [sys.executable, "-P", "-c", _BOOTSTRAP, _ROOT, *arguments]
    started = time.monotonic()
    ends_at = None if deadline_s is None else started + deadline_s
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # Ctrl-C reaches us alone; we end the child ourselves.
            start_new_session=True,
        ) as process:
            assert process.stderr is not None
            lines: deque[str] = deque(maxlen=_LAST_LINES)
            listener = threading.Thread(target=_listen, args=(process.stderr, lines, tell), daemon=True)
            listener.start()
            try:
                status, over_memory, peak = _watched(process, ends_at, memory_limit)
            finally:
                _end(process)
            listener.join(_GRACE_S)
        out.seek(0)
        seconds = time.monotonic() - started
        return ProcessEnd(status, out.read(), "\n".join(lines), seconds, over_memory, peak)


def _listen(stream: IO[str], lines: deque[str], tell: Callable[[str], None]) -> None:
    for line in stream:
        lines.append(line.rstrip("\n"))
        tell(lines[-1])


def _watched(
    process: subprocess.Popen[str], ends_at: float | None, memory_limit: int | None
) -> tuple[int | None, bool, int]:
    """Exit status (None: limits exceeded), whether it was memory, and the peak."""
    peak = 0
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK_S), False, peak
        with suppress(psutil.Error):
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
        if memory_limit is not None and peak > memory_limit:
            return None, True, peak
        if ends_at is not None and time.monotonic() >= ends_at:
            return None, False, peak


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the child and all it started: asked first, so that it can clean up."""
    if process.poll() is not None:
        return
    below = []
    with suppress(psutil.Error):
        below = psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    process.kill()
    for other in below:
        with suppress(psutil.Error):
            other.kill()
