"""Locks of the performance mode: they end with the process that holds them, so a killed one blocks nobody."""

import contextlib
import fcntl
import time
from typing import BinaryIO, Iterator, Optional

POLL_S = 0.01


def take(path: str, patience_s: float) -> Optional[BinaryIO]:
    """The lock at `path`, waited for: an open file, which `close` frees. None if somebody else keeps it.

    A child that inherits the descriptor keeps it locked. Raises OSError of the file system.
    """
    file = open(path, "a+b", buffering=0)  # noqa: SIM115 - open for as long as it is locked
    try:
        give_up = time.monotonic() + patience_s
        while not _try(file):
            if time.monotonic() >= give_up:
                file.close()
                return None
            time.sleep(POLL_S)
        return file
    except BaseException:  # that of a signal as well: nobody else would ever close it
        file.close()
        raise


@contextlib.contextmanager
def held(path: str, patience_s: float) -> Iterator[bool]:
    """Whether the lock could be had; it is freed at the end of the block."""
    file: Optional[BinaryIO] = None
    try:
        file = take(path, patience_s)
        yield file is not None
    finally:
        if file is not None:
            file.close()


def _try(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
