"""One at a time, among processes.

A lab's own lock comes before the roots' or the machine's, and no other is asked for inside of these.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: A folder that every Linux has; its lock needs no file that would be left behind.
_MACHINE = Path("/run")


@contextmanager
def locked(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock, which goes with the process that holds it; the folder is made where needed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        _wait(file.fileno(), f"another `bench lab` is at work in {folder}; waiting for it", tell)
        yield


@contextmanager
def machine_locked(tell: Callable[[str], None]) -> Iterator[None]:
    """Hold what all labs of this machine share: its free subnets, its list of binary formats."""
    folder = os.open(_MACHINE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _wait(folder, "another lab of this machine starts or ends; waiting for it", tell)
        yield
    finally:
        os.close(folder)


def _wait(file: int, words: str, tell: Callable[[str], None]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        tell(words)
        fcntl.flock(file, fcntl.LOCK_EX)
