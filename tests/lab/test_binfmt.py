"""The kernel's line for aarch64 programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import LabError
from harness.lab.machine import binfmt

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


QEMU = Path("/roots/qemu/qemu-aarch64")


def kernels_list(folder: Path, **entries: str) -> Path:
    (folder / "register").touch()
    for name, entry in entries.items():
        (folder / name).write_text(entry)
    return folder


def test_the_labs_line_goes_in_front_of_an_older_system_wide_one(tmp_path: Path) -> None:
    place = kernels_list(tmp_path, system=ENTRY)
    binfmt.register("lab", QEMU, pytest.fail, place)
    assert (place / "register").read_bytes() == binfmt.registration("lab", QEMU)
    assert (place / "system").read_text() == ENTRY


def test_a_line_that_names_the_same_qemu_stays_as_it_is(tmp_path: Path) -> None:
    entry = ENTRY.replace("/usr/bin/qemu-aarch64-static", str(QEMU))
    place = kernels_list(tmp_path, lab=entry)
    binfmt.register("lab", QEMU, pytest.fail, place)
    assert ((place / "register").read_bytes(), (place / "lab").read_text()) == (b"", entry)


def test_a_line_of_the_lab_that_names_another_qemu_is_replaced(tmp_path: Path) -> None:
    place = kernels_list(tmp_path, lab=ENTRY)
    binfmt.register("lab", QEMU, pytest.fail, place)
    assert (place / "lab").read_text() == "-1"
    assert (place / "register").read_bytes() == binfmt.registration("lab", QEMU)


def test_where_no_line_may_be_added_one_that_is_there_serves_and_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "system").write_text(ENTRY)
    (tmp_path / "register").mkdir()
    told: list[str] = []
    binfmt.register("lab", QEMU, told.append, tmp_path)
    assert told == [
        f"{tmp_path}/register: {QEMU} cannot be registered: Is a directory; boards use the QEMU that this "
        "kernel knows already"
    ]


def test_without_any_line_the_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "register").mkdir()
    with pytest.raises(LabError, match="cannot be registered: Is a directory"):
        binfmt.register("lab", QEMU, pytest.fail, tmp_path)
