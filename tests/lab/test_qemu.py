"""Which QEMU starts the boards' programs, and where it comes from."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import LabError
from harness.lab.systems import qemu
from harness.lab.systems.qemu import Qemu

OLD = "qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"
NEW = "qemu-aarch64 version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)"
DYNAMIC = NEW + " (dynamic)"


class Place:
    """A machine with QEMUs that say what the test wants, and a mirror that has one or is out of reach."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.roots = folder / "roots"
        self.roots.mkdir()
        self.system = folder / "usr/qemu-aarch64-static"
        self.own = qemu.own_place(self.roots)
        self.says: dict[str, str] = {}
        self.mirror: str | None = NEW
        self.told: list[str] = []
        self.unpacked: list[Sequence[str]] = []
        patch.setattr(qemu, "which", lambda name: str(self.system) if name == self.system.name else None)
        patch.setattr(qemu, "is_static", lambda path: "dynamic" not in path.read_text())
        patch.setattr(qemu, "call", lambda path, _: path.read_text())
        patch.setattr(qemu, "unpack", self.unpack)

    def has(self, path: Path, content: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def unpack(
        self, suite: str, packages: Sequence[str], folder: Path, options: Sequence[str], _: qemu.Tell
    ) -> None:
        if self.mirror is None:
            raise LabError("mmdebstrap failed (status 25): no way to the mirror", "see that it is reached")
        self.unpacked.append((suite, *packages, *options))
        self.has(folder / "usr/bin/qemu-aarch64", self.mirror)

    def get(self) -> Qemu:
        return qemu.get_qemu(self.roots, self.told.append)

    def left(self) -> list[str]:
        return sorted(path.name for path in self.roots.iterdir() if path.name != "lock")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_a_new_one_of_the_systems_is_used_and_nothing_fetched(place: Place) -> None:
    place.has(place.system, NEW)
    assert place.get() == Qemu(place.system, (10, 0))
    assert (place.told, place.left()) == ([], [])


def test_in_place_of_an_old_one_the_lab_gets_its_own_and_says_what_it_costs_first(place: Place) -> None:
    place.has(place.system, OLD)
    assert place.get() == Qemu(place.own, (10, 0))
    assert place.told == [
        "fetching QEMU 10 for the lab, once (this machine has QEMU 7.2): 80 MB from Debian's mirror, "
        f"17 MB in {place.own}"
    ]
    assert place.left() == [place.own.parent.name]
    # Of the package's forty emulators the one that is needed.
    assert place.unpacked == [
        ("trixie", "qemu-user", "--dpkgopt=path-exclude=/*", "--dpkgopt=path-include=/usr/bin/qemu-aarch64")
    ]


def test_it_is_fetched_once(place: Place) -> None:
    place.has(place.system, OLD)
    assert place.get() == place.get()
    assert len(place.unpacked) == 1


def test_one_that_needs_libraries_is_none(place: Place) -> None:
    place.has(place.system, DYNAMIC)
    place.get()
    assert "(this machine has none)" in place.told[0]


def test_without_a_mirror_the_old_one_serves_and_what_dies_under_it_is_told(place: Place) -> None:
    place.has(place.system, OLD)
    place.mirror = None
    assert place.get() == Qemu(place.system, (7, 2))
    assert place.told[1:] == [
        "no newer QEMU could be had: mmdebstrap failed (status 25): no way to the mirror; see that it is "
        "reached",
        "with QEMU 7.2 onnxruntime newer than 1.23.2 and TFLite die on boards: they come up bare",
    ]


def test_without_a_mirror_and_without_any_the_reason_is_the_error(place: Place) -> None:
    place.mirror = None
    with pytest.raises(LabError, match="no way to the mirror"):
        place.get()


@pytest.mark.parametrize("content", [DYNAMIC, OLD])
def test_what_the_mirror_has_is_not_kept_unless_it_will_do(place: Place, content: str) -> None:
    place.has(place.system, OLD)
    place.mirror = content
    assert place.get() == Qemu(place.system, (7, 2))
    assert place.left() == []


@pytest.mark.parametrize(("machine", "needed"), [("x86_64", True), ("aarch64", False), ("arm64", False)])
def test_a_machine_that_runs_aarch64_itself_never_gets_a_line_for_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, needed: bool
) -> None:
    monkeypatch.setattr(qemu.platform, "machine", lambda: machine)
    assert qemu.is_needed() is needed


@pytest.mark.parametrize(("kinds", "static"), [((1, 1), True), ((6, 3, 1), False)])
def test_a_program_that_asks_for_a_loader_is_not_static(
    tmp_path: Path, kinds: tuple[int, ...], static: bool
) -> None:
    header = bytearray(64)
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<HH", header, 54, 56, len(kinds))
    table = b"".join(struct.pack("<I", kind).ljust(56, b"\0") for kind in kinds)
    program = tmp_path / "program"
    program.write_bytes(bytes(header) + table)
    assert qemu.is_static(program) is static


@pytest.mark.skipif(sys.platform != "linux", reason="ELF files are Linux's")
def test_a_shell_is_not_static() -> None:
    assert qemu.is_static(Path("/bin/sh")) is False
