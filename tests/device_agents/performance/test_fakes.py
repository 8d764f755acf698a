"""The stand-in commands do what the real ones are known to do, and the two kinds of them do the same."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from device_agents.boards.commands import Commands, Finished
from tests.device_agents.performance import boards
from tests.device_agents.performance.boards import EMC, GPU, POLICIES, STATUS, STORE
from tests.device_agents.performance.fake_root import fake_host
from tests.device_agents.stand_in_commands import FAMILIES, lay_commands

pytestmark = pytest.mark.processes

#: What root is asked, and whether it works.
STEPS = [
    (("jetson_clocks", "--store", STORE), True),
    (("nvpmodel", "-m", "0"), True),
    (("jetson_clocks",), True),
    (("jetson_clocks", "--store", STORE), False),  # the file is there
    (("jetson_clocks", "--restore", STORE), True),
    (("nvpmodel", "-m", "1"), True),
    (("jetson_clocks", "--restore", STORE), True),
    (("rm", "-f", STORE), True),
]


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = boards.jetson(tmp_path)
    monkeypatch.setenv("EDGEBENCH_BOARD_ROOT", str(root))
    return root


def as_root(root: Path, *words: str, stdin: str | None = None) -> Finished:
    return Commands(str(root)).run_as_root(*words, stdin=stdin)


def test_the_commands_of_the_shell_and_those_of_the_kill_points_leave_the_same_board(
    jetson: Path, tmp_path: Path
) -> None:
    other = boards.jetson(tmp_path / "other")
    fake = fake_host(other, tmp_path).commands
    for words, works in STEPS:
        assert (as_root(jetson, *words).status == 0) is works
        assert (fake.run_as_root(*words).status == 0) is works
        assert boards.snapshot(jetson) == boards.snapshot(other), words


def test_nvpmodel_sets_what_its_configuration_says_and_remembers_it(jetson: Path) -> None:
    assert as_root(jetson, "nvpmodel", "-m", "0").status == 0
    assert boards.read(jetson, STATUS) == "pmode:0000 fmode:fan_mode_quiet"
    assert boards.read(jetson, f"{POLICIES}/policy0/scaling_max_freq") == "2035200"
    assert boards.read(jetson, f"{POLICIES}/policy0/scaling_min_freq") == "345600"
    assert boards.read(jetson, f"{GPU}/max_freq") == "1300500000"
    assert boards.read(jetson, "/sys/devices/system/cpu/cpu3/online") == "1"
    assert Commands(str(jetson)).run("nvpmodel", "-q").stdout == "NV Power Mode: MAXN\n0\n"


def test_nvpmodel_asks_before_a_mode_that_needs_a_reboot_and_takes_silence_for_no(jetson: Path) -> None:
    before = boards.snapshot(jetson)
    said = as_root(jetson, "nvpmodel", "-m", "2")
    assert said.status != 0
    assert "Reboot required for changing to this power mode: 2" in said.stdout
    assert boards.snapshot(jetson) == before


def test_nvpmodel_may_also_say_nothing_at_all_of_it(jetson: Path) -> None:
    boards.write(jetson, "/stand-in/nvpmodel-silent", "")
    before = boards.snapshot(jetson)
    assert as_root(jetson, "nvpmodel", "-m", "2") == Finished(0, "", "")
    assert boards.snapshot(jetson) == before


def test_nvpmodel_refuses_modes_it_does_not_have(jetson: Path) -> None:
    assert as_root(jetson, "nvpmodel", "-m", "7").reason == "NVPM ERROR: request for bad power mode 7"


@pytest.mark.parametrize(
    "words", [("nvpmodel", "-m", "0"), ("jetson_clocks", "--store", STORE), ("jetson_clocks",)]
)
def test_an_ordinary_user_changes_nothing(jetson: Path, words: tuple[str, ...]) -> None:
    before = boards.snapshot(jetson)
    assert Commands(str(jetson)).run(*words).status != 0
    assert boards.snapshot(jetson) == before


def test_jetson_clocks_locks_and_unlocks(jetson: Path) -> None:
    before = boards.snapshot(jetson)
    as_root(jetson, "jetson_clocks", "--store", STORE)
    as_root(jetson, "jetson_clocks")
    assert boards.read(jetson, f"{POLICIES}/policy0/scaling_min_freq") == "1113600"
    assert boards.read(jetson, f"{GPU}/min_freq") == "854000000"
    assert boards.read(jetson, f"{EMC}/mrq_rate_locked") == "1"
    as_root(jetson, "jetson_clocks", "--restore", STORE)
    as_root(jetson, "rm", "-f", STORE)
    assert boards.snapshot(jetson) == before


def test_jetson_clocks_asks_before_it_overwrites_and_cannot_restore_from_nothing(jetson: Path) -> None:
    assert as_root(jetson, "jetson_clocks", "--restore", STORE).reason == f"Error: {STORE} file not found !"
    as_root(jetson, "jetson_clocks", "--store", STORE)
    assert as_root(jetson, "jetson_clocks", "--store", STORE).reason.endswith("Can I overwrite it? Y/N:")


def test_sudo_allows_what_its_file_says_and_would_ask_for_the_rest(jetson: Path) -> None:
    boards.write(jetson, "/stand-in/sudoers", "/usr/sbin/nvpmodel -m [0-9]")
    assert as_root(jetson, "nvpmodel", "-m", "0").status == 0
    assert as_root(jetson, "jetson_clocks").reason == "sudo: a password is required"
    boards.write(jetson, "/stand-in/sudo-refuses", "")
    assert as_root(jetson, "nvpmodel", "-m", "1").reason == "sudo: a password is required"


def test_a_governor_the_kernel_does_not_have_is_an_invalid_argument(jetson: Path) -> None:
    path = f"{POLICIES}/policy0/scaling_governor"
    assert as_root(jetson, "tee", path, stdin="turbo").reason == f"tee: {path}: Invalid argument"
    assert as_root(jetson, "tee", path, stdin="ondemand").status == 0
    assert boards.read(jetson, path) == "ondemand"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_scripts_need_nothing_but_a_posix_shell(family: str, tmp_path: Path) -> None:
    lay_commands(family, tmp_path)
    for script in sorted(tmp_path.rglob("usr/*bin/*")):
        if script.name in ("sudo", "tee", "rm", "nvpmodel", "jetson_clocks", "stand-in-sysfs"):
            assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
            assert os.access(script, os.X_OK) == (script.name != "stand-in-sysfs")
