"""Leases: a run takes the board for all of its cases, so that no two runs interleave.

One file in the workspace, read and written under a lock that is held for that moment only. A lease lives as
long as its run shows signs of life: every command that names it renews it, and so does the supervisor at the
end of a job. While a job of the run holds the board's lock it lives as well, without anything being written.
So a controller that died keeps a board for the rest of its job and LEASE_S, no longer; a run that is resumed
has the same id and gets in at once. Times are those of a clock that nobody sets and that goes on while the
board sleeps; with another boot id the lease is over.

Who has to wait is in a queue of files that the waiting processes hold locked: first come, first served.
"""

import contextlib
import fcntl
import json
import os
import time
from typing import Any, BinaryIO, Callable, Iterator, List, NamedTuple, Optional

from device_agents.workspace import Workspace, WorkspaceError, lock_within, try_lock

#: How long a lease outlives the last sign of its run. A controller that has lost its link tries for a minute
#: and the time of its tries to get it back, and after a case it may compute for some seconds.
LEASE_S = 120.0
LEASE_VARIABLE = "EDGEBENCH_LEASE_S"

#: A lease this young is not written again: a card should not suffer from many small commands.
FRESH_SHARE = 1 / 24

#: Whoever holds the file holds it for some microseconds, unless somebody stopped it there.
PATIENCE_S = 10.0

#: Linux's CLOCK_BOOTTIME, which Python 3.6 has no name for: goes on while the system sleeps.
_BOOTTIME = 7


class Lease(NamedTuple):
    """What the file says. Seconds are those of `Clock.now`."""

    id: str
    holder: str
    boot_id: Optional[str]
    taken_s: float
    renewed_s: float
    lasts_s: float


class Holder(NamedTuple):
    """Who has the board, in words, and for how many seconds; `job` where that is what keeps it."""

    words: str
    held_s: float
    job: Optional[str] = None
    lease: Optional[str] = None


class Clock(NamedTuple):
    """Time that nobody sets, and a word that changes with each start of the system."""

    now: Callable[[], float]
    boot_id: Optional[str]


