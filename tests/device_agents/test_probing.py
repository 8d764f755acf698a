"""Which runtimes work here: proven in child processes, by packages of every kind."""

from __future__ import annotations

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
