"""Which runs of this computer are alive: each keeps a file locked for as long as its process lives.

A board cannot tell a controller that died from one whose link is cut. Another controller on the same computer
can, and need not wait until the lease of a dead run is over.
"""

from __future__ import annotations

import fcntl
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

#: What a killed run leaves is of use for as long as its leases live, which is minutes.
_KEPT_S = 7 * 86400.0


@dataclass(frozen=True)
class RunLocks:
    """The files of one user."""

    folder: Path

    @contextmanager
    def held(self, run_id: str) -> Iterator[Callable[[], None]]:
        """Be alive as that run; one that is alive already, because it was resumed twice, stays what it is.

        Yields what has the file stay: a run that was left at once may have left leases, which nobody needs.
        """
        stay = threading.Event()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_old()
        path = self.folder / run_id
        with path.open("a+") as file:
            with suppress(OSError):  # also where files cannot be locked: nobody will take it for dead
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.truncate(0)
                file.write(socket.gethostname())
                file.flush()
            try:
                yield stay.set
            finally:
                if not stay.is_set():
                    path.unlink(missing_ok=True)

    def is_gone(self, run_id: str) -> bool:
        """Whether it was a run of this computer and its process is no more."""
        if not re.fullmatch(r"[\w-]{1,80}", run_id):  # a board's word
            return False
        try:
            with (self.folder / run_id).open() as file:
                if file.read() != socket.gethostname():
                    return False
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return True
        except OSError:  # alive, or none of ours
            return False

    def _remove_old(self) -> None:
        for path in self.folder.iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _KEPT_S and self.is_gone(path.name):
                    path.unlink()
