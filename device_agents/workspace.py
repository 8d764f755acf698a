"""The agent's folder on the board: agents/, blobs/, engines/, jobs/, and the lock that says who measures."""

import contextlib
import errno
import fcntl
import json
import os
import time
from typing import Any, BinaryIO, Dict, Iterator, List, NamedTuple, Optional, Tuple

from device_agents.protocol import BlobRef, CommandFailed

DEFAULT_ROOT = os.path.join("~", ".cache", "edgebench")

#: Least recently used blobs go once all of them together exceed this.
BLOB_BUDGET_BYTES = 4 << 30

#: Ended jobs older than this are removed when a new one comes; their results were fetched long ago.
JOB_LIFETIME_S = 7 * 86400.0

#: And no sooner than this after a submission first found them so old.
MARK_LIFETIME_S = 86400.0

#: File times further ahead than this were made before the clock went back.
_CLOCK_SLACK_S = 60.0

#: The mark of a job that looked old.
_OLD = "old"

#: Space that has to remain after a blob was taken, so that journals and results can be written.
RESERVE_BYTES = 16 << 20

#: A job's own notes, its journal and its samples; below this it is not begun.
JOB_SPACE_BYTES = 1 << 20

#: Who looks at a lock holds it for some microseconds, or longer where the system takes the processor away
#: meanwhile. So a lock counts as taken only after trying for a while. A supervisor that gives up too soon
#: leaves its job without one; who wants the board comes back anyway.
SUPERVISOR_PATIENCE_S = 3.0
BOARD_PATIENCE_S = 0.05
LOOK_S = 0.01

# hashlib and shutil are imported where they are used, as are subprocess and traceback in commands.py: every
# command is a fresh process, few need them, and together they took 10 of the 50 ms that one takes to start.
_CHUNK_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_HEX = frozenset("0123456789abcdef")