def board_clock() -> Clock:
    """The clock of this system."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return Clock(lambda: time.clock_gettime(_BOOTTIME), file.read().strip())
    except OSError:  # macOS, whose monotonic clock will do
        return Clock(time.monotonic, None)


class Leases:
    """The lease of one workspace, and the queue for it."""

    def __init__(self, workspace: Workspace, clock: Optional[Clock] = None) -> None:
        self._workspace = workspace
        self._clock = clock or board_clock()
        self._path = os.path.join(workspace.root, "lease")
        self._queue = os.path.join(workspace.root, "queue")

    def holder(self) -> Optional[Holder]:
        """Who has the board, if it is not free for the run of this workspace's lease."""
        with self._held() as file:
            return self._other(self._read(file), self._workspace.lease)

    def leaseholder(self) -> Optional[Holder]:
        """Whose lease it is, if it lives and is not this workspace's."""
        with self._held() as file:
            lease = self._read(file)
            alive = lease is not None and lease.id != self._workspace.lease and self._lives(lease)
            return self._other(lease, self._workspace.lease) if alive else None

    def take(self, words: str, ticket: "Optional[Ticket]" = None) -> Optional[Holder]:
        """The board for this workspace's lease; None, or who has it instead.

        One that is free goes to whoever waited longest, `ticket` being one's own place in the queue.
        """
        with self._held() as file:
            lease = self._read(file)
            mine = lease is not None and lease.id == self._workspace.lease
            other = self._other(lease, self._workspace.lease)
            if other is None and not (mine and self._lives(lease)):
                other = self._before(ticket)
            if other is not None:
                return other
            now = self._clock.now()
            taken = lease.taken_s if lease is not None and mine and self._lives(lease) else now
            self._write(
                file, Lease(str(self._workspace.lease), words, self._clock.boot_id, taken, now, _lasts())
            )
            return None

    def renew(self) -> bool:
        """A sign of life of this workspace's lease; False if it is not the present one.

        Nothing is written while a job of the run is on the board: that is sign enough.
        """
        if self._workspace.lease is None or not os.path.exists(self._path):
            return False
        with self._held() as file:
            lease = self._read(file)
            if lease is None or lease.id != self._workspace.lease or not self._lives(lease):
                return False
            age = self._clock.now() - lease.renewed_s
            if age >= lease.lasts_s * FRESH_SHARE and self._job_of(lease) is None:
                self._write(file, lease._replace(renewed_s=self._clock.now()))
            return True

    def hand_back(self) -> None:
        """As `renew`, by the supervisor while it holds the board: from now on the lease lives on its own."""
        if self._workspace.lease is None or not os.path.exists(self._path):
            return
        with self._held() as file:
            lease = self._read(file)
            if lease is not None and lease.id == self._workspace.lease:
                self._write(file, lease._replace(renewed_s=self._clock.now()))

    def release(self) -> bool:
        """End this workspace's lease; False if it was not the present one."""
        with self._held() as file:
            lease = self._read(file)
            if lease is None or lease.id != self._workspace.lease:
                return False
            file.truncate(0)
            return True

    def evict(self, only: Optional[str] = None) -> Optional[Holder]:
        """End whoever's lease it is; returns whose it was, with the job that is running and keeps it.

        With `only` that lease and no other.
        """
        with self._held() as file:
            lease = self._read(file)
            if only is not None and (lease is None or lease.id != only):
                return None
            holder = self._other(lease, None)
            if holder is not None and lease is not None and holder.job is None:
                holder = holder._replace(job=self._job_of(lease))
            if holder is not None and holder.job is None:
                file.truncate(0)
            return holder

    def enter_queue(self, words: str) -> "Ticket":
        """The last place in the queue; it is left when the process ends, if not before."""
        os.makedirs(self._queue, mode=0o700, exist_ok=True)
        with self._held():
            number = max(self._waiting() or [0]) + 1
            path = os.path.join(self._queue, str(number))
            file = open(path, "w+b")  # noqa: SIM115 - stays open as long as somebody waits
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps({"holder": words, "since_s": self._clock.now()}).encode("ascii"))
            file.flush()
            return Ticket(number, path, file)

    # --- who has it -------------------------------------------------------------------------------

    def _other(self, lease: Optional[Lease], lease_id: Optional[str]) -> Optional[Holder]:
        """Who keeps the run `lease_id` from the board: another run's lease, or a job without one."""
        if lease is not None and self._lives(lease):
            if lease.id == lease_id:
                return None
            return Holder(lease.holder, max(0.0, self._clock.now() - lease.taken_s), None, lease.id)
        running = self._workspace.running()
        if running is None or (running.lease is not None and running.lease == lease_id):
            return None
        return Holder("job {}".format(running.job), max(0.0, time.time() - running.since), running.job)

    def _lives(self, lease: Optional[Lease]) -> bool:
        if lease is None or lease.boot_id != self._clock.boot_id:
            return False
        return 0 <= self._clock.now() - lease.renewed_s <= lease.lasts_s or self._job_of(lease) is not None

    def _job_of(self, lease: Lease) -> Optional[str]:
        """The job of that run which is on the board now."""
        running = self._workspace.running()
        return running.job if running is not None and running.lease == lease.id else None

    def _before(self, ticket: "Optional[Ticket]") -> Optional[Holder]:
        """Who waits for the free board and came first."""
        waiting = self._waiting()
        if not waiting or (ticket is not None and min(waiting) >= ticket.number):
            return None
        try:
            with open(os.path.join(self._queue, str(min(waiting))), "rb") as file:
                note = json.loads(file.read(4096).decode("ascii"))
            return Holder(str(note["holder"]), max(0.0, self._clock.now() - float(note["since_s"])))
        except (OSError, ValueError, KeyError, TypeError):  # it left just now, or somebody wrote into it
            return Holder("another run", 0.0)

    def _waiting(self) -> List[int]:
        """The numbers of those who wait; places of the dead are removed. Under the lock of the lease."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._queue):
                path = os.path.join(self._queue, name)
                with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                    if try_lock(file, fcntl.LOCK_SH):
                        os.remove(path)
                    elif name.isdecimal():
                        found.append(int(name))
        return found

    # --- the file ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _held(self) -> Iterator[BinaryIO]:
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
            if not lock_within(file, PATIENCE_S):
                message = "{} has been locked for {:g} s; is a process of the agent stopped?"
                raise WorkspaceError("workspace_unusable", message.format(self._path, PATIENCE_S))
            yield file

    def _read(self, file: BinaryIO) -> Optional[Lease]:
        """What the file says; None for anything that is no lease: it is ours to write anew."""
        try:
            body: Any = json.loads(os.pread(file.fileno(), 1 << 14, 0).split(b"\n")[0].decode("ascii"))
            boot_id = body["boot_id"]
            return Lease(
                str(body["id"]),
                str(body["holder"]),
                None if boot_id is None else str(boot_id),
                float(body["taken_s"]),
                float(body["renewed_s"]),
                float(body["lasts_s"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def _write(self, file: BinaryIO, lease: Lease) -> None:
        """In place, where a full disk still has room, and one line: what is left behind it is not read."""
        line = json.dumps(lease._asdict(), sort_keys=True).encode("ascii") + b"\n"
        os.pwrite(file.fileno(), line, 0)
        os.ftruncate(file.fileno(), len(line))


class Ticket:
    """A place in the queue."""

    def __init__(self, number: int, path: str, file: BinaryIO) -> None:
        self.number = number
        self._path = path
        self._file = file

    def leave(self) -> None:
        """Give it up."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._path)
        self._file.close()


def _lasts() -> float:
    """How long a lease outlives a sign of life; tests do not wait for two minutes."""
    try:
        return float(os.environ.get(LEASE_VARIABLE) or LEASE_S)
    except ValueError:
        return LEASE_S
