"""A job's journal: one event a line, appended whole, read by anyone from any byte offset."""

import contextlib
import os
import time
from typing import Any, BinaryIO, Callable, Iterator, Optional

from device_agents.boards.host import this_host
from device_agents.protocol import MAX_LINE_BYTES, JobEnded, ProtocolError, encode
from device_agents.workspace import hold, is_locked

#: How often a follower looks for more. Each look is one fstat, so a timed loop beside it does not notice.
POLL_S = 0.1

#: How JobEnded's line ends; its keys are sorted, and no other message can end so.
_END = b'"type":"ended"}'

#: Kept back on the disk for the job's end: where the disk fills, that is what has to be told.
END_RESERVE_BYTES = 64 << 10


class Journal:
    """The writing side; only the job's supervisor has one."""

    def __init__(self, folder: str) -> None:
        self._reserve = _reserve(folder)
        self._fd = os.open(
            os.path.join(folder, "journal.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
        )

    def write(self, event: Any) -> None:
        """Append one event; a reader sees all of its line or none."""
        self.write_line(encode(event))

    def write_line(self, line: bytes) -> None:
        """Append one encoded line, all of it or none."""
        begin = os.fstat(self._fd).st_size
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            # Half a line on a full disk would make the next one, the job's end, unreadable.
            os.ftruncate(self._fd, begin)
            raise

    def keep_space_for_end(self) -> None:
        """Take the space that `end` may need; raises OSError where there is none."""
        with open(self._reserve, "wb") as file:
            file.write(b"\0" * END_RESERVE_BYTES)

    def end(self, event: JobEnded) -> None:
        """Append the last line, whatever fills the disk, and make sure that it survives a power cut."""
        try:
            self.write(event)
        except OSError:
            _release(self._reserve)
            self.write(event)
        _release(self._reserve)
        os.fsync(self._fd)


def follow(folder: str, offset: int, sleep: Callable[[float], None] = time.sleep) -> Iterator[bytes]:
    """Pieces of the journal from `offset` on, always whole lines, until the job has ended.

    A job whose supervisor is gone without a word (reboot, SIGKILL) is ended here: nobody waits for it.
    Raises ProtocolError where a line is longer than any that an agent writes: the file was damaged.
    """
    with open(os.path.join(folder, "journal.jsonl"), "rb", buffering=0) as journal:
        while True:
            alive = is_locked(folder)
            lines = _whole_lines(journal, offset)
            if lines:
                yield lines
                offset += len(lines)
                if ended(lines):
                    return
                continue
            if not alive:
                end = end_orphan(folder)
                if end is not None and end < offset:
                    # The end was told already, unless the power took lines with it that were.
                    if offset != os.fstat(journal.fileno()).st_size:
                        yield _whole_lines(journal, end)
                    return
                if end is not None:
                    continue
            sleep(POLL_S)


def ended(lines: bytes) -> bool:
    """Whether the last of these journal lines is the job's end."""
    return lines.endswith(_END + b"\n")


def end_orphan(folder: str) -> Optional[int]:
    """Make sure that a job without a supervisor has its end; returns where that begins.

    None if it has a supervisor after all, or somebody else is at it.
    """
    lock = hold(folder)
    if lock is None:
        return None
    with lock, open(os.path.join(folder, "journal.jsonl"), "r+b") as journal:
        size = journal.seek(0, os.SEEK_END)
        # A line and the half of one that was cut short; a damaged journal may be of any size.
        begin = journal.seek(max(0, size - 2 * MAX_LINE_BYTES))
        content = journal.read(2 * MAX_LINE_BYTES)
        whole = content[: content.rfind(b"\n") + 1]
        if begin > 0 and not whole:
            raise ProtocolError("the journal ends in a line of more than {} bytes".format(MAX_LINE_BYTES))
        if ended(whole):
            return begin + whole.rfind(b"\n", 0, -1) + 1
        _release(_reserve(folder))
        # Half a line that it left behind was shown to nobody.
        journal.seek(begin + len(whole))
        journal.truncate()
        journal.write(encode(_orphans_end(folder)))
        journal.flush()
        os.fsync(journal.fileno())
        return begin + len(whole)


def note_boot(folder: str) -> None:
    """Write down which boot of the board the job belongs to: its supervisor does not outlive it."""
    now = _boot_id()
    if now is not None:
        with open(os.path.join(folder, "boot_id"), "w") as file:
            file.write(now)


def _orphans_end(folder: str) -> JobEnded:
    """What a job died of that has no supervisor any more."""
    before = now = None
    with contextlib.suppress(OSError, UnicodeDecodeError), open(os.path.join(folder, "boot_id")) as file:
        before, now = file.read(), _boot_id()
    reason = "supervisor_died"
    if not before or now is None:
        message = "the job's supervisor is gone without a word; the board may have restarted"
    elif before == now:
        message = "the job's supervisor is gone without a word: killed, or out of memory; no restart"
    else:
        reason = "board_restarted"
        message = "the board restarted during the job: its boot id was {} and is {}".format(before, now)
    return JobEnded(time.time(), "failed", "infrastructure", reason, message)


def _boot_id() -> Optional[str]:
    """A word that changes with each start of the system."""
    return this_host().files.text("/proc/sys/kernel/random/boot_id")


def _reserve(folder: str) -> str:
    return os.path.join(folder, "reserve")


def _release(reserve: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(reserve)


def _whole_lines(journal: BinaryIO, offset: int) -> bytes:
    journal.seek(offset)
    piece = journal.read(MAX_LINE_BYTES + 1)
    whole = piece[: piece.rfind(b"\n") + 1]
    if len(piece) > MAX_LINE_BYTES and not whole:
        raise ProtocolError("the journal has a line of more than {} bytes".format(MAX_LINE_BYTES))
    return whole
