"""Folders for work in progress that go with their process, also when it is killed.

Who makes one holds its lock for as long as it lives, and first removes those nobody holds any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Where folders cannot be locked (some network file systems), one as old as this counts as left behind.
_STALE_S = 24 * 3600.0


def scratch_folder() -> Path:
    """Where this system wants temporary files."""
    return Path(tempfile.gettempdir())


@contextmanager
def held_folder(place: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `place`, for the user alone, removed at the end; `prefix` is used for nothing else.

    Others with that prefix whose process was killed are removed first.
    """
    for left in place.glob(f"{prefix}*"):
        _remove_unless_held(left)
    folder, lock = _made(place, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _made(place: Path, prefix: str) -> tuple[Path, int]:
    """A folder and its lock; made again if somebody took it for an abandoned one in the moment between."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)


def _remove_unless_held(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone already, no folder, or somebody else's
        return
    try:
        if os.fstat(lock).st_uid == os.geteuid() and _is_abandoned(lock):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _is_abandoned(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - os.fstat(folder).st_mtime > _STALE_S
    return True
