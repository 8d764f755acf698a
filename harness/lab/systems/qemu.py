"""The QEMU that starts the boards' programs: this machine's own where it will do, else one for the lab alone.

It lies beside the boards' Debian and comes as that does, from Debian's mirror; nothing is installed.
"""

from __future__ import annotations

import platform
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import LabError
from harness.lab.locking import locked
from harness.lab.machine.programs import call, which
from harness.lab.systems.mmdebstrap import unpack

Tell = Callable[[str], None]

#: How Debian and others call it.
NAMES = ("qemu-aarch64-static", "qemu-aarch64")

#: QEMU 10.0 was seen to run onnxruntime 1.31.1 and TFLite, 7.2 was not; nothing between was tried.
_GOOD_MAJOR = 10
_SUITE = "trixie"
_PACKAGE = "qemu-user"
#: Where the package has it; the emulators of forty other processors are not unpacked.
_PROGRAM = "usr/bin/qemu-aarch64"
_PT_INTERP = 3


@dataclass(frozen=True)
class Qemu:
    """A QEMU for aarch64 programs that needs no libraries of the root it is used in."""

    path: Path
    #: As in (7, 2).
    version: tuple[int, int]

    @property
    def is_good(self) -> bool:
        """Whether the runtimes are known to work under it."""
        return self.version[0] >= _GOOD_MAJOR

    @property
    def words(self) -> str:
        """As in QEMU 7.2."""
        return f"QEMU {self.version[0]}.{self.version[1]}"


def is_needed() -> bool:
    """Whether this machine cannot run aarch64 programs by itself.

    Where it can, a line for QEMU must never be registered: QEMU is such a program too, and none would start.
    """
    return platform.machine() not in ("aarch64", "arm64")


def own_place(roots: Path) -> Path:
    """Where the lab's own QEMU lies once it was fetched."""
    return roots / f"qemu-{_SUITE}-{platform.machine()}" / "qemu-aarch64"


def find_qemu(roots: Path) -> Qemu | None:
    """The best there is now: the lab's own, or one of this machine's."""
    paths = [own_place(roots), *(Path(path) for path in map(which, NAMES) if path)]
    found = [Qemu(path, version) for path in paths if (version := _usable(path)) is not None]
    return max(found, key=lambda qemu: (qemu.is_good, qemu.path == own_place(roots)), default=None)


def runs_runtimes(roots: Path) -> bool:
    """Whether the QEMU that boards get runs what is installed on them."""
    found = find_qemu(roots)
    return found is not None and found.is_good


def get_qemu(roots: Path, tell: Tell) -> Qemu:
    """One that will do, fetched now where there is none; an older one where it cannot be had.

    Raises LabError where there is none at all.
    """
    found = find_qemu(roots)
    if found is not None and found.is_good:
        return found
    try:
        with locked(roots, tell):
            # Another lab may have fetched it meanwhile.
            if not own_place(roots).is_file():
                _fetch(own_place(roots), tell, found)
        return _checked(own_place(roots))
    except LabError as error:
        if found is None:
            raise
        tell(f"no newer QEMU could be had: {error.message}; {error.remedy or 'try again later'}")
        tell(f"with {found.words} onnxruntime newer than 1.23.2 and TFLite die on boards: they come up bare")
        return found


def _fetch(place: Path, tell: Tell, instead_of: Qemu | None) -> None:
    """Unpack the one program elsewhere; its folder gets its name once it is known to work."""
    why = f"this machine has {instead_of.words}" if instead_of else "this machine has none"
    tell(
        f"fetching QEMU {_GOOD_MAJOR} for the lab, once ({why}): 80 MB from Debian's mirror, 17 MB in {place}"
    )
    partial = place.parent.with_name(place.parent.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        options = ("--dpkgopt=path-exclude=/*", f"--dpkgopt=path-include=/{_PROGRAM}")
        unpack(_SUITE, (_PACKAGE,), partial / "unpacked", options, tell)
        (partial / "unpacked" / _PROGRAM).rename(partial / place.name)
        shutil.rmtree(partial / "unpacked")
        _checked(partial / place.name)
        partial.rename(place.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _checked(path: Path) -> Qemu:
    version = _usable(path)
    if version is None or version[0] < _GOOD_MAJOR:
        raise LabError(f"{path}: is no QEMU {_GOOD_MAJOR} that is linked statically", f"rm -r {path.parent}")
    return Qemu(path, version)


def _usable(path: Path) -> tuple[int, int] | None:
    """The version of a QEMU that works in every root; None for anything else."""
    try:
        said = call(path, "--version") if is_static(path) else ""
    except (OSError, LabError, struct.error):
        return None  # not there, not a program, or for another machine
    found = re.search(r"version (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def is_static(program: Path) -> bool:
    """Whether an ELF file of 64 bits asks for no loader; raises OSError or struct.error."""
    with program.open("rb") as file:
        header = file.read(64)
        (offset,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    return all(struct.unpack_from("<I", table, at * size)[0] != _PT_INTERP for at in range(count))
