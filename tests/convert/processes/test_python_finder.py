from __future__ import annotations

import sys
from pathlib import Path

import pytest

from convert.errors import ConversionFailed
from convert.processes.python_finder import find_python


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer without Pythons, as far as variables say where they are; 3.2 is nowhere else either."""
    monkeypatch.delenv("EDGEBENCH_PYTHONS", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))


def make_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_running_interpreter_is_taken_for_its_own_version() -> None:
    assert find_python(["{}.{}".format(*sys.version_info)], "a test") == Path(sys.executable)


def test_the_first_version_there_is_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(tmp_path / "python3.1", "echo 3.1")
    second = make_program(tmp_path / "python3.2", "echo 3.2")
    monkeypatch.setenv("PATH", f"/nowhere:{tmp_path}")
    assert find_python(["3.0", "3.2", "3.1"], "a test") == second


def test_a_shim_that_fails_does_not_hide_what_stands_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_program(tmp_path / "shims" / "python3.2", "echo 'pyenv: python3.2: command not found' >&2; exit 127")
    real = make_program(tmp_path / "real" / "python3.2", "echo 3.2")
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}:{tmp_path / 'real'}")
    assert find_python(["3.2"], "a test") == real


def test_of_several_patch_releases_the_newest_is_taken(tmp_path: Path) -> None:
    make_program(tmp_path / "pyenv" / "versions" / "3.2.9" / "bin" / "python3.2", "echo 3.2")
    newest = make_program(tmp_path / "pyenv" / "versions" / "3.2.10" / "bin" / "python3.2", "echo 3.2")
    assert find_python(["3.2"], "a test") == newest


def test_those_of_uv_count(tmp_path: Path) -> None:
    python = make_program(
        tmp_path / "uv" / "cpython-3.2.6-linux-x86_64-gnu" / "bin" / "python3.2", "echo 3.2"
    )
    assert find_python(["3.2"], "a test") == python


def test_those_the_user_names_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(tmp_path / "path" / "python3.2", "echo 3.2")
    named = make_program(tmp_path / "named" / "my-python", "echo 3.2")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("EDGEBENCH_PYTHONS", f"/nowhere/python3.1:{named}")
    assert find_python(["3.2"], "a test") == named


def test_the_error_says_where_it_looked_and_what_it_refused_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debian = make_program(tmp_path / "debian", "echo 3.2; echo 'No module named ensurepip' >&2; exit 1")
    other = make_program(tmp_path / "other", "echo 3.3")
    threads = make_program(tmp_path / "threads", "echo 3.2t")
    monkeypatch.setenv("EDGEBENCH_PYTHONS", f"{debian}:{other}:{threads}:/nowhere/python3.2")
    with pytest.raises(ConversionFailed) as caught:
        find_python(["3.2"], "the torch toolchain")
    assert caught.value.reason == "toolchain_python_missing"
    assert str(caught.value) == (
        f"the torch toolchain needs Python 3.2, which was not found on PATH, in {tmp_path}/pyenv/versions, "
        f"in /usr/bin, /usr/local/bin, /opt/homebrew/bin, in {tmp_path}/uv or in EDGEBENCH_PYTHONS; refused: "
        f"{debian} (lacks venv or ensurepip (on Debian and Ubuntu: the package python3.2-venv)), "
        f"{other} (is Python 3.3), {threads} (is Python 3.2t), /nowhere/python3.2 (cannot be run). "
        "Install Python 3.2, or set EDGEBENCH_PYTHONS=/path/to/python3.2"
    )
