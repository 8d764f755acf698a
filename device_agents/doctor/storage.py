"""Where the agent's folder lies and how fast that is. Leaves nothing behind."""

import contextlib
import os
import re
import time
from typing import Callable, List, NamedTuple, Optional, Tuple

from device_agents.boards.linux_files import LinuxFiles

#: Large enough to leave a card's own cache, small enough for the slowest card: 16 MB at 2 MB/s is 8 s.
FILE_BYTES = 16 << 20

#: Each direction stops here and counts what it has done, so both together stay below 10 s.
TIME_LIMIT_S = 4.5

_CHUNK_BYTES = 1 << 20
#: A sync now and then: one at the end might take longer than the limit.
_SYNC_BYTES = 4 << 20
_VANISHING = ("overlayroot=tmpfs", "boot=overlay")


class Mount(NamedTuple):
    """A line of /proc/mounts."""

    device: str
    point: str
    filesystem: str
    options: str


class Speed(NamedTuple):
    """Millions of bytes a second, past the page cache; None where it could not be measured."""

    write_mb_per_s: Optional[float]
    read_mb_per_s: Optional[float]


def mount_of(files: LinuxFiles, folder: str) -> Optional[Mount]:
    """The file system that `folder` is on."""
    best: Optional[Mount] = None
    for mount in mounts(files):
        inside = mount.point == "/" or folder == mount.point or folder.startswith(mount.point + "/")
        # Of equal ones the last covers the others.
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def mounts(files: LinuxFiles) -> List[Mount]:
    """Everything that is mounted, in order."""
    found = []
    for line in (files.text("/proc/mounts") or "").splitlines():
        words = [_unescaped(word) for word in line.split()]
        if len(words) >= 4:
            found.append(Mount(*words[:4]))
    return found


def device_of(files: LinuxFiles, mount: Mount) -> Optional[str]:
    """The block device behind a mount, as in mmcblk0p2; None for file systems without one."""
    name = os.path.basename(mount.device)
    if mount.device.startswith("/dev/") and name != "root":
        if files.root == "/":  # /dev/mapper/x and /dev/disk/by-uuid/x are links
            name = os.path.basename(os.path.realpath(mount.device))
        return name
    if mount.device == "/dev/root":
        found = re.search(r"\broot=/dev/(\S+)", files.text("/proc/cmdline") or "")
        return found.group(1) if found else _by_number(files, mount.point)
    return None


def kind_of(files: LinuxFiles, device: Optional[str], filesystem: Optional[str]) -> Optional[str]:
    """What sort of device it is: SD card, eMMC, NVMe, USB, disk, memory or network."""
    if filesystem in ("tmpfs", "ramfs"):
        return "memory"
    if filesystem in ("nfs", "nfs4", "cifs", "9p"):
        return "network"
    if device is None:
        return None
    if device.startswith("mmcblk"):
        disk = re.match(r"mmcblk\d+", device)
        kind = files.text("/sys/block/{}/device/type".format(disk.group(0) if disk else device))
        return "eMMC" if kind == "MMC" else "SD card"
    if device.startswith("nvme"):
        return "NVMe"
    if device.startswith("zram"):
        return "memory"
    disk_name = device.rstrip("0123456789") if device.startswith(("sd", "vd")) else device
    link = files.path("/sys/block/" + disk_name)
    with contextlib.suppress(OSError):
        if "/usb" in os.readlink(link):
            return "USB"
    return "disk"


def overlay_root(files: LinuxFiles) -> Optional[str]:
    """The kernel's word for a root file system that forgets every change at the next start."""
    words = (files.text("/proc/cmdline") or "").split()
    return next((word for word in words if word.startswith(_VANISHING)), None)


def measure(folder: str, free_bytes: Optional[int], clock: Callable[[], float] = time.perf_counter) -> Speed:
    """Write and read a file in `folder`; it is removed whatever happens."""
    if free_bytes is not None and free_bytes < 4 * FILE_BYTES:
        return Speed(None, None)
    path = os.path.join(folder, ".speed.{}".format(os.getpid()))
    try:
        written, write_s = _write(path, clock)
        read, read_s = _read(path, clock)
    except OSError:  # a full or failing card: the doctor is told nothing, and says so
        return Speed(None, None)
    finally:
        with contextlib.suppress(OSError):
            os.remove(path)
    return Speed(_mb_per_s(written, write_s), _mb_per_s(read, read_s))


def _write(path: str, clock: Callable[[], float]) -> Tuple[int, float]:
    """Bytes that reached the device, and the seconds that took."""
    chunk = os.urandom(_CHUNK_BYTES)  # nothing a file system or a card could compress
    written = 0
    with open(path, "wb", buffering=0) as file:
        began = clock()
        while written < FILE_BYTES and clock() - began < TIME_LIMIT_S:
            written += file.write(chunk)
            if written % _SYNC_BYTES == 0:
                os.fsync(file.fileno())
        os.fsync(file.fileno())
        return written, clock() - began


def _read(path: str, clock: Callable[[], float]) -> Tuple[int, float]:
    with open(path, "rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = clock()
        read = 0
        while clock() - began < TIME_LIMIT_S:
            piece = file.read(_CHUNK_BYTES)
            if not piece:
                break
            read += len(piece)
        return read, clock() - began


def _mb_per_s(count: int, seconds: float) -> Optional[float]:
    return round(count / 1e6 / seconds, 1) if count and seconds > 0 else None


def _by_number(files: LinuxFiles, point: str) -> Optional[str]:
    """The device's name by its number, which only the running system can tell."""
    if files.root != "/":
        return None
    try:
        number = os.stat(point).st_dev
        link = os.readlink("/sys/dev/block/{}:{}".format(os.major(number), os.minor(number)))
    except OSError:
        return None
    return os.path.basename(link)


def _unescaped(word: str) -> str:
    """proc(5): blanks and backslashes are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), word)
