"""A Jetson's facts and state: files first, tegrastats where they are silent, and what nobody may read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_agents.boards.board import BoardSample
from device_agents.boards.host import host_at
from device_agents.boards.jetson import Jetson
from device_agents.boards.jetson_gpu import nvmap_bytes, nvmap_clients
from device_agents.boards.tegrastats import TegraStatsProcess, parse
from tests.device_agents.board_trees import Tree, stand_in

CAPTURES = Path(__file__).parents[2] / "captures"


def captured(name: str) -> Jetson:
    """A board of tests/captures as it lies there: without commands, and not to be written to."""
    return Jetson(host_at(str(CAPTURES / f"jetson-{name}")))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty board that a test fills."""
    made = Tree("jetson-made-up", tmp_path)
    made.write("/proc/device-tree/compatible", b"nvidia,p0-0\0nvidia,tegra234\0")
    return made


def jetson(tree: Tree) -> Jetson:
    return Jetson(tree.host)


def state(tree: Tree) -> BoardSample:
    return jetson(tree).sample(thorough=False)


def zone(tree: Tree, number: int, kind: str, millidegrees: int | None) -> None:
    tree.write(f"/sys/class/thermal/thermal_zone{number}/type", kind)
    if millidegrees is not None:
        tree.write(f"/sys/class/thermal/thermal_zone{number}/temp", f"{millidegrees}\n")


