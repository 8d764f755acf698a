"""`bench device setup` for real: wheels from the package index, a venv on a board behind a real sshd."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.boards import files_in
from tests.end_to_end.workplace import Finished, Workplace
from tests.openssh import OpenSshServer, missing

pytestmark = pytest.mark.e2e

#: Made by tests/agent_pythons.sh.
PYTHONS = Path(os.environ.get("EDGEBENCH_TEST_PYTHONS", f"/var/tmp/edgebench-test-pythons-{os.getuid()}"))


def bare_python(version: str) -> Path:
    """The interpreter below the test environment: it has no runtime and no numpy."""
    if not (PYTHONS / version / ".complete").exists():
        pytest.skip(
            f"no Python {version} that an ordinary account may run (tests/agent_pythons.sh makes one)"
        )
    question = "import sys; print(sys.base_prefix)"
    asked = [PYTHONS / f"python-{version}", "-c", question]
    prefix = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return Path(prefix) / "bin" / f"python{version}"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenSshServer]:
    """A server whose account finds the libraries of the interpreters, as it would on a board."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    libraries = ":".join(str(bare_python(version).parents[1] / "lib") for version in ("3.6", "3.13"))
    with OpenSshServer(options=[f"SetEnv LD_LIBRARY_PATH={libraries}"]) as running:
        yield running


def set_up(workplace: Workplace, *options: str | Path) -> Finished:
    """Run it; without a way to the package index there is nothing to test."""
    done = workplace.bench("device", "setup", "board", "--yes", *options)
    if "the package index is out of reach" in done.err:
        pytest.skip("no package index is within reach")
    return done


def python_of_board(workplace: Workplace) -> str:
    """What the inventory names now."""
    (inventory,) = [*workplace.folder.glob("devices.toml"), *workplace.folder.glob("config/devices.toml")]
    python: str = tomllib.loads(inventory.read_text())["devices"]["board"]["python"]
    return python


def environments(server: OpenSshServer) -> set[str]:
    """The complete ones on the board."""
    return {str(path.parent) for path in server.home.glob(".cache/edgebench/venv-*/complete")}


@pytest.mark.parametrize(("version", "package"), [("3.6", "1.10.0"), ("3.13", "1.31.1")])
def test_a_bare_python_gets_a_runtime_that_works_and_a_second_setup_does_nothing(
    version: str, package: str, workplace: Workplace, server: OpenSshServer
) -> None:
    bare = bare_python(version)
    workplace.add_board("board", server, python=bare)
    done = set_up(workplace, "--runtime", "onnxruntime")

    assert done.status == 0, done.err
    python = python_of_board(workplace)
    assert python.startswith(f"{server.home}/.cache/edgebench/venv-")
    assert f"python is now {python} (was {bare})" in done.out
    assert f"onnxruntime  works  onnxruntime {package}" in done.out

    before = files_in(Path(python).parents[1])
    again = set_up(workplace, "--runtime", "onnxruntime")
    assert again.status == 0, again.err
    assert "board: nothing to do" in again.out
    assert "sending" not in again.err
    assert files_in(Path(python).parents[1]) == before


def test_wheels_of_a_folder_serve_without_an_index_and_a_broken_one_changes_nothing(
    workplace: Workplace, server: OpenSshServer, tmp_path: Path
) -> None:
    workplace.add_board("board", server, python=bare_python("3.6"))
    assert set_up(workplace, "--runtime", "onnxruntime").status == 0
    first = python_of_board(workplace)
    cached = next(Path(workplace.environment["EDGEBENCH_CACHE_DIR"]).glob("host/wheels/cp36m-*"))
    folder = tmp_path / "wheels"
    folder.mkdir()
    for wheel in cached.glob("*.whl"):
        (folder / wheel.name).write_bytes(wheel.read_bytes())
    workplace.environment.update({"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"})

    offline = set_up(workplace, "--wheels", folder)
    assert offline.status == 0, offline.err
    second = python_of_board(workplace)
    assert second != first
    known = environments(server)
    assert {first, second} <= {f"{path}/bin/python" for path in known}

    (wheel,) = folder.glob("onnxruntime-*.whl")
    wheel.write_bytes(wheel.read_bytes()[:-100])
    broken = set_up(workplace, "--wheels", folder, "--runtime", "onnxruntime")
    assert broken.status == 3, broken.out
    assert python_of_board(workplace) == second
    assert environments(server) == known


def test_a_dry_run_and_a_refusal_leave_the_board_as_it_is(
    workplace: Workplace, server: OpenSshServer
) -> None:
    bare = bare_python("3.13")
    workplace.add_board("board", server, python=bare)
    before = environments(server)
    planned = workplace.bench("device", "setup", "board", "--dry-run")
    assert planned.status == 0, planned.err
    assert "numpy==2.2.6, onnxruntime==1.31.1, ai-edge-litert==2.3.0" in planned.out
    unasked = workplace.bench("device", "setup", "board")
    assert unasked.status == 2
    assert "board: nobody is there to confirm" in unasked.err
    assert python_of_board(workplace) == str(bare)
    assert environments(server) == before