class WorkspaceError(Exception):
    """The workspace cannot do what was asked; carries what the controller is told."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reply = CommandFailed(reason, message)


class Running(NamedTuple):
    """A job that holds the board, since when (unix seconds), and the lease it works under, if any."""

    job: str
    since: float
    lease: Optional[str]


class Workspace:
    """Paths and files under the agent's root; every folder is 0700."""

    def __init__(self, root: str, lease: Optional[str] = None) -> None:
        #: The run that this process works for, if it was named: see leases.py.
        self.lease = lease
        self.root = os.path.abspath(os.path.expanduser(root))
        self.blobs = os.path.join(self.root, "blobs")
        self.jobs = os.path.join(self.root, "jobs")
        self.engines = os.path.join(self.root, "engines")
        self.lock_file = os.path.join(self.root, "lock")
        self.performance_lease = os.path.join(self.root, "performance.json")

    def create(self) -> None:
        """Make the folders; raises WorkspaceError where that is not allowed."""
        try:
            for folder in (self.root, self.blobs, self.jobs, self.engines):
                os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(_reason(error), f"cannot create {self.root}: {error.strerror}") from error

    def is_raised(self) -> bool:
        """Whether performance mode is on, or was left on by an agent that died; one stat."""
        return os.path.lexists(self.performance_lease)

    def free_bytes(self) -> Optional[int]:
        """Space left for this user, or None where the system does not say."""
        try:
            status = os.statvfs(self.root)
        except OSError:
            return None
        return status.f_bavail * status.f_frsize

    # --- blobs ------------------------------------------------------------------------------------

    def blob(self, sha256: str) -> str:
        """Where the blob of that hash is kept, whether or not it is there."""
        if len(sha256) != 64 or not _HEX.issuperset(sha256):
            raise WorkspaceError("bad_request", f"not a sha256: {sha256[:80]!r}")
        return os.path.join(self.blobs, sha256)

    def missing(self, blobs: List[BlobRef]) -> List[str]:
        """Hashes of those that are not here; the others are marked as used now."""
        absent = []
        for blob in blobs:
            path = self.blob(blob.sha256)
            if os.path.exists(path):
                os.utime(path)
            elif blob.sha256 not in absent:
                absent.append(blob.sha256)
        return absent

    @contextlib.contextmanager
    def partial_blob(self, sha256: str, size: int) -> Iterator[BinaryIO]:
        """The growing file of a blob, positioned at its end, held by this process alone."""
        path = self.blob(sha256) + ".part"
        with _held_part(path) as part:
            have = part.seek(0, os.SEEK_END)
            if have > size:
                part.truncate(0)
                have = part.seek(0)
            free = self.free_bytes()
            if free is not None and size - have + RESERVE_BYTES > free:
                _remove(path)
                raise WorkspaceError(
                    "disk_full",
                    f"{size} bytes do not fit: {free} bytes are free in {self.root}, 16 MiB are kept back",
                )
            try:
                yield part
            except OSError as error:
                if is_full(error):  # the next try resumes a broken link's part, but not this
                    _remove(path)
                raise

    def finish_blob(self, sha256: str, size: int, part: BinaryIO) -> None:
        """Check the hash of a complete `part` and give it its name; a wrong one is removed."""
        part.flush()
        os.fsync(part.fileno())
        path = self.blob(sha256)
        found = _sha256(path + ".part")
        if found != sha256 or os.path.getsize(path + ".part") != size:
            _remove(path + ".part")
            raise WorkspaceError("hash_mismatch", f"received {found[:12]}..., expected {sha256[:12]}...")
        os.rename(path + ".part", path)
        self.evict_blobs(keep=sha256)

    def evict_blobs(self, keep: str) -> None:
        """Remove the least recently used blobs over the budget. Running jobs hold links of their own."""
        entries: List[Tuple[float, int, str]] = []
        for name in os.listdir(self.blobs):
            path = os.path.join(self.blobs, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries, key=least_recent_first):
            if total <= BLOB_BUDGET_BYTES:
                return
            if not path.endswith(keep):
                _remove(path)
                total -= size

    # --- jobs -------------------------------------------------------------------------------------

    def job(self, job_id: str) -> str:
        """The folder of a job; refuses ids that are no plain name."""
        if not job_id or job_id.startswith(".") or not all(c.isalnum() or c in "-_." for c in job_id):
            raise WorkspaceError("bad_request", f"not a job id: {job_id[:80]!r}")
        return os.path.join(self.jobs, job_id)

    def check_space_for_job(self) -> None:
        """Refuse what could not tell anybody how it went."""
        free = self.free_bytes()
        if free is not None and free < JOB_SPACE_BYTES:
            raise WorkspaceError(
                "disk_full", f"{free} bytes are free in {self.root}; a job needs {JOB_SPACE_BYTES} to begin"
            )

    def remove_old_jobs(self) -> None:
        """Remove jobs nobody has touched for a long time.

        Clocks of boards jump, by weeks where there is no battery and the network sets them: what looks old
        is marked first, and goes only once the mark has aged as well.
        """
        import shutil

        for name in os.listdir(self.jobs):
            path = os.path.join(self.jobs, name)
            mark = os.path.join(path, _OLD)
            with contextlib.suppress(OSError):
                if -_CLOCK_SLACK_S < _age_s(path) <= JOB_LIFETIME_S or is_locked(path):
                    _remove(mark)
                elif not os.path.exists(mark) or _age_s(mark) < -_CLOCK_SLACK_S:
                    _mark(path, mark)
                elif _age_s(mark) > MARK_LIFETIME_S:
                    shutil.rmtree(path, ignore_errors=True)

    def clean(self) -> int:
        """Remove blobs, jobs that are not running, and engines unless one is; returns the bytes freed."""
        import shutil

        freed = 0
        folders = [self.blobs, self.jobs]
        if self.holder() is None:  # a running job may be building one
            folders.append(self.engines)
        paths = [os.path.join(folder, name) for folder in folders for name in os.listdir(folder)]
        for path in paths:
            if os.path.isdir(path) and is_locked(path):
                continue
            freed += _size(path)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                _remove(path)
        return freed

    # --- the board's lock -------------------------------------------------------------------------

    def holder(self) -> Optional[Tuple[str, float]]:
        """Job id of who measures on this board and since when, or None."""
        running = self.running()
        return None if running is None else (running.job, running.since)

    def running(self) -> Optional[Running]:
        """What measures on this board, or None."""
        try:
            with open(self.lock_file, "rb") as lock:
                if try_lock(lock, fcntl.LOCK_SH):
                    return None
                # Whoever just took it has not signed yet, but has emptied the file.
                taken = os.fstat(lock.fileno()).st_mtime
                note: Dict[str, Any] = json.loads(lock.read(4096).decode("utf-8", "replace") or "{}")
                job, lease = str(note.get("job", "another job")), note.get("lease")
                return Running(job, float(note.get("since", taken)), None if lease is None else str(lease))
        except (OSError, ValueError, TypeError, AttributeError):  # a file that somebody wrote into
            return None

    def try_board(self, job_id: str) -> Optional[BinaryIO]:
        """Take the board for a job; the open file is the lock, None means somebody else has it."""
        lock = open(self.lock_file, "a+b")  # noqa: SIM115 - stays open as long as the board is held
        if not lock_within(lock, BOARD_PATIENCE_S):
            lock.close()
            return None
        lock.truncate(0)
        note = {"job": job_id, "since": time.time(), "pid": os.getpid(), "lease": self.lease}
        lock.write(json.dumps(note).encode("ascii"))
        lock.flush()
        return lock


