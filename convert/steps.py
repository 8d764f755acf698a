"""One tool's work on the way to an artifact, with the time and memory it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
#: Written to clear_refs, makes the kernel start the peak anew (proc_pid_clear_refs(5)).
_RESET_PEAK = "5"


@dataclass(frozen=True)
class Step:
    """What one tool did. `peak_memory_bytes` is the peak RSS of the worker during the step."""

    tool: str
    version: str
    seconds: float
    peak_memory_bytes: int | None
    detail: str | None = None


class StepLog:
    """The steps of one conversion, and what a person should know about them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.warnings: list[str] = []

    @contextmanager
    def step(self, package: str, detail: str) -> Iterator[None]:
        """Records the block as one step of an installed package."""
        with suppress(OSError):
            _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        self.steps.append(Step(package, version(package), seconds, peak_memory_bytes(), detail))


def peak_memory_bytes() -> int | None:
    """Peak RSS of this process, None where the system does not tell.

    Not ru_maxrss: that one survives exec, so a child of a large parent would start with its peak.
    """
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
