"""Which Python a board on this machine's own system runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.lab.boards.kinds import kinds
from harness.lab.machine import pythons


def test_one_of_pyenv_is_taken(tmp_path: Path) -> None:
    for version in ("3.6.15", "3.7.16"):
        (tmp_path / f".pyenv/versions/{version}/bin").mkdir(parents=True)
        (tmp_path / f".pyenv/versions/{version}/bin/python3.6").touch()
    assert (
        pythons.find_python(kinds()["nano"], [tmp_path]) == tmp_path / ".pyenv/versions/3.6.15/bin/python3.6"
    )


@pytest.mark.parametrize(
    ("on_path", "found"),
    [
        ("/usr/bin/python3.6", Path("/usr/bin/python3.6")),
        ("/home/bench/.pyenv/shims/python3.6", None),
        (None, None),
    ],
)
def test_one_on_path_is_taken_unless_it_is_a_shim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_path: str | None, found: Path | None
) -> None:
    monkeypatch.setattr("harness.lab.machine.pythons.shutil.which", lambda _: on_path)
    assert pythons.find_python(kinds()["nano"], [tmp_path]) == found


def test_an_aarch64_board_has_its_own() -> None:
    assert pythons.find_python(kinds()["pi4"]) is None
