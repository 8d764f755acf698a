"""The kernel's line for aarch64 programs."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from harness.lab import binfmt

ENTRY = (
    "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POCF\noffset 0\n"
    "magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
)


def test_the_line_names_the_program_in_the_kernels_own_form() -> None:
    magic = r"\x7f\x45\x4c\x46\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00"
    mask = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
    line = binfmt.registration("ebl-aarch64", Path("/usr/bin/qemu-aarch64-static"))
    assert line.decode() == f":ebl-aarch64:M::{magic}:{mask}:/usr/bin/qemu-aarch64-static:POCF"


@pytest.mark.parametrize(
    ("entry", "usable"),
    [
        (ENTRY, True),
        (ENTRY.replace("POCF", "OC"), False),  # QEMU would have to lie in the board's root
        (ENTRY.replace("enabled", "disabled"), False),
        (ENTRY.replace("b700", "f300"), False),  # RISC-V
        ("enabled\ninterpreter /usr/bin/jar\nflags: \nextension .jar\n", False),
    ],
)
def test_somebody_elses_line_is_used_where_it_serves_every_root(
    tmp_path: Path, entry: str, usable: bool
) -> None:
    (tmp_path / "register").touch()
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "other").write_text(entry)
    assert binfmt.has_interpreter(tmp_path) is usable


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
    assert binfmt.is_static(program) is static


@pytest.mark.skipif(sys.platform != "linux", reason="ELF files are Linux's")
def test_a_shell_is_not_static() -> None:
    assert binfmt.is_static(Path("/bin/sh")) is False


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ("qemu-aarch64 version 7.2.22 (Debian 1:7.2)", "QEMU 7.2: on these boards"),
        ("qemu version 10.0.2", None),
    ],
)
def test_an_old_qemu_is_told(monkeypatch: pytest.MonkeyPatch, said: str, note: str | None) -> None:
    monkeypatch.setattr(binfmt, "find_qemu", lambda: Path("qemu-aarch64-static"))
    monkeypatch.setattr(binfmt, "call", lambda *_: said)
    found = binfmt.age_note()
    assert (found or "").startswith(note or "") and (found is None) is (note is None)
