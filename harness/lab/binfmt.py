"""The kernel's line for aarch64 programs: they are started by QEMU, also in a board's own root."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from harness.errors import LabError
from harness.lab.programs import call, which
from harness.lab.requirements import QEMU_NAMES

PLACE = Path("/proc/sys/fs/binfmt_misc")

#: What /proc/mounts has as its source where a lab mounted it.
_MOUNTED_BY = "edgebench-lab"

# An ELF file's first 20 bytes: 64 bits, little-endian, executable or shared, machine 183 (aarch64).
_MAGIC = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00"
_MASK = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
#: P: programs see their own argv[0]; O: they are opened before; C: with the rights of the program;
#: F: QEMU is opened now, so that a root needs no copy of it.
_FLAGS = "POCF"

_PT_INTERP = 3
#: QEMU 10.0.2 was seen to run onnxruntime 1.31.1, 7.2 was not; nothing between was tried.
_GOOD_MAJOR = 10


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


def register(name: str) -> None:
    """Add the lab's own line."""
    try:
        (PLACE / "register").write_bytes(registration(name, find_qemu()))
    except OSError as error:
        raise LabError(f"{PLACE}/register: QEMU cannot be registered: {error.strerror}") from error


def unregister(name: str) -> None:
    """Take the lab's own line away, if it is there."""
    entry = PLACE / name
    if entry.exists():
        entry.write_text("-1")


def find_qemu() -> Path:
    """A QEMU that needs no libraries of the root it is used in."""
    found = [Path(path) for path in map(which, QEMU_NAMES) if path]
    for path in found:
        if is_static(path):
            return path
    raise LabError(
        f"no QEMU for aarch64 that is linked statically: found {', '.join(map(str, found)) or 'none'}",
        "apt-get install -y qemu-user-static",
    )


def age_note() -> str | None:
    """What does not work with the QEMU there is, or None. Versions are those it was seen with."""
    said = call(find_qemu(), "--version")
    found = re.search(r"version (\d+)\.(\d+)", said)
    if found is None or int(found[1]) >= _GOOD_MAJOR:
        return None
    return (
        f"QEMU {found[1]}.{found[2]}: on these boards onnxruntime newer than 1.23.2 dies at import; "
        f"{_GOOD_MAJOR}.0 runs it (Debian 12: qemu-user of bookworm-backports)"
    )


def is_static(program: Path) -> bool:
    """Whether an ELF file of 64 bits asks for no loader."""
    with program.open("rb") as file:
        header = file.read(64)
        (offset,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    return all(struct.unpack_from("<I", table, at * size)[0] != _PT_INTERP for at in range(count))
