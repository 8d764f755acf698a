"""`bench run` on the lab's own Jetson Nano, and boards whose values change while they are measured.

Nothing of the product is told where to look: the board has real paths, an ordinary user and a real sudo.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import version_converter

from harness.lab.boards.kinds import kinds
from harness.lab.machine import cgroups
from harness.lab.names import LabNames
from harness.lab.values.board_values import BoardValues
from harness.lab.values.playing import Player
from harness.lab.values.value_script import Step
from tests.end_to_end.test_virtual_boards import LabPlace
from tests.end_to_end.workplace import TIMEOUT_S, record_of
from tests.interpreters import interpreter
from tests.interpreters import missing as no_interpreter
from tests.virtual_boards import left_of, missing

pytestmark = pytest.mark.e2e

DIGITS = Path(__file__).resolve().parents[2] / "profiles" / "models" / "digits"
TENSORRT = ("--model", "net.toml", "--runtime", "tensorrt", "--performance-mode", "max")
#: Seconds between the first running sample and the last, for whoever changes something in between.
LONG = """
description = "two repetitions of some seconds"
repetitions = 2
warmup_min_s = 0.05
warmup_max_s = 0.1
min_iterations = 30
min_time_s = 2.5
median_ci_width = 0.0001
max_iterations = 1_000_000
max_time_s = 2.5
"""
NULL = ("--runtime", "null", "--precision", "fp32")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabPlace]:
    """A lab with a Nano and a Pi 4, and a model that was exported at opset 17."""
    why = missing("pi4", "nano")
    if why is not None:
        pytest.skip(f"no virtual boards: {why}")
    place = LabPlace(tmp_path_factory.mktemp("nano"))
    _write_model(place.folder)
    started = place.bench("lab", "up", "nano,pi4")
    try:
        assert started.status == 0, started.err
        place.folder.joinpath("up.err").write_text(started.err)
        yield place
    finally:
        done = place.bench("lab", "down")
        assert done.status == 0, done.err
        assert left_of(place.lab) == []


@pytest.fixture(scope="module")
def nano(place: LabPlace) -> BoardValues:
    """The Nano with all it may have; without, what it lacks is why a test is skipped."""
    if interpreter("3.6") is None:
        pytest.skip(no_interpreter("3.6"))
    lacks = [line for line in (place.folder / "up.err").read_text().splitlines() if line.startswith("nano: ")]
    if lacks:
        pytest.skip(lacks[0])
    return values_of(place, "nano")


def _write_model(folder: Path) -> None:
    onnx.save(version_converter.convert_version(onnx.load(DIGITS / "digits.onnx"), 17), folder / "net.onnx")
    (folder / "net.toml").write_text(
        f"name = 'net'\ndataset = '{DIGITS / 'evaluation.npz'}'\n"
        f"calibration = '{DIGITS / 'calibration.npz'}'\n[sources]\nonnx = 'net.onnx'\n"
    )


def values_of(place: LabPlace, board: str) -> BoardValues:
    return BoardValues(board, kinds()[board], place.lab / "boards" / board / "stand-ins")


def set_by_script(values: BoardValues, **wanted: object) -> None:
    Player(values, lambda line: None).play((Step(0.0, wanted),))


@dataclass
class Running:
    """A `bench run` that is under way, and the journals there were on its boards before."""

    place: LabPlace
    process: subprocess.Popen[str]
    before: dict[str, set[str]]

    @classmethod
    def started(cls, place: LabPlace, boards: Sequence[str], *arguments: str) -> Running:
        before = {board: set(journals(place, board)) for board in boards}
        devices = [word for board in boards for word in ("--device", board)]
        return cls(place, place.start("run", *devices, *arguments), before)

    def wait_for(self, board: str, **event: str) -> None:
        """Return once an event with these fields is in the journal of that board."""
        deadline = time.monotonic() + TIMEOUT_S
        while not any(event.items() <= found.items() for found in self._events(board)):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def results(self, out: str) -> dict[str, Any]:
        _, said = self.process.communicate(timeout=TIMEOUT_S)
        assert self.process.returncode == 0, said
        return self.place.results(out)

    def _events(self, board: str) -> list[dict[str, Any]]:
        new = [text for name, text in journals(self.place, board).items() if name not in self.before[board]]
        # Whole lines only: the last may be half written.
        return [json.loads(line) for text in new for line in text.split("\n")[:-1]]


def journals(place: LabPlace, board: str) -> dict[str, str]:
    """The journals on a board by their jobs, seen through the root of a process of its."""
    group = cgroups.memory_hierarchy() / LabNames.of(place.lab).group / board
    for pid in cgroups.processes(group):
        root = Path(f"/proc/{pid}/root")
        try:
            if os.readlink(root).endswith(f"/boards/{board}/root"):  # noqa: PTH115 - as the kernel says it
                found = root.glob("home/bench/.cache/edgebench/jobs/*/journal.jsonl")
                return {path.parent.name: path.read_text() for path in found}
        except OSError:  # that process has just ended
            continue
    return {}


@pytest.fixture(scope="module")
def first(place: LabPlace, nano: BoardValues) -> dict[str, Any]:
    """A run on a board that somebody left in its 5 W mode."""
    set_by_script(nano, power_mode="5W", gpu_clock_khz=921_600)
    only = ("--precision", "fp16,int8", "--measurement", "quick", "--out", "first")
    done = place.bench("run", "--device", "nano", *TENSORRT, *only)
    assert done.status == 0, done.err + done.out
    return place.results("first")


def test_fp16_is_built_by_flag_from_the_fp32_graph_at_opset_13(first: dict[str, Any]) -> None:
    record = record_of(first, "tensorrt", "fp16")
    assert (record["status"], record["options"]["precision_by"]) == ("ok", "flag")
    assert "opset 17 to 13" in [step["detail"] for step in record["artifact"]["steps"]]
    assert record["engine"]["layer_precisions"]["fp16"] > 0
    assert record["accuracy"]["n"] == 450
    assert record["accuracy"]["value"] > 0.97


def test_int8_is_unsupported_for_the_gpus_compute_capability(first: dict[str, Any]) -> None:
    record = record_of(first, "tensorrt", "int8")
    assert (record["status"], record["failure"]["reason"]) == ("unsupported", "precision_unsupported")
    assert "NVIDIA Tegra X1 (stand-in) (compute capability 5.3) has no int8" in record["failure"]["message"]


def test_it_is_a_nano_with_jetpack_4_6_and_nobody_takes_its_times_for_one(first: dict[str, Any]) -> None:
    record = record_of(first, "tensorrt", "fp16")
    facts = record["facts"]
    assert facts["board"] == "NVIDIA Jetson Nano Developer Kit"
    assert (facts["jetpack"], facts["runtime_version"]) == ("4.6.1", "8.2.1.8")
    assert facts["python"].startswith("3.6.")
    assert facts["tensorrt"] == "8.2.1-1+cuda10.2+standin"
    assert facts["virtualization"] == "emulated (virtual board)"
    assert "emulated" in record["reasons"]
    assert record["verdict"] != "valid"


def test_an_ordinary_user_raises_the_clocks_by_sudo_and_the_board_is_as_it_was(
    first: dict[str, Any], place: LabPlace, nano: BoardValues
) -> None:
    mode = record_of(first, "tensorrt", "fp16")["performance_mode"]
    assert (mode["mode"], mode["reached"], mode["restored"], mode["problems"]) == ("max", True, True, [])
    assert (mode["before"]["power mode"], mode["after"]["power mode"]) == ("5W (1)", "MAXN (0)")
    assert mode["after"]["policy0"] == "1479 to 1479 MHz"
    assert place.on("nano", "/usr/sbin/nvpmodel -q").stdout == "NV Power Mode: 5W\n1\n"
    limits = nano.stand_ins / "sys/devices/system/cpu/cpufreq/policy0"
    assert (limits / "scaling_min_freq").read_text() == "102000\n"
    assert (limits / "scaling_max_freq").read_text() == "918000\n"


def test_a_gpu_clock_that_changes_though_it_is_held_is_seen(
    first: dict[str, Any], place: LabPlace, nano: BoardValues
) -> None:
    (place.folder / "long.toml").write_text(LONG)
    only = ("--precision", "fp16", "--measurement", "long.toml", "--out", "second")
    running = Running.started(place, ["nano"], *TENSORRT, *only)
    running.wait_for("nano", type="telemetry", phase="running")
    set_by_script(nano, gpu_clock_khz=460_800)
    record = record_of(running.results("second"), "tensorrt", "fp16")
    expected = "the GPU clock ranged from 461 to 922 MHz although it should be held"
    assert expected in details(record, "clock_changed")
    assert record["engine"]["reused"]


@pytest.fixture(scope="module")
def disturbed(place: LabPlace) -> dict[str, dict[str, Any]]:
    """Records by board of a run in which the Pi grew hot and somebody changed the Nano's power mode."""
    pi4, nano = values_of(place, "pi4"), values_of(place, "nano")
    set_by_script(nano, power_mode="MAXN")
    running = Running.started(place, ["nano", "pi4"], *NULL, "--measurement", "quick", "--out", "disturbed")
    running.wait_for("nano", type="telemetry", phase="before")
    set_by_script(nano, power_mode="5W")
    running.wait_for("pi4", type="telemetry", phase="before")
    set_by_script(pi4, throttled=True, temperature_c=84.5, clock_khz=600_000)
    records = running.results("disturbed")["records"]
    return {record["case"]["device"]: record for record in records}