def is_locked(job_folder: str) -> bool:
    """Whether the supervisor of that job is alive: it holds this lock for as long as it lives."""
    try:
        with open(os.path.join(job_folder, "supervisor.lock"), "rb") as lock:
            return not try_lock(lock, fcntl.LOCK_SH)
    except OSError:
        return False


def hold(job_folder: str) -> Optional[BinaryIO]:
    """Become the supervisor of a job; None if it has one."""
    lock = open(os.path.join(job_folder, "supervisor.lock"), "a+b")  # noqa: SIM115 - held for life
    if lock_within(lock, SUPERVISOR_PATIENCE_S):
        lock.truncate(0)
        lock.write(str(os.getpid()).encode("ascii"))  # whom `cancel` has to signal
        lock.flush()
        return lock
    lock.close()
    return None


@contextlib.contextmanager
def _held_part(path: str) -> Iterator[BinaryIO]:
    """The file at `path`, held; whoever held it before may have renamed or removed the one we opened."""
    while True:
        with open(path, "ab") as part:
            fcntl.flock(part, fcntl.LOCK_EX)
            if _names(path, part):
                yield part
                return


def _names(path: str, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def lock_within(file: BinaryIO, patience_s: float) -> bool:
    """Take a lock that somebody may be looking at."""
    give_up = time.monotonic() + patience_s
    while not try_lock(file, fcntl.LOCK_EX):
        if time.monotonic() > give_up:
            return False
        time.sleep(LOOK_S)
    return True


def try_lock(file: BinaryIO, kind: int) -> bool:
    """Take a lock of that kind (LOCK_SH or LOCK_EX) unless somebody is in the way."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _sha256(path: str) -> str:
    import hashlib

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def least_recent_first(entry: Tuple[float, int, str]) -> Tuple[float, int, str]:
    """Sorts (time of last use, size, name) by use; a time to come is of before the clock went back."""
    used, size, name = entry
    return (0.0 if used > time.time() + _CLOCK_SLACK_S else used, size, name)


def _age_s(path: str) -> float:
    """Seconds since a file or folder was changed, by the wall clock; negative if that went back."""
    return time.time() - os.stat(path).st_mtime


def _mark(folder: str, mark: str) -> None:
    """Create the mark without making its folder look used, or used in a time to come."""
    now = time.time()
    changed = min(os.stat(folder).st_mtime, now)
    with open(mark, "w"):
        pass
    os.utime(mark, (now, now))
    os.utime(folder, (changed, changed))


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file to write that is at `path` once it is complete, and nowhere if that fails."""
    part = path + ".part"
    try:
        with open(part, "wb") as file:
            yield file
        os.rename(part, path)
    except BaseException:
        _remove(part)
        raise


def file_ref(path: str) -> BlobRef:
    """Name, size and hash of a finished file."""
    return BlobRef(_sha256(path), os.path.getsize(path), os.path.basename(path))


def is_full(error: OSError) -> bool:
    """Whether the disk, or this user's share of it, has no room left."""
    return error.errno in _FULL


def _reason(error: OSError) -> str:
    return "disk_full" if is_full(error) else "workspace_unusable"


def io_failure(error: OSError, doing: str) -> CommandFailed:
    """What the controller is told of a failed file operation."""
    where = f" {error.filename}" if error.filename else ""
    return CommandFailed(_reason(error), f"{doing}:{where} {error.strerror}")


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def _size(path: str) -> int:
    if not os.path.isdir(path):
        with contextlib.suppress(FileNotFoundError):
            return os.path.getsize(path)
        return 0
    return sum(_size(os.path.join(path, name)) for name in os.listdir(path))
