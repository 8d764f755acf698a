"""What edgebench leaves running on a board, and what lies in its workspace."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path


def agents_in(workspace: Path) -> dict[int, str]:
    """Command lines of the agent's processes that belong to a workspace, by process id; Linux only."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            words = folder.joinpath("cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if str(workspace) in words and {"supervise", "worker", "follow"} & set(words):
            found[int(folder.name)] = " ".join(words)
    return found


def supervisor_in(workspace: Path) -> int | None:
    """The process id of the supervisor that works in a workspace."""
    return next((pid for pid, line in agents_in(workspace).items() if " supervise " in line), None)


def jobs_in(workspace: Path) -> list[str]:
    """The jobs that a board was ever given."""
    folder = workspace / "jobs"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def is_held(workspace: Path) -> bool:
    """Whether somebody holds the board."""
    with (workspace / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def becomes_true(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether it does, looking every 20 ms."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
