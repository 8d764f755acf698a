"""The kernel's line for aarch64 programs: they are started by QEMU, also in a board's own root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.errors import LabError
from harness.lab.machine.programs import call

PLACE = Path("/proc/sys/fs/binfmt_misc")

#: What /proc/mounts has as its source where a lab mounted it.
_MOUNTED_BY = "edgebench-lab"

# An ELF file's first 20 bytes: 64 bits, little-endian, executable or shared, machine 183 (aarch64).
_MAGIC = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00"
_MASK = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
#: P: programs see their own argv[0]; O: they are opened before; C: with the rights of the program;
#: F: QEMU is opened now, so that a root needs no copy of it.
_FLAGS = "POCF"


def has_interpreter(place: Path = PLACE) -> bool:
    """Whether some line for aarch64 is there that works in every root (flag F)."""
    for entry in place.glob("*"):
        if entry.name in ("register", "status"):
            continue
        lines = entry.read_text("utf-8", "replace").splitlines()
        words = dict(line.partition(" ")[::2] for line in lines)
        flags = words.get("flags:", "")
        magic = words.get("magic", "")
        is_aarch64 = magic.startswith("7f454c460201") and magic[36:38] == "b7"
        if is_aarch64 and lines[0] == "enabled" and "F" in flags:
            return True
    return False


def is_mounted(place: Path = PLACE) -> bool:
    """Whether the kernel's list is there to be read."""
    return (place / "register").exists()


def mount() -> None:
    """Make the list readable, where it is not."""
    if not is_mounted():
        call("mount", "-t", "binfmt_misc", _MOUNTED_BY, PLACE)


def unmount() -> None:
    """Undo `mount` of this or another lab, unless somebody has a line there by now."""
    is_ours = f"{_MOUNTED_BY} {PLACE} binfmt_misc " in Path("/proc/self/mounts").read_text()
    if is_ours and {entry.name for entry in PLACE.iterdir()} <= {"register", "status"}:
        call("umount", PLACE)


def registration(name: str, interpreter: Path) -> bytes:
    """What is written into `register`."""
    magic, mask = (b"".join(b"\\x%02x" % byte for byte in raw) for raw in (_MAGIC, _MASK))
    return b":%s:M::%s:%s:%s:%s" % (name.encode(), magic, mask, bytes(interpreter), _FLAGS.encode())


def register(name: str, interpreter: Path, tell: Callable[[str], None], place: Path = PLACE) -> None:
    """Put the lab's own line in front of all others: the kernel asks the newest first.

    Where that may not be done (some containers), a line that is there has to serve; raises LabError without.
    """
    entry = place / name
    if entry.exists():
        if f"interpreter {interpreter}" in entry.read_text("utf-8", "replace").splitlines():
            return
        unregister(name, place)
    try:
        (place / "register").write_bytes(registration(name, interpreter))
    except OSError as error:
        said = f"{place}/register: {interpreter} cannot be registered: {error.strerror}"
        if not has_interpreter(place):
            raise LabError(said) from error
        tell(f"{said}; boards use the QEMU that this kernel knows already")


def unregister(name: str, place: Path = PLACE) -> None:
    """Take the lab's own line away, if it is there."""
    entry = place / name
    if entry.exists():
        entry.write_text("-1")