@pytest.fixture
def tegrastats_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Call it with what its newest line is to be."""
    return lambda line: monkeypatch.setattr(TegraStatsProcess, "newest", lambda _self: parse(line + "\n"))


# --- temperatures ---------------------------------------------------------------------------------


def test_the_hottest_zone_that_is_the_boards_own_counts(tree: Tree) -> None:
    zone(tree, 0, "PMIC-Die", 100000)
    zone(tree, 1, "thermal-fan-est", 90000)
    zone(tree, 2, "iwlwifi_1", 80000)
    zone(tree, 3, "CPU-therm", 41500)
    zone(tree, 4, "AO-therm", 39000)
    assert state(tree).temperature_c == 41.5


def test_a_gated_units_zone_is_absent(tree: Tree) -> None:
    zone(tree, 0, "gpu-thermal", None)
    zone(tree, 1, "cv0-thermal", -256000)
    zone(tree, 2, "tj-thermal", 40250)
    assert (state(tree).temperature_c, state(tree).gpu_temperature_c) == (40.25, None)


@pytest.mark.parametrize("kind", ["GPU-therm", "gpu-thermal"])
def test_the_gpu_has_a_zone_of_its_own(tree: Tree, kind: str) -> None:
    zone(tree, 0, "cpu-thermal", 60000)
    zone(tree, 1, kind, 51250)
    assert state(tree).gpu_temperature_c == 51.25


def test_tegrastats_knows_temperatures_that_no_zone_tells(
    tree: Tree, tegrastats_says: Callable[[str], None]
) -> None:
    tegrastats_says("PMIC@100C thermal@99C GPU@44.5C CPU@45C CV0@-256C")
    assert (state(tree).temperature_c, state(tree).gpu_temperature_c) == (45.0, 44.5)


# --- files before tegrastats ----------------------------------------------------------------------


def test_what_files_tell_is_not_asked_of_tegrastats(tegrastats_says: Callable[[str], None]) -> None:
    tegrastats_says(
        "CPU [1%@999] EMC_FREQ 5%@777 GR3D_FREQ 99%@[888] CPU@77C GPU@78C POM_5V_IN 5555/5555 VDD_EXTRA 12/12"
    )
    found = captured("nano").sample(thorough=False)
    assert (found.cpu_mhz, found.gpu_mhz, found.gpu_load) == (102.0, 76.8, 0.0)
    assert (found.temperature_c, found.gpu_temperature_c) == (27.0, 22.5)
    assert (found.power_w, found.rails_w["VDD_EXTRA"], found.memory_mhz) == (0.933, 0.012, 777.0)


def test_without_files_tegrastats_tells_it_all(tree: Tree, tegrastats_says: Callable[[str], None]) -> None:
    tegrastats_says(
        "CPU [1%@729,off,2%@1190] EMC_FREQ 5%@2133 GR3D_FREQ 12%@[1300,1200] "
        "VDD_GPU_SOC 2390mW/1mW VDD_CPU_CV 796mW/1mW VIN_SYS_5V0 3522mW/1mW NC 7mW/7mW NC 8mW/8mW"
    )
    found = state(tree)
    assert (found.cpu_mhz, found.gpu_mhz, found.gpu_load, found.memory_mhz) == (1190.0, 1300.0, 0.12, 2133.0)
    assert found.rails_w == {"VDD_GPU_SOC": 2.39, "VDD_CPU_CV": 0.796, "VIN_SYS_5V0": 3.522}
    assert (found.power_w, found.power_rail) == (6.708, "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0")


@pytest.mark.parametrize(
    "path",
    [
        "/sys/kernel/debug/bpmp/debug/clk/emc/rate",
        "/sys/kernel/debug/clk/override.emc/clk_rate",
        "/sys/class/devfreq/bwmgr/cur_freq",
    ],
)
def test_the_memory_clock_by_the_file_of_each_generation(tree: Tree, path: str) -> None:
    tree.write(path, "3199000000\n")
    assert state(tree).memory_mhz == 3199.0


@pytest.mark.parametrize(
    "path",
    [
        "/sys/devices/gpu.0/load",
        "/sys/devices/platform/gpu.0/load",
        "/sys/devices/platform/17000000.gpu/load",
        "/sys/devices/platform/host1x/57000000.gpu/load",
        "/sys/devices/17000000.gp10b/load",
    ],
)
def test_gpu_load_in_tenths_of_a_percent_wherever_the_kernel_has_it(tree: Tree, path: str) -> None:
    tree.write(path, "437\n")
    assert state(tree).gpu_load == 0.437


@pytest.mark.parametrize("text", ["1001", "-1", "busy", ""])
def test_a_load_that_cannot_be_is_none(tree: Tree, text: str) -> None:
    tree.write("/sys/devices/gpu.0/load", text)
    assert state(tree).gpu_load is None


@pytest.mark.parametrize(
    "name",
    ["57000000.gpu", "17000000.gp10b", "17000000.gv11b", "17000000.ga10b", "17000000.gpu", "gpu-gpc-0"],
)
def test_the_gpus_clock_among_other_devices(tree: Tree, name: str) -> None:
    for other in ("15340000.vic", "bwmgr", "gpu-nvd-0"):
        tree.write(f"/sys/class/devfreq/{other}/cur_freq", "1")
    tree.write(f"/sys/class/devfreq/{name}/cur_freq", "918000000\n")
    assert state(tree).gpu_mhz == 918.0


def test_a_gpu_under_another_name_is_known_by_its_node(tree: Tree) -> None:
    tree.write("/sys/class/devfreq/soc-17/cur_freq", "1")
    tree.write("/sys/class/devfreq/soc-18/cur_freq", "510000000")
    tree.write("/sys/class/devfreq/soc-18/device/of_node/name", b"gv11b\0")
    tree.write("/sys/class/devfreq/soc-18/device/load", "250")
    assert (state(tree).gpu_mhz, state(tree).gpu_load) == (510.0, 0.25)


# --- throttling and fan ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "throttled"),
    [
        ("cpu-throttle-alert", True),
        ("bcpu-throttle-alert", True),
        ("cpufreq-cpu4", True),
        ("devfreq-17000000.gpu", True),
        ("gpu-balanced", True),
        ("pwm-fan", None),
        ("hot-surface-alert", None),
    ],
)
def test_an_active_cooling_device_means_throttled_unless_it_is_harmless(
    tree: Tree, kind: str, throttled: bool | None
) -> None:
    tree.write("/sys/class/thermal/cooling_device0/type", kind)
    tree.write("/sys/class/thermal/cooling_device0/cur_state", "1")
    assert state(tree).throttled is throttled


def test_idle_cooling_devices_mean_not_throttled() -> None:
    assert captured("orin-nx").sample(thorough=False).throttled is False


def test_over_currents_are_counted_where_they_throttle(tree: Tree) -> None:
    monitor = "/sys/class/hwmon/hwmon3/"
    for name, text in {
        "name": "soctherm_oc",
        "oc1_event_cnt": "1",
        "oc1_throt_en": "1",
        "oc2_event_cnt": "500",
        "oc2_throt_en": "0",
        "oc3_event_cnt": "37",
    }.items():
        tree.write(monitor + name, text)
    assert state(tree).throttle_count == 38


def test_boards_without_over_current_counters_have_no_count() -> None:
    assert captured("nano").sample(thorough=False).throttle_count is None


def test_a_fan_of_jetpack_4_is_only_told_while_its_turns_are_counted(tree: Tree) -> None:
    tree.write("/sys/devices/pwm-fan/rpm_measured", "2310")
    tree.write("/sys/devices/pwm-fan/tach_enable", "0")
    assert state(tree).fan_rpm is None
    tree.write("/sys/devices/pwm-fan/tach_enable", "1")
    assert state(tree).fan_rpm == 2310.0


# --- facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        ({"/var/lib/nvpmodel/status": "pmode:0002 fmode:fan_mode_quiet"}, "quiet"),
        ({"/var/lib/nvpmodel/status": "pmode:0002 fmode:cool"}, "cool"),
        ({"/etc/nvfancontrol.conf": "# FAN_DEFAULT_PROFILE no\n\tFAN_DEFAULT_PROFILE cool\n"}, "cool"),
        ({"/sys/devices/pwm-fan/temp_control": "1"}, "by temperature"),
        (
            {"/sys/devices/pwm-fan/temp_control": "0", "/sys/devices/pwm-fan/target_pwm": "255"},
            "fixed at PWM 255 of 255",
        ),
        ({}, None),
    ],
)
def test_the_fans_mode(tree: Tree, files: dict[str, str], mode: str | None) -> None:
    for path, text in files.items():
        tree.write(path, text)
    assert jetson(tree).facts().details.get("fan_mode") == mode


@pytest.mark.parametrize(
    ("cpu", "gpu", "said"),
    [
        ((1500, 1500), (900, 900), "locked"),
        ((1500, 1500), (300, 900), "CPU locked"),
        ((100, 1500), (900, 900), "GPU locked"),
        ((100, 1500), (300, 900), "not locked"),
        ((1500, 1500), None, "locked"),
        (None, None, None),
    ],
)
def test_jetson_clocks_is_known_by_what_it_does(
    tree: Tree, cpu: tuple[int, int] | None, gpu: tuple[int, int] | None, said: str | None
) -> None:
    folders: list[tuple[str, Any]] = [
        ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_{}_freq", cpu),
        ("/sys/class/devfreq/17000000.gpu/{}_freq", gpu),
    ]
    for pattern, limits in folders:
        for name, limit in zip(("min", "max"), limits or (), strict=False):
            tree.write(pattern.format(name), str(limit))
    assert jetson(tree).facts().details.get("jetson_clocks") == said


def test_one_core_that_may_still_slow_down_is_not_locked(tree: Tree) -> None:
    for core, lowest in ((0, 1500), (1, 1500), (2, 100)):
        tree.write(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_min_freq", str(lowest))
        tree.write(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_max_freq", "1500")
    assert jetson(tree).facts().details["jetson_clocks"] == "not locked"


def test_a_board_that_shows_nothing_says_what_it_could_not_read(tree: Tree) -> None:
    assert jetson(tree).facts().unreadable == [
        "memory clock (EMC): its file needs root",
        "GPU memory by process: its file needs root",
        "power rails: no INA monitor in /sys",
        "GPU load: no load file in /sys",
        "tegrastats: not on this board",
    ]
    assert state(tree)._replace(load_1m=None, memory_available_bytes=None) == BoardSample()


def test_thor_without_nvidia_smi_says_so(tree: Tree) -> None:
    tree.write("/proc/device-tree/compatible", b"nvidia,p0-0\0nvidia,tegra264\0")
    tree.write("/sys/class/devfreq/gpu-gpc-0/cur_freq", "1")
    assert "GPU memory by process: no nvidia-smi" in jetson(tree).facts().unreadable


def test_the_power_mode_is_sampled_outside_of_repetitions_only() -> None:
    board = captured("xavier-nx")
    assert board.sample(thorough=True).power_mode == "MODE_15W_6CORE (2)"
    assert board.sample(thorough=False).power_mode is None


# --- GPU memory -----------------------------------------------------------------------------------

_CLIENTS = "/sys/kernel/debug/nvmap/iovmm/clients"
_TABLE = """CLIENT                        PROCESS      PID        SIZE
user                             Xorg     4321      10240K
user                  my prog::worker     1234     524288K
user                  my prog::worker     1234          2M
user                          python3     9999       1024
total                                              534528K
"""


def test_nvmap_counts_what_a_process_holds(tree: Tree) -> None:
    tree.write(_CLIENTS, _TABLE)
    assert nvmap_bytes(tree.host, 1234) == (524288 << 10) + (2 << 20)
    assert nvmap_bytes(tree.host, 4321) == 10240 << 10
    assert nvmap_bytes(tree.host, 9999) == 1024
    assert tree.board.gpu_bytes(4321) == 10240 << 10


def test_a_process_nvmap_does_not_name_has_no_number(tree: Tree) -> None:
    tree.write(_CLIENTS, _TABLE)
    assert nvmap_bytes(tree.host, 77) is None


def test_nvmap_is_none_for_an_ordinary_user(tree: Tree) -> None:
    assert nvmap_bytes(tree.host, 1234) is None


@pytest.mark.parametrize(
    "text", ["", "user python3 1234", "user python3 1234 K", "user python3 x 1K", "user p 1 9999999999999K"]
)
def test_odd_lines_of_nvmap_are_passed_over(text: str) -> None:
    assert nvmap_clients(text) == {}


@pytest.mark.processes
def test_sudo_may_open_nvmap(tree: Tree) -> None:
    tree.write("/secret/clients", _TABLE)
    scripts = {"sudo": f'[ "$*" = "-n /usr/bin/cat {_CLIENTS}" ] && exec cat {tree.path("/secret/clients")}'}
    for name, script in {**scripts, "cat": "exit 1"}.items():
        tree.write(f"/usr/bin/{name}", f"#!/bin/sh\n{script}\n")
        tree.path(f"/usr/bin/{name}").chmod(0o755)
    assert nvmap_bytes(tree.host, 4321) == 10240 << 10
    assert "GPU memory by process: its file needs root" not in jetson(tree).facts().unreadable


@pytest.mark.processes
def test_thor_asks_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = stand_in("jetson-thor", tmp_path)
    monkeypatch.setenv("EDGEBENCH_BOARD_ROOT", str(tree.root))
    assert nvmap_bytes(tree.host, 4321) == 512 << 20
    assert nvmap_bytes(tree.host, 1234) is None
    assert jetson(tree).sample(thorough=True).gpu_load == 0.37
    assert jetson(tree).sample(thorough=False).gpu_load is None
    tree.write("/stand-in/nvidia-smi/query-gpu", "NVIDIA Thor, [N/A]\n")
    assert jetson(tree).sample(thorough=True).gpu_load is None
