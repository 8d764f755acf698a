"""`bench run` over a real OpenSSH server, as an ordinary user, with the agent under several Pythons."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.end_to_end.workplace import Workplace, record_of
from tests.openssh import OpenSshServer

pytestmark = pytest.mark.e2e

#: Made by tests/agent_pythons.sh.
PYTHONS = Path(os.environ.get("EDGEBENCH_TEST_PYTHONS", f"/var/tmp/edgebench-test-pythons-{os.getuid()}"))
PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")
RUN = ("run", "--model", "digits", "--measurement", "quick", "--out", "out")


def python_of(version: str) -> Path:
    """The interpreter with real runtimes, or the test is skipped with the reason."""
    if not (PYTHONS / version / ".complete").exists():
        pytest.skip(f"no Python {version} with runtimes (tests/agent_pythons.sh makes them)")
    return PYTHONS / f"python-{version}"


@pytest.fixture(scope="session")
def local_accuracies(
    tmp_path_factory: pytest.TempPathFactory, shared_cache: Path
) -> dict[tuple[str, str], float]:
    """What the same run gives on this machine."""
    workplace = Workplace(tmp_path_factory.mktemp("local"), shared_cache)
    done = workplace.bench(*RUN, "--runtime", "onnxruntime,tflite")
    assert done.status == 0, done.err
    records = workplace.results()["records"]
    return {(r["case"]["runtime"], r["case"]["precision"]): r["accuracy"]["value"] for r in records}


@pytest.mark.parametrize(
    ("version", "runtimes"),
    [
        ("3.6", ("onnxruntime",)),
        ("3.8", ("onnxruntime", "tflite")),
        ("3.11", ("onnxruntime", "tflite")),
        ("3.13", ("onnxruntime", "tflite")),
    ],
)
def test_a_run_over_ssh_gives_the_accuracies_of_a_local_run(
    version: str,
    runtimes: tuple[str, ...],
    workplace: Workplace,
    ssh_server: OpenSshServer,
    local_accuracies: dict[tuple[str, str], float],
) -> None:
    workplace.add_board("board", ssh_server, python=python_of(version))
    done = workplace.bench(*RUN, "--device", "board", "--runtime", ",".join(runtimes))
    assert done.status == 0, done.err + done.out
    results = workplace.results()
    for runtime in runtimes:
        for precision in PRECISIONS:
            record = record_of(results, runtime, precision)
            assert record["accuracy"]["value"] == local_accuracies[runtime, precision], record["case"]
            assert "wrong_output" not in record["reasons"], record["doubts"]
            assert record["facts"]["python"].startswith(version)


def test_everything_on_the_board_belongs_to_its_user_alone(
    workplace: Workplace, ssh_server: OpenSshServer
) -> None:
    workplace.add_board("board", ssh_server, python=python_of("3.11"))
    done = workplace.bench(*RUN, "--device", "board", "--runtime", "onnxruntime", "--precision", "fp32")
    assert done.status == 0, done.err
    root = ssh_server.home / ".cache" / "edgebench"
    loose = {
        str(path.relative_to(root)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in [root, *root.rglob("*")]
        if path.stat().st_mode & 0o077
    }
    assert loose == {}


def test_no_secret_enters_database_or_report(workplace: Workplace, ssh_server: OpenSshServer) -> None:
    workplace.add_board("board", ssh_server, python=python_of("3.11"))
    done = workplace.bench(*RUN, "--device", "board", "--runtime", "null")
    assert done.status == 0, done.err
    secret = ssh_server.identity.read_text().splitlines()[1]
    written = [path for path in workplace.folder.rglob("*") if path.is_file()]
    assert [path for path in written if secret.encode() in path.read_bytes()] == []
