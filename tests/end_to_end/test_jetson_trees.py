"""Jetsons that are folders, end to end: the real agent archive on Python 3.6 tells the whole board.

Each tree is probed and runs one job of the null runtime. What is compared is all there is to tell, so a lost
sensor shows.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from device_agents.protocol import DeviceFacts, Event, JobEnded, JobStarted, ProbeReply, TelemetrySample
from tests import interpreters
from tests.device_agents.board import LONG, QUICK, is_running, job, run, submit, wait_until
from tests.device_agents.board_trees import Tree, agent_python, stand_in

pytestmark = pytest.mark.e2e

PYTHON = "3.6"

A57 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
CARMEL = A57 + " atomics fphp asimdhp cpuid asimdrdm dcpop"
A78AE = A57 + " atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp uscat ilrcpc flagm paca pacg"
V3AE = A57 + (
    " atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit"
    " uscat ilrcpc flagm sb paca pacg dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint"
    " svei8mm svebf16 i8mm bf16 dgh bti"
)
ISA_CARMEL = "NEON, LSE atomics, fp16 arithmetic"
ISA_A78AE = ISA_CARMEL + ", int8 dot product"
ISA_V3AE = ISA_A78AE + ", int8 matrix multiply, bfloat16, SVE, SVE2"

UNREADABLE = ["memory clock (EMC): its file needs root", "GPU memory by process: its file needs root"]
JETPACK_4 = {"l4t_release": "32.7.1", "jetpack": "4.6.1", "cuda": "10.2.300", "tensorrt": "8.2.1-1+cuda10.2"}
JETPACK_6 = {"cuda": "12.6.68", "tensorrt": "10.3.0.30-1+cuda12.5", "soc": "tegra234"}
ORIN = {"soc": "tegra234", "gpu": "GA10B (Ampere, sm_87)", "isa": ISA_A78AE, "fan_mode": "quiet"}


def facts(
    board: str, number: int, os_kernel: str, memory_mib: int, swap_mib: int, mode: str, **others: Any
) -> dict[str, Any]:
    """What differs from board to board, the rest by name."""
    system, kernel = os_kernel.split(", ")
    return {
        "board": board,
        "boot_id": f"0000000{number}-1111-4222-8333-444444444444",
        "os": system,
        "kernel": kernel,
        "memory_bytes": memory_mib << 20,
        "swap_bytes": swap_mib << 20,
        "power_mode": mode,
        "machine": "aarch64",
        "governor": "schedutil",
        "virtualization": None,
        "family": "jetson",
        "unreadable": UNREADABLE,
        **others,
    }


FACTS: dict[str, dict[str, Any]] = {
    "nano": facts(
        "NVIDIA Jetson Nano Developer Kit", 1, "Ubuntu 18.04.6 LTS, 4.9.253-tegra", 3964, 1982, "MAXN (0)",
        cpu_model="Cortex-A57", cpu_count=4, cpu_max_mhz=1479.0, cpu_features=A57,
        compatible=["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210"],
        details={
            **JETPACK_4, "soc": "tegra210", "gpu": "GM20B (Maxwell, sm_53)", "fan_mode": "by temperature",
            "zram": "1982 MiB in 4 devices", "jetson_clocks": "not locked", "isa": "NEON",
        },
    ),
    "tx2": facts(
        "quill", 2, "Ubuntu 18.04.6 LTS, 4.9.253-tegra", 7859, 12122, "MAXN (0)",
        cpu_model="2x Denver 2 + 4x Cortex-A57", cpu_count=6, cpu_max_mhz=2035.2, cpu_features=A57,
        compatible=["nvidia,p2597-0000+p3310-1000", "nvidia,quill", "nvidia,tegra186"],
        details={
            **JETPACK_4, "soc": "tegra186", "gpu": "GP10B (Pascal, sm_62)", "fan_mode": "by temperature",
            "zram": "3930 MiB in 6 devices", "jetson_clocks": "not locked", "isa": "NEON",
        },
    ),
    "xavier-nx": facts(
        "NVIDIA Jetson Xavier NX Developer Kit", 3, "Ubuntu 20.04.6 LTS, 5.10.120-tegra", 6851, 3426,
        "MODE_15W_6CORE (2)",
        cpu_model="Carmel", cpu_count=6, cpu_max_mhz=1907.2, cpu_features=CARMEL,
        compatible=["nvidia,p3509-0000+p3668-0000", "nvidia,p3668-0000", "nvidia,tegra194"],
        details={
            "l4t_release": "35.4.1", "jetpack": "5.1.2", "cuda": "11.4.19", "tensorrt": "8.5.2-1+cuda11.4",
            "soc": "tegra194", "gpu": "GV11B (Volta, sm_72)", "fan_mode": "quiet",
            "zram": "3426 MiB in 6 devices", "jetson_clocks": "not locked", "isa": ISA_CARMEL,
        },
    ),
    "agx-xavier": facts(
        "Jetson-AGX", 4, "Ubuntu 18.04.6 LTS, 4.9.253-tegra", 15823, 7911, "MAXN (0)",
        cpu_model="Carmel", cpu_count=8, cpu_max_mhz=2265.6, cpu_features=CARMEL,
        compatible=[
            "nvidia,galen", "nvidia,jetson-xavier", "nvidia,p2822-0000+p2888-0001", "nvidia,tegra194",
        ],
        details={
            **JETPACK_4, "soc": "tegra194", "gpu": "GV11B (Volta, sm_72)", "fan_mode": "quiet",
            "zram": "7911 MiB in 8 devices", "jetson_clocks": "not locked", "isa": ISA_CARMEL,
        },
    ),
    "orin-nano": facts(
        "NVIDIA Jetson Orin Nano Developer Kit", 5, "Ubuntu 22.04.5 LTS, 5.15.148-tegra",
        7620, 16384, "15W (0)",
        cpu_model="Cortex-A78AE", cpu_count=6, cpu_max_mhz=1510.4, cpu_features=A78AE,
        compatible=["nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"],
        details={
            **JETPACK_6, **ORIN, "l4t_release": "36.4.0", "jetpack": "6.1",
            "zram": "3810 MiB in 6 devices", "jetson_clocks": "not locked",
        },
    ),
    "orin-nano-super": facts(
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", 6,
        "Ubuntu 22.04.5 LTS, 5.15.148-tegra", 7620, 3810, "15W (0)",
        cpu_model="Cortex-A78AE", cpu_count=6, cpu_max_mhz=1728.0, cpu_features=A78AE,
        compatible=["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"],
        details={
            **JETPACK_6, **ORIN, "l4t_release": "36.4.3", "jetpack": "6.2",
            "zram": "3810 MiB in 6 devices", "jetson_clocks": "not locked",
        },
    ),
    "orin-nx": facts(
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 7, "Ubuntu 22.04.5 LTS, 5.15.148-tegra",
        15656, 24212, "MAXN (0)",
        cpu_model="Cortex-A78AE", cpu_count=8, cpu_max_mhz=1984.0, cpu_features=A78AE,
        compatible=["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"],
        details={
            **JETPACK_6, **ORIN, "l4t_release": "36.4.4", "jetpack": "6.2.1",
            "zram": "7828 MiB in 8 devices", "jetson_clocks": "not locked",
        },
    ),
    "agx-orin": facts(
        "NVIDIA Jetson AGX Orin Developer Kit", 8, "Ubuntu 24.04.3 LTS, 6.8.12-tegra", 62817, 0, "MAXN (0)",
        cpu_model="Cortex-A78AE", cpu_count=12, cpu_max_mhz=2201.6, cpu_features=A78AE,
        compatible=["nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234"],
        governor="performance",
        details={
            **ORIN, "l4t_release": "39.2.0", "jetpack": "7.2", "cuda": "13.2.75",
            "tensorrt": "10.16.2.10-1+cuda13.2", "jetson_clocks": "locked",
        },
    ),
    "thor": facts(
        "NVIDIA Jetson AGX Thor Developer Kit", 9, "Ubuntu 24.04.3 LTS, 6.8.12-tegra", 125772, 0, "120W (1)",
        cpu_model="Neoverse-V3AE", cpu_count=14, cpu_max_mhz=2601.0, cpu_features=V3AE,
        compatible=["nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"],
        unreadable=[],
        details={
            "l4t_release": "38.4.0", "jetpack": "7.1", "cuda": "13.0.48", "tensorrt": "10.13.3.9-1+cuda13.0",
            "soc": "tegra264", "gpu": "GB10B (Blackwell, sm_110)", "fan_mode": "quiet",
            "jetson_clocks": "not locked", "isa": ISA_V3AE,
        },
    ),
}  # fmt: skip

#: After a repetition, when tegrastats has long said something.
SENSORS: dict[str, dict[str, Any]] = {
    "nano": {
        "temperature_c": 27.0, "gpu_temperature_c": 22.5, "memory_available_bytes": 3432 << 20,
        "cpu_mhz": 102.0, "cpu_mhz_limit": 1479.0, "gpu_mhz": 76.8, "gpu_load": 0.0,
        "power_w": 0.933, "power_rail": "POM_5V_IN",
        "rails_w": {"POM_5V_IN": 0.933, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.084},
    },
    "tx2": {
        "temperature_c": 42.5, "gpu_temperature_c": 39.5, "memory_available_bytes": 4583 << 20,
        "cpu_mhz": 2034.0, "cpu_mhz_limit": 2035.2, "gpu_mhz": 114.75, "gpu_load": 0.0, "memory_mhz": 1866.0,
        "power_w": 5.297, "power_rail": "VDD_IN", "fan_rpm": 2310.0,
        "rails_w": {
            "VDD_SYS_GPU": 0.182, "VDD_SYS_SOC": 0.73, "VDD_4V0_WIFI": 0.0, "VDD_IN": 5.297,
            "VDD_SYS_CPU": 1.917, "VDD_SYS_DDR": 1.241,
        },
    },
    "xavier-nx": {
        "temperature_c": 46.5, "gpu_temperature_c": 45.5, "memory_available_bytes": 3391 << 20,
        "cpu_mhz": 1397.0, "cpu_mhz_limit": 1420.8, "gpu_mhz": 114.75, "gpu_load": 0.0, "memory_mhz": 204.0,
        "power_w": 2.765, "power_rail": "VDD_IN", "fan_rpm": 2410.0,
        "rails_w": {"VDD_IN": 2.765, "VDD_CPU_GPU_CV": 0.65, "VDD_SOC": 0.65},
    },
    "agx-xavier": {
        "temperature_c": 31.25, "gpu_temperature_c": 28.0, "memory_available_bytes": 15100 << 20,
        "cpu_mhz": 2265.6, "cpu_mhz_limit": 2265.6, "gpu_mhz": 318.75, "gpu_load": 0.0,
        "power_w": 6.928, "power_rail": "GPU + CPU + SOC + CV + VDDRQ + SYS5V", "fan_rpm": 1650.0,
        "rails_w": {"GPU": 1.155, "CPU": 0.385, "SOC": 2.504, "CV": 0.0, "VDDRQ": 0.192, "SYS5V": 2.692},
    },
    "orin-nano": {
        "temperature_c": 50.25, "gpu_temperature_c": 49.031, "memory_available_bytes": 4168 << 20,
        "cpu_mhz": 1420.8, "cpu_mhz_limit": 1510.4, "gpu_mhz": 306.0, "gpu_load": 0.0, "throttle_count": 0,
        "power_w": 4.824, "power_rail": "VDD_IN", "fan_rpm": 1785.0,
        "rails_w": {"VDD_IN": 4.824, "VDD_CPU_GPU_CV": 0.5184, "VDD_SOC": 1.4736},
    },
    "orin-nano-super": {
        "temperature_c": 53.968, "gpu_temperature_c": 53.343, "memory_available_bytes": 1435 << 20,
        "cpu_mhz": 729.6, "cpu_mhz_limit": 1497.6, "gpu_mhz": 612.0, "gpu_load": 0.631, "memory_mhz": 2133.0,
        "throttle_count": 39, "power_w": 12.48, "power_rail": "VDD_IN", "fan_rpm": 3120.0,
        "rails_w": {"VDD_IN": 12.48, "VDD_CPU_GPU_CV": 4.6656, "VDD_SOC": 2.8176},
    },
    "orin-nx": {
        "temperature_c": 52.375, "gpu_temperature_c": 50.0, "memory_available_bytes": 11715 << 20,
        "cpu_mhz": 1984.0, "cpu_mhz_limit": 1984.0, "gpu_mhz": 306.0, "gpu_load": 0.0, "throttle_count": 0,
        "power_w": 7.9576, "power_rail": "VDD_IN", "fan_rpm": 2140.0,
        "rails_w": {"VDD_IN": 7.9576, "VDD_CPU_GPU_CV": 2.3618, "VDD_SOC": 2.5039},
    },
    "agx-orin": {
        "temperature_c": 52.968, "gpu_temperature_c": 47.625, "memory_available_bytes": 42175 << 20,
        "cpu_mhz": 2201.6, "cpu_mhz_limit": 2201.6, "gpu_mhz": 1300.5, "gpu_load": 0.124,
        "memory_mhz": 3199.0, "throttle_count": 0, "governor": "performance", "fan_rpm": 1900.0,
        "power_w": 13.9, "power_rail": "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0",
        "rails_w": {"VDD_GPU_SOC": 5.14, "VDD_CPU_CV": 3.26, "VIN_SYS_5V0": 5.5, "VDDQ_VDD2_1V8AO": 0.6},
    },
    "thor": {
        "temperature_c": 38.875, "gpu_temperature_c": 38.875, "memory_available_bytes": 20507 << 20,
        "cpu_mhz": 972.0, "cpu_mhz_limit": 2601.0, "gpu_mhz": 314.0, "gpu_load": 0.37, "memory_mhz": 2750.0,
        "throttle_count": 0, "power_w": 19.78, "power_rail": "VIN", "fan_rpm": 1773.0,
        "rails_w": {
            "VDD_GPU": 1.96252, "VDD_CPU_SOC_MSS": 5.88756, "VIN_SYS_5V0": 5.632416, "VIN": 19.78,
        },
    },
}  # fmt: skip
#: Of this machine, which a tree cannot fake, or of the moment a sample was taken.
OF_THE_MOMENT = {"time", "phase", "monotonic_s", "load_1m"}


@pytest.fixture(scope="session")
def python() -> str:
    """The oldest Python the agent has to run on, and that of JetPack 4."""
    found = agent_python(PYTHON)
    if found is None:
        pytest.skip(interpreters.missing(PYTHON))
    return found


class Told:
    """What a board told: to a probe, and by the events of a job."""

    def __init__(self, tree: Tree, python: str) -> None:
        session = tree.session(python)
        self.tree = tree
        self.reply: ProbeReply = session.open(("null",))
        self.events: list[Event] = run(session, job())

    def state(self, phase: str) -> dict[str, Any]:
        """The one sample of a phase, without what is absent."""
        (sample,) = (e for e in self.events if isinstance(e, TelemetrySample) and e.phase == phase)
        return {
            name: value
            for name, value in sample._asdict().items()
            if name not in OF_THE_MOMENT and value not in (None, {})
        }


@pytest.fixture(scope="module")
def told(python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """Every Jetson probed, and the events of a job on it."""
    return {name: Told(stand_in(f"jetson-{name}", tmp_path_factory.mktemp(name)), python) for name in FACTS}


def tegrastats_of(tree: Tree) -> int:
    return int(tree.read("/stand-in/tegrastats.pid"))


@pytest.mark.parametrize("name", FACTS)
def test_a_jetson_tells_all_its_facts(name: str, told: dict[str, Told]) -> None:
    found = told[name].reply.facts
    assert found == DeviceFacts(hostname=name, python=found.python, **FACTS[name])
    assert found.python.startswith(PYTHON)


@pytest.mark.parametrize("name", FACTS)
def test_a_jetson_tells_all_its_sensors(name: str, told: dict[str, Told]) -> None:
    of_all = {"governor": "schedutil", "throttled": False, "swapped_pages": 28}
    mode = FACTS[name]["power_mode"]
    assert told[name].state("after") == {**of_all, "power_mode": mode, **SENSORS[name]}


@pytest.mark.parametrize("name", FACTS)
def test_the_job_goes_well_and_tells_the_same_board(name: str, told: dict[str, Told]) -> None:
    events = told[name].events
    assert isinstance(events[0], JobStarted)
    assert events[0].facts == told[name].reply.facts
    assert isinstance(events[-1], JobEnded)
    assert events[-1].outcome == "ok"


@pytest.mark.parametrize("name", FACTS)
def test_tegrastats_ends_with_the_job(name: str, told: dict[str, Told]) -> None:
    assert not is_running(tegrastats_of(told[name].tree))


def test_while_something_runs_no_command_is_started_and_tegrastats_tells_the_rest(
    python: str, tmp_path: Path
) -> None:
    tree = stand_in("jetson-thor", tmp_path)
    tree.write("/usr/bin/nvidia-smi", f"#!/bin/sh\necho asked >> {tree.root}/stand-in/asked\nexit 1\n")
    tree.remove("/sys/class/devfreq/bwmgr")
    longer = QUICK._replace(min_time_s=1.1, max_time_s=1.1, max_iterations=10_000_000)
    events = tree.run_job(python, measurement=longer)
    running = next(e for e in events if isinstance(e, TelemetrySample) and e.phase == "running")
    assert (running.memory_mhz, running.gpu_mhz, running.power_w) == (2750.0, 314.0, 19.78)
    assert (running.gpu_load, running.power_mode) == (None, None)
    # Once before the repetition, once after it.
    assert tree.read("/stand-in/asked") == "asked\nasked"


def test_tegrastats_does_not_outlive_a_supervisor_that_is_killed(python: str, tmp_path: Path) -> None:
    tree = stand_in("jetson-nano", tmp_path)
    session = tree.session(python)
    session.open(("null",))
    submit(session, job(measurement=LONG))
    assert wait_until(tree.path("/stand-in/tegrastats.pid").exists)
    supervisor = int((Path(tree.workspace.job("job-1")) / "supervisor.lock").read_text())
    assert wait_until(lambda: is_running(tegrastats_of(tree)))
    os.kill(supervisor, signal.SIGKILL)
    assert wait_until(lambda: not is_running(tegrastats_of(tree)), 5.0)
