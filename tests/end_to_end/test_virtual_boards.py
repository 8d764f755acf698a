"""`bench lab` as a user runs it: real boards' Debian and sshd, and nothing of it left."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import profiles
from harness.lab.names import LabNames
from tests.end_to_end.workplace import Workplace, record_of
from tests.interpreters import interpreter
from tests.interpreters import missing as no_interpreter
from tests.virtual_boards import ROOTS, left_of, missing

DIGITS = Path(profiles.__file__).with_name("models") / "digits"

pytestmark = pytest.mark.e2e

RUN = (
    "run",
    "--runtime",
    "null",
    "--precision",
    "fp32",
    "--measurement",
    "quick",
    "--out",
    "out",
    "--device",
)


class LabPlace(Workplace):
    """A workplace with a lab of its own, apart from the user's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, folder / "cache")
        self.environment["EDGEBENCH_LAB_ROOTS"] = str(ROOTS)
        self.lab = folder / "cache/lab"

    def up(self, *arguments: str) -> None:
        """Boards as they come: those that need their runtimes say so."""
        self.up_ready("--bare", *arguments)

    def up_ready(self, *arguments: str) -> None:
        done = self.bench("lab", "up", *arguments)
        assert done.status == 0, done.err

    def on(self, board: str, command: str) -> subprocess.CompletedProcess[str]:
        """What a command says on a board, by the system's own ssh with the lab's pinned host key."""
        (address,) = [row["address"] for row in self.boards() if row["name"] == board]
        options = [
            f"UserKnownHostsFile={self.lab / 'devices.known_hosts'}", f"HostKeyAlias={board}",
            "StrictHostKeyChecking=yes", f"IdentityFile={self.lab / 'id_ed25519'}", "IdentitiesOnly=yes",
        ]  # fmt: skip
        words = [word for option in options for word in ("-o", option)]
        ssh = ["ssh", "-F", "none", "-n", *words, f"bench@{address}", command]
        return subprocess.run(ssh, capture_output=True, text=True, timeout=60, check=False)

    def boards(self) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = json.loads(self.bench("lab", "status", "--json").out)["boards"]
        return rows


@pytest.fixture
def place(tmp_path: Path) -> Iterator[LabPlace]:
    why = missing("pi4", "nano")
    if why is not None:
        pytest.skip(f"no virtual boards: {why}")
    place = LabPlace(tmp_path)
    yield place
    done = place.bench("lab", "down")
    assert done.status == 0, done.err


def test_a_pi_4_is_checked_and_measured_on_and_leaves_nothing(place: LabPlace) -> None:
    place.up("pi4")
    checked = place.bench("device", "check", "pi4")
    assert "Raspberry Pi 4 Model B Rev 1.4" in checked.out, checked.err
    assert "emulated (QEMU)" in checked.out
    done = place.bench(*RUN, "pi4")
    assert done.status == 0, done.err
    record = record_of(place.results(), "null", "fp32")
    facts = record["facts"]
    assert "emulated" in record["reasons"]
    assert (facts["machine"], facts["cpu_model"]) == ("aarch64", "Cortex-A72")
    assert (facts["memory_bytes"], facts["hostname"]) == (3884360 * 1024, "pi4")
    assert place.bench("lab", "down").status == 0
    assert left_of(place.lab) == []


#: One process that does not wait for its figures to be good: emulated, they mean nothing.
ONCE = """
description = "once"
repetitions = 1
warmup_min_s = 0.0
warmup_max_s = 0.1
min_iterations = 1
min_time_s = 0.1
median_ci_width = 0.5
max_iterations = 20
max_time_s = 0.5
"""


