"""Which runtimes work here: proven in child processes, by packages of every kind."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from device_agents import probing
from device_agents.protocol import RuntimeStatus
from device_agents.workspace import Workspace
from tests.device_agents.board import Board

pytestmark = pytest.mark.processes

FakeRuntime = Callable[[str], None]


@pytest.fixture
def workspace(board: Board) -> Workspace:
    board.workspace.create()
    return board.workspace


def status_of(workspace: Workspace, name: str) -> RuntimeStatus:
    (status,) = probing.probe(workspace, [name]).runtimes
    return status


def test_a_runtime_that_works_is_available_with_its_version(workspace: Workspace) -> None:
    assert status_of(workspace, "null") == RuntimeStatus("null", True, "1", None, None, {})


def test_an_unknown_runtime_is_unavailable_and_says_so(workspace: Workspace) -> None:
    status = status_of(workspace, "tensorflow-js")
    assert (status.available, status.reason) == (False, "this agent has no such runtime")


def test_a_package_that_cannot_be_imported_is_unavailable_with_its_reason(
    workspace: Workspace, fake_runtime: FakeRuntime
) -> None:
    fake_runtime("broken")
    status = status_of(workspace, "onnxruntime")
    assert not status.available
    assert status.reason is not None
    assert "libgomp.so.1: cannot open shared object file" in status.reason


def test_a_package_that_imports_and_then_fails_is_unavailable_with_its_reason(
    workspace: Workspace, fake_runtime: FakeRuntime
) -> None:
    fake_runtime("refuse")
    status = status_of(workspace, "onnxruntime")
    assert (status.available, status.version, status.package) == (False, "0.1", "onnxruntime")
    assert status.reason == "onnxruntime 0.1: opset 99 is not supported"


def test_a_package_built_for_a_newer_processor_is_told_apart(
    workspace: Workspace, fake_runtime: FakeRuntime
) -> None:
    fake_runtime("sigill_on_import")
    status = status_of(workspace, "onnxruntime")
    assert not status.available
    assert status.reason is not None
    assert status.reason.startswith("died of SIGILL: its package was built for a newer processor")


def test_a_proof_that_never_answers_is_ended(
    workspace: Workspace, fake_runtime: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtime("")
    (tmp_path / "site" / "onnxruntime.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(probing, "PROOF_TIMEOUT_S", 0.3)
    assert status_of(workspace, "onnxruntime").reason == "did not answer within 0.3 s"


def test_proofs_that_hang_share_one_deadline(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller waits three minutes for a probe, and one proof may take two."""
    deadlines = []

    class Hanging:
        def __init__(self, _workspace: Workspace, name: str) -> None:
            self.name = name

        def result(self, give_up: float) -> RuntimeStatus:
            deadlines.append(give_up)
            return RuntimeStatus(self.name, False, None, None, "did not answer", {})

    monkeypatch.setattr(probing, "_Proof", Hanging)
    probing.probe(workspace, ["onnxruntime", "tflite", "tensorrt"])
    assert len(deadlines) == 3
    assert len(set(deadlines)) == 1


def test_a_runtime_that_says_too_much_is_heard_to_its_end(
    workspace: Workspace, fake_runtime: FakeRuntime, tmp_path: Path
) -> None:
    fake_runtime("")
    (tmp_path / "site" / "onnxruntime.py").write_text(
        "import os\nfor _ in range(64):\n    os.write(1, b'\\xff' * (1 << 16))\n"
        "os.write(1, b'\\nthe last word')\nos._exit(3)\n"
    )
    assert status_of(workspace, "onnxruntime").reason == "ended with status 3; the last word"


def test_a_full_disk_costs_the_memory_of_proofs_and_no_probe(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    assert status_of(workspace, "null").available
    assert not list(Path(workspace.root).glob("runtimes.json*"))


def test_a_good_proof_is_remembered_and_a_bad_one_is_not(
    workspace: Workspace, fake_runtime: FakeRuntime
) -> None:
    fake_runtime("refuse")
    probing.probe(workspace, ["null", "onnxruntime"])
    stored = json.loads((Path(workspace.root) / "runtimes.json").read_text())
    assert [json.loads(line)["name"] for line in stored["proofs"]] == ["null"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    return folder


def remember(workspace: Workspace, version: str) -> None:
    """A proof that only a memory can give."""
    remembered = probing._Remembered(workspace)
    remembered.put(RuntimeStatus("null", True, version, None, None, {}))
    remembered.save()


def test_a_remembered_proof_is_not_made_again(workspace: Workspace, site: Path) -> None:
    remember(workspace, "from memory")
    assert status_of(workspace, "null").version == "from memory"


def test_installing_a_package_makes_proofs_be_made_again(workspace: Workspace, site: Path) -> None:
    remember(workspace, "from memory")
    (site / "numpy-2.0.dist-info").mkdir()
    later = time.time() + 5
    os.utime(site, (later, later))
    assert status_of(workspace, "null").version == "1"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "null", '{"key": "%s", "proofs": 5}', '{"key": "%s", "proofs": [7]}']
)
def test_a_damaged_memory_is_no_memory(workspace: Workspace, content: str) -> None:
    text = content.replace("%s", probing._installation_key())
    (Path(workspace.root) / "runtimes.json").write_text(text)
    assert probing._Remembered(workspace).get("null") is None


def test_a_probe_tells_who_has_the_board(workspace: Workspace) -> None:
    holder = workspace.try_board("job-7")
    assert holder is not None
    with holder:
        reply = probing.probe(workspace, ["null"])
    assert reply.busy_with == "job job-7"
    assert reply.busy_since == pytest.approx(time.time(), abs=30)
    assert reply.workspace == workspace.root
    assert reply.free_bytes is not None