def details(record: Mapping[str, Any], reason: str) -> list[str]:
    return [doubt["detail"] for doubt in record["doubts"] if doubt["reason"] == reason]


def test_a_firmware_that_throttles_in_a_run_is_in_the_record_with_its_heat(
    disturbed: dict[str, dict[str, Any]],
) -> None:
    record = disturbed["pi4"]
    assert record["verdict"] == "invalid"
    assert details(record, "throttled") == ["the board throttled itself while measuring, at up to 84 °C"]
    told = record["telemetry"]
    assert (told["temperature_before_c"], told["temperature_max_c"], told["throttled"]) == (
        48.686,
        84.5,
        True,
    )


def test_a_power_mode_that_somebody_changes_in_a_run_is_seen(disturbed: dict[str, dict[str, Any]]) -> None:
    record = disturbed["nano"]
    assert record["verdict"] == "invalid"
    assert details(record, "power_mode_changed") == ["the power mode changed: MAXN (0) -> 5W (1)"]


def test_a_script_is_played_to_its_last_step_which_stays(place: LabPlace) -> None:
    (place.folder / "cool.toml").write_text(
        "[[step]]\nat = 0\nthrottled = true\n[[step]]\nat = 0.3\nthrottle_flags = 0x50000\n"
    )
    done = place.bench("lab", "play", "pi4", "cool.toml")
    assert (done.status, done.err) == (0, "0 s: throttled = true\n0.3 s: throttle_flags = 327680\n")
    assert place.on("pi4", "vcgencmd get_throttled").stdout == "throttled=0x50000\n"


def test_a_script_with_a_wrong_name_changes_nothing(place: LabPlace) -> None:
    (place.folder / "wrong.toml").write_text(
        "[[step]]\nat = 0\ntemperature_c = 99\n[[step]]\nat = 1\npower_mode = '5W'\n"
    )
    done = place.bench("lab", "play", "pi4", "wrong.toml")
    assert done.status == 2
    assert "step 2: pi4: a pi4 has no value 'power_mode'" in done.err
    assert place.on("pi4", "vcgencmd measure_temp").stdout != "temp=99.0'C\n"


def test_a_script_needs_a_board_that_runs(place: LabPlace) -> None:
    done = place.bench("lab", "play", "pi5", "cool.toml")
    assert (done.status, done.err.splitlines()[0]) == (
        2, "error: no virtual board 'pi5' runs; running: nano, pi4",
    )  # fmt: skip