@pytest.mark.timeout(900)  # on a fresh machine its QEMU and runtimes are fetched first
def test_a_pi_5_comes_up_with_a_runtime_that_classifies_as_this_machines_does(place: LabPlace) -> None:
    place.up_ready("pi5")
    examples = dict(np.load(DIGITS / "evaluation.npz"))
    np.savez(place.folder / "few.npz", **{name: values[:10] for name, values in examples.items()})
    (place.folder / "once.toml").write_text(ONCE)
    done = place.bench(
        "run", "--device", "pi5", "--runtime", "onnxruntime", "--precision", "fp32",
        "--dataset", "few.npz", "--measurement", "once.toml", "--out", "out",
    )  # fmt: skip
    assert done.status == 0, done.err
    record = record_of(place.results(), "onnxruntime", "fp32")
    assert record["facts"]["runtime_version"] == "1.31.1"
    assert "emulated" in record["reasons"]
    assert (record["accuracy"]["value"], record["accuracy"]["n"]) == (1.0, 10)
    assert record["fidelity"]["argmax_agreement"] == 1.0
    assert record["fidelity"]["max_abs_error"] < 1e-5


def test_what_a_boards_firmware_says_can_be_changed_while_it_runs(place: LabPlace) -> None:
    place.up("pi4")
    assert place.on("pi4", "vcgencmd get_throttled").stdout == "throttled=0x0\n"
    (place.lab / "boards/pi4/stand-ins/vcgencmd/get_throttled").write_text("throttled=0x50005\n")
    assert place.on("pi4", "vcgencmd get_throttled").stdout == "throttled=0x50005\n"


def test_a_nano_has_python_3_6_and_is_found_by_its_profile(place: LabPlace) -> None:
    if interpreter("3.6") is None:
        pytest.skip(no_interpreter("3.6"))
    place.up("nano")
    assert place.bench(*RUN, "jetson-nano").status == 0
    record = record_of(place.results(), "null", "fp32")
    assert record["case"]["device"] == "nano"
    assert "emulated" in record["reasons"]
    assert record["facts"]["python"].startswith("3.6.")


def test_a_board_is_held_to_its_memory_and_lives_on(place: LabPlace) -> None:
    place.up("zero2w")
    eats = "python3 -c 'print(len(bytearray(b\"x\") * (600 << 20)))'; echo ended $?"
    assert place.on("zero2w", eats).stdout == "ended 137\n"
    after = place.on("zero2w", "python3 -c 'print(len(bytearray(50 << 20)))'")
    assert after.stdout == f"{50 << 20}\n", after.stderr


def test_a_controller_that_is_killed_at_any_moment_leaves_nothing_that_down_does_not_find(
    place: LabPlace,
) -> None:
    for moment in (0.2, 0.35, 0.5):
        starting = place.start("lab", "up", "pi4,nano", "--count", "2")
        time.sleep(moment)
        starting.kill()
        starting.communicate()
        assert place.bench("lab", "down").status == 0
        assert left_of(place.lab) == []


def test_boards_are_found_by_their_names_where_the_state_file_is_lost(place: LabPlace) -> None:
    place.up("pi4,nano")
    (place.lab / "state.json").write_text("not what it was")
    done = place.bench("lab", "down")
    assert done.err == "taken away: nano, pi4\n"
    assert left_of(place.lab) == []


def test_a_second_up_adds_boards_and_replaces_those_that_died(place: LabPlace) -> None:
    place.up("pi4")
    place.up("pi4")
    assert [(row["name"], row["state"]) for row in place.boards()] == [
        ("pi4", "running"),
        ("pi4-2", "running"),
    ]
    for pid in _processes_of(place, "pi4"):
        subprocess.run(["kill", "-9", pid], check=False)
    place.up("pi4")
    assert sorted((row["name"], row["state"]) for row in place.boards()) == [
        ("pi4", "running"),
        ("pi4-2", "running"),
    ]


def _processes_of(place: LabPlace, board: str) -> list[str]:
    from harness.lab.machine import cgroups

    group = cgroups.memory_hierarchy() / LabNames.of(place.lab).group / board
    return [str(pid) for pid in cgroups.processes(group)]
