"""A job's journal: one event a line, appended whole, read by anyone from any byte offset."""

import os
import time
from typing import Any, Callable, Iterator

from device_agents.protocol import JobEnded, encode
from device_agents.workspace import hold, is_locked

#: How often a follower looks for more. Each look is one fstat, so a timed loop beside it does not notice.
POLL_S = 0.1


class Journal:
    """The writing side; only the job's supervisor has one."""

    def __init__(self, folder: str) -> None:
        self._fd = os.open(
            os.path.join(folder, "journal.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
        )

    def write(self, event: Any) -> None:
        """Append one event; a reader sees all of its line or none."""
        self.write_line(encode(event))

    def write_line(self, line: bytes) -> None:
        """Append one encoded line."""
        view = memoryview(line)
        while view:
            view = view[os.write(self._fd, view) :]

    def sync(self) -> None:
        """Make sure that what was written survives a power cut."""
        os.fsync(self._fd)


def follow(folder: str, offset: int, sleep: Callable[[float], None] = time.sleep) -> Iterator[bytes]:
    """Pieces of the journal from `offset` on, always whole lines, until the job has ended.

    A job whose supervisor is gone without a word (reboot, SIGKILL) is ended here: nobody waits for it.
    """
    path = os.path.join(folder, "journal.jsonl")
    rest = b""
    with open(path, "rb") as journal:
        journal.seek(offset)
        while True:
            alive = is_locked(folder)
            piece = rest + journal.read(1 << 18)
            complete, newline, rest = piece.rpartition(b"\n")
            if newline:
                yield complete + newline
                if ended(complete):
                    return
                continue
            if not alive and not end_orphan(folder):
                continue
            sleep(POLL_S)


def ended(lines: bytes) -> bool:
    """Whether the last of these journal lines is the job's end."""
    return b'"type":"ended"' in lines.rpartition(b"\n")[2]


def end_orphan(folder: str) -> bool:
    """Write the end of a job that has no supervisor any more; False if it has one, or an end, after all."""
    lock = hold(folder)
    if lock is None:
        return False
    with lock:
        with open(os.path.join(folder, "journal.jsonl"), "rb") as journal:
            content = journal.read()
        if ended(content.rstrip(b"\n")):
            return False
        journal_out = Journal(folder)
        if content and not content.endswith(b"\n"):
            journal_out.write_line(b"\n")
        message = "the job's supervisor is gone without a word; the board may have restarted"
        journal_out.write(JobEnded(time.time(), "failed", "infrastructure", "supervisor_died", message))
        journal_out.sync()
        return True
