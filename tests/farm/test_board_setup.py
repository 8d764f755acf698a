"""What a setup plans for which board, and what it leaves behind when something fails on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from device_agents.protocol import PROTOCOL_VERSION, Examination, ProbeReply, RuntimeStatus
from harness.errors import BoardFull, DeviceError, RuntimeUnavailable
from harness.farm.board_packages import NoPackage
from harness.farm.board_setup import SetupOutcome, SetupPlan, plan_setup, set_up
from harness.link.deployment import Blob
from harness.link.transport import Completed
from tests.farm.doctor.patients import broken, jetson, pi_4, works
from tests.farm.test_wheelhouse import make_wheel


def plan(examined: Examination, *runtimes: str, wheels: Path | None = None) -> SetupPlan:
    return plan_setup(examined, runtimes or None, wheels, "board-1")


def test_a_jetson_gets_an_environment_that_sees_what_apt_installed_and_proves_tensorrt() -> None:
    made = plan(jetson(5))
    assert made.system_site_packages
    assert made.runtimes == ("onnxruntime", "tflite", "tensorrt")
    assert not plan(pi_4()).system_site_packages
    assert plan(pi_4()).runtimes == ("onnxruntime", "tflite")


def test_what_nobody_asked_for_may_be_left_out_and_what_was_asked_for_may_not() -> None:
    nano = jetson(4)
    assert plan(nano).left_out == ("tflite: there is no package for Python 3.6 on aarch64",)
    with pytest.raises(NoPackage, match="there is no tflite package"):
        plan(nano, "onnxruntime", "tflite")


def test_a_python_without_venv_is_refused_with_the_command_that_brings_it() -> None:
    with pytest.raises(DeviceError, match="it has no module venv") as caught:
        plan(pi_4(has_venv=False))
    assert caught.value.remedy == "install it on the board: sudo apt-get install -y python3-venv"


def test_the_environment_is_named_for_all_that_it_is_made_of() -> None:
    name = plan(pi_4()).environment(None)
    assert name.startswith("/home/bench/.cache/edgebench/venv-")
    assert plan(pi_4()).environment(None) == name
    others = [plan(pi_4(), "onnxruntime"), plan(pi_4(base_python="/usr/bin/python3.12")), plan(jetson(6))]
    assert len({name, *(each.environment(None) for each in others)}) == 4


# --- on a board that is not there ------------------------------------------------------------------


class FakeSession:
    """A board that does as it is told: every script but the question for completeness succeeds."""

    device = "board-1"

    def __init__(self, *statuses: RuntimeStatus) -> None:
        self._statuses = list(statuses)
        self.sent: list[str] = []
        self.scripts: list[str] = []

    def send(self, blob: Blob) -> None:
        self.sent.append(blob.name)

    def run_script(self, script: str, *arguments: str, timeout_s: float = 0) -> Completed:
        self.scripts.append(f"{script.strip().splitlines()[-1]} | {arguments[0]}")
        return Completed(1 if script.startswith("test -f") else 0, b"/w/venv-old\n", "")

    def open(self, _runtimes: Any) -> ProbeReply:
        return ProbeReply(PROTOCOL_VERSION, pi_4().facts, self._statuses, "/w", None, None, None)

    def close(self) -> None:
        pass


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """Wheels that fit a Raspberry Pi 4 with bookworm."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "numpy", "2.2.6", "cp311-cp311-manylinux2014_aarch64")
    make_wheel(folder, "onnxruntime", "1.20.1", "cp311-cp311-manylinux_2_27_aarch64")
    make_wheel(folder, "pip", "25.3", "py3-none-any")
    return folder


def run(made: SetupPlan, session: Any, tmp_path: Path) -> SetupOutcome:
    return set_up(made, session, lambda _python: session, tmp_path / "cache", lambda _line: None)


@pytest.mark.processes
def test_a_full_card_is_told_before_anything_is_sent(wheels: Path, tmp_path: Path) -> None:
    session = FakeSession()
    with pytest.raises(BoardFull, match=r"board-1: 0 MB are free in .*, the environment takes about 0 MB"):
        run(plan(pi_4(free_bytes=100), wheels=wheels), session, tmp_path)
    assert session.sent == []


@pytest.mark.processes
def test_an_environment_whose_runtime_does_not_work_is_removed_and_never_marked(
    wheels: Path, tmp_path: Path
) -> None:
    session = FakeSession(broken("onnxruntime", "died of SIGILL"))
    with pytest.raises(RuntimeUnavailable, match=r"do not work \(onnxruntime: died of SIGILL\)"):
        run(plan(pi_4(), "onnxruntime", wheels=wheels), session, tmp_path)
    assert len(session.sent) == 3
    assert session.scripts[-1].startswith('rm -rf "$0" | /home/bench/.cache/edgebench/venv-')
    assert not any('>"$0/complete"' in script for script in session.scripts)


@pytest.mark.processes
def test_one_runtime_of_those_nobody_named_is_enough_and_older_environments_are_told(
    wheels: Path, tmp_path: Path
) -> None:
    session = FakeSession(works("onnxruntime"), broken("tflite", "no package"))
    outcome = run(plan(pi_4(), wheels=wheels), session, tmp_path)
    assert outcome.built
    assert [status.available for status in outcome.runtimes] == [True, False]
    assert outcome.older == ("/w/venv-old",)
    assert any('>"$0/complete"' in script for script in session.scripts)
