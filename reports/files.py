"""Files that are whole or not there: a reader never sees half of one."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import secrets
from pathlib import Path
from typing import TextIO


def write_atomically(path: Path, text: str) -> None:
    """Write `text` as UTF-8 beside `path` and move it there; on an error the old file stays as it was.

    Raises OSError when the folder is missing or cannot be written. What killed writers left is removed.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        _remove_unless_held(left)
    temporary, file = _opened(path)
    try:
        with file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _opened(path: Path) -> tuple[Path, TextIO]:
    """A new file beside `path`, held for as long as it is open."""
    while True:
        # Not mkstemp, whose files are for the owner alone: a report is there to be shared.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        file = temporary.open("x", encoding="utf-8", newline="")
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():  # in the moment between, somebody may have taken it for an abandoned one
            return temporary, file
        file.close()


def _remove_unless_held(part: Path) -> None:
    with contextlib.suppress(OSError), part.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.unlink()
