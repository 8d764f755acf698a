"""`bench device check` on stand-in boards: facts, findings with their commands, JSON, exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from harness.commands import device_check
from tests.device_agents.board_trees import Tree, stand_in

pytestmark = pytest.mark.processes

#: What the command printed before the doctor came; scripts read these.
OLD_KEYS = {"protocol", "facts", "runtimes", "workspace", "free_bytes", "busy_with", "busy_since"}

Check = Callable[..., Result]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Runs the command against a tree that the inventory calls `pi`."""
    inventory = tmp_path / "devices.toml"
    inventory.write_text('[devices.pi]\nprofile = "raspberry-pi-5"\nhost = "192.0.2.1"\n')
    app = typer.Typer()
    app.command()(device_check.check)

    def run(tree: Tree, *options: str, **environment: str) -> Result:
        monkeypatch.setattr(device_check, "open_session", lambda _entry: tree.session(**environment))
        return CliRunner().invoke(app, ["pi", "--inventory", str(inventory), *options])

    return run


@pytest.fixture
def pi(tmp_path: Path) -> Tree:
    """A Raspberry Pi 5, overclocked and short of voltage, whose user may do nothing as root."""
    tree = stand_in("raspberry-pi-5", tmp_path)
    tree.write("/stand-in/sudo-refuses", "")
    tree.write("/sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "2800000\n")
    tree.write("/proc/mounts", "/dev/mmcblk0p2 / ext4 rw 0 0\n")
    return tree


def test_facts_come_first_then_problems_advice_and_what_is_good(check: Check, pi: Tree) -> None:
    shown = check(pi)
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0] == "pi"
    assert "  board      Raspberry Pi 5 Model B Rev 1.0" in lines
    assert "problem  voltage: too low since the board was started (throttled=0x50000)" in lines
    assert "    bench device setup pi --sudoers" in lines
    assert "good  power supply: 5000 mA" in lines
    assert any(line.startswith("advice  kind of board: its CPU goes up to 2800 MHz") for line in lines)
    places = [next(i for i, line in enumerate(lines) if line.startswith(word)) for word in
              ("problem", "advice", "good")]  # fmt: skip
    assert places == sorted(places)


def test_json_keeps_its_keys_and_adds_what_was_found(check: Check, pi: Tree) -> None:
    said: dict[str, Any] = json.loads(check(pi, "--json").stdout)
    assert set(said) == OLD_KEYS | {"examination", "findings"}
    assert said["examination"]["storage_kind"] == "SD card"
    (voltage,) = [each for each in said["findings"] if each["topic"] == "voltage"]
    assert (voltage["state"], voltage["blocks"], voltage["commands"]) == ("problem", False, [])


def test_a_board_without_a_runtime_is_told_the_one_command_first_and_status_3(
    check: Check, pi: Tree, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for package in ("onnxruntime", "ai_edge_litert", "tflite_runtime", "tensorflow"):
        (site / f"{package}.py").write_text("raise ImportError('it is gone')\n")
    shown = check(pi, PYTHONPATH=str(site))
    assert shown.exit_code == 3
    first = shown.output.partition("\n\n")[2].splitlines()
    assert first[0] == "problem  onnxruntime: onnxruntime cannot be imported: it is gone"
    assert first[2] == "    bench device setup pi"
