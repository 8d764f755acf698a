"""The files that make a root a certain board."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from harness.lab.boards import board_files
from harness.lab.boards.kinds import kinds


def test_sshd_hands_qemus_processor_to_every_session() -> None:
    assert "\nSetEnv QEMU_CPU=cortex-a72\n" in board_files.sshd_config("cortex-a72")
    assert "QEMU_CPU" not in board_files.sshd_config(None)


def test_sshd_hands_on_values_with_blanks_whole() -> None:
    lines = board_files.sshd_config(None, {"STANDIN_GPU_NAME": "NVIDIA Tegra X1", "A": "1"}).splitlines()
    assert 'SetEnv "STANDIN_GPU_NAME=NVIDIA Tegra X1" A=1' in lines


def test_only_a_key_opens_a_board() -> None:
    lines = board_files.sshd_config(None).splitlines()
    assert {"PasswordAuthentication no", "KbdInteractiveAuthentication no", "AllowUsers bench"} <= set(lines)


def test_the_device_tree_is_laid_out_as_the_kernel_does() -> None:
    files = board_files.stand_ins(kinds()["pi4"])
    assert files["firmware/devicetree/base/model"] == "Raspberry Pi 4 Model B Rev 1.4\0"
    assert files["firmware/devicetree/base/compatible"] == "raspberrypi,4-model-b\0brcm,bcm2711\0"


def test_a_board_reads_its_own_memory_and_temperature() -> None:
    files = board_files.stand_ins(kinds()["pi3"])
    assert files["meminfo"].splitlines()[0] == "MemTotal:         927848 kB"
    assert files["thermal/thermal_zone0/temp"] == "47236\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads this machine's cores in /sys")
def test_a_raspberry_pi_has_one_policy_of_clocks_that_every_core_links_to(tmp_path: Path) -> None:
    board_files.write_tree(tmp_path, board_files.stand_ins(kinds()["pi5"]))
    board_files.link_cores(tmp_path / "cpu")
    cores = sorted(tmp_path.glob("cpu/cpu[0-9]*"))
    assert {(core / "cpufreq/scaling_max_freq").read_text() for core in cores} == {"2400000\n"}
    assert len(cores) == os.cpu_count()


def test_every_core_of_a_board_names_its_processor() -> None:
    text = board_files.stand_ins(kinds()["pi5"])["cpuinfo"]
    assert text.count("CPU part       \t: 0xd0b\n") == text.count("processor ") == os.cpu_count()


def test_all_else_of_a_jetson_comes_from_its_own_tree() -> None:
    assert set(board_files.stand_ins(kinds()["nano"])) == {"meminfo", "boot_id"}


def test_every_start_is_another_boot() -> None:
    pi4 = kinds()["pi4"]
    assert board_files.stand_ins(pi4)["boot_id"] != board_files.stand_ins(pi4)["boot_id"]


def test_a_board_says_that_it_is_virtual() -> None:
    assert board_files.system_files("pi4-2", kinds()["pi4"])["etc/edgebench-virtual-board"] == "pi4\n"


def test_all_can_read_the_files_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        board_files.write_tree(tmp_path, {"etc/ssh/sshd_config": "Port 22\n"})
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("etc", "etc/ssh", "etc/ssh/sshd_config")
    ]
    assert modes == [0o755, 0o755, 0o644]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders to their owners")
def test_an_interpreter_in_a_closed_home_can_be_walked_to(tmp_path: Path) -> None:
    home, files = tmp_path / "home", tmp_path / "files"
    (home / "bin").mkdir(parents=True)
    home.chmod(0o700)
    files.mkdir()
    board_files.open_the_way(files, home / "bin/python3.6")
    copied = files / home.relative_to("/")
    assert stat.S_IMODE(copied.stat().st_mode) == 0o701
