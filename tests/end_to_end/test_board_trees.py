"""Boards that are folders, end to end: the real agent archive on Python 3.6 tells the whole board.

Each tree is probed and runs one job. What is compared is all there is to tell, so a lost sensor shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from device_agents.boards.raspberry_pi import POWER_RAIL
from device_agents.protocol import DeviceFacts, Event, JobEnded, JobStarted, ProbeReply, TelemetrySample
from tests import interpreters
from tests.device_agents.board import QUICK
from tests.device_agents.board_trees import agent_python, stand_in

pytestmark = pytest.mark.e2e

PYTHON = "3.6"

A53_AND_A72 = "fp asimd evtstrm crc32 cpuid"
A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"

PI_FACTS: dict[str, dict[str, Any]] = {
    "raspberry-pi-3b-plus": {
        "board": "Raspberry Pi 3 Model B Plus Rev 1.3",
        "cpu_model": "Cortex-A53",
        "cpu_max_mhz": 1400.0,
        "cpu_features": A53_AND_A72,
        "os": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.12.96+rpt-rpi-v8",
        "memory_bytes": 927848 * 1024,
        "swap_bytes": 524284 * 1024,
        "boot_id": "9a1c2f6e-53b7-4a0e-8d1f-5b0c7e2a4d10",
        "hostname": "pi3",
        "compatible": ["raspberrypi,3-model-b-plus", "brcm,bcm2837"],
        "details": {
            "revision_code": "a020d3",
            "firmware": "08ae93127a3c4b7dd5d2ec0b8a1c3a5d3f2e1b90 of Aug 30 2023 16:47:37",
            "throttled_since_boot": "soft temperature limit",
            "arm_freq_mhz": "1400",
            "temp_soft_limit_c": "60",
            "isa": "NEON",
        },
    },
    "raspberry-pi-zero-2-w": {
        "board": "Raspberry Pi Zero 2 W Rev 1.0",
        "cpu_model": "Cortex-A53",
        "cpu_max_mhz": 1000.0,
        "cpu_features": A53_AND_A72,
        "os": "Debian GNU/Linux 13 (trixie)",
        "kernel": "6.18.34+rpt-rpi-v8",
        "memory_bytes": 426688 * 1024,
        "swap_bytes": 426684 * 1024,
        "boot_id": "1d7b4a52-0f7c-4a5e-9f32-6c1e8b90a7d3",
        "hostname": "zero2",
        "compatible": ["raspberrypi,model-zero-2-w", "brcm,bcm2837"],
        "details": {
            "revision_code": "902120",
            "firmware": "17084b403fb60475b8ee2641c26049a7d54bf153 of May 14 2025 12:23:36",
            "throttled_since_boot": "under-voltage, throttled",
            "arm_freq_mhz": "1000",
            "isa": "NEON",
        },
    },
    "raspberry-pi-4": {
        "board": "Raspberry Pi 4 Model B Rev 1.4",
        "cpu_model": "Cortex-A72",
        "cpu_max_mhz": 1800.0,
        "cpu_features": A53_AND_A72,
        "os": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.12.34+rpt-rpi-v8",
        "memory_bytes": 3884360 * 1024,
        "swap_bytes": 102396 * 1024,
        "boot_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "hostname": "pi4",
        "compatible": ["raspberrypi,4-model-b", "brcm,bcm2711"],
        "details": {
            "revision_code": "c03114",
            "firmware": "17084b403fb60475b8ee2641c26049a7d54bf153 of May 14 2025 12:23:36",
            "throttled_since_boot": "nothing",
            "arm_boost": "1",
            "arm_freq_mhz": "1800",
            "isa": "NEON",
        },
    },
    "raspberry-pi-5": {
        "board": "Raspberry Pi 5 Model B Rev 1.0",
        "cpu_model": "Cortex-A76",
        "cpu_max_mhz": 2400.0,
        "cpu_features": A76,
        "os": "Debian GNU/Linux 13 (trixie)",
        "kernel": "6.12.75+rpt-rpi-2712",
        "memory_bytes": 8254960 * 1024,
        "swap_bytes": 2097136 * 1024,
        "boot_id": "c56a4180-65aa-42ec-a945-5fd21dec0538",
        "hostname": "pi5",
        "compatible": ["raspberrypi,5-model-b", "brcm,bcm2712"],
        "details": {
            "revision_code": "d04170",
            "firmware": "66f33f7e of 2026/05/11 12:20:02",
            "throttled_since_boot": "under-voltage, throttled",
            "supply_max_ma": "5000",
            "arm_boost": "1",
            "arm_freq_mhz": "2400",
            "isa": "NEON, LSE atomics, fp16 arithmetic, int8 dot product",
        },
    },
}
#: The same on every Pi tree.
PI_FACTS_OF_ALL = {
    "cpu_count": 4,
    "machine": "aarch64",
    "governor": "ondemand",
    "virtualization": None,
    "family": "raspberry-pi",
    "power_mode": None,
    "unreadable": [],
}

PI_SENSORS: dict[str, dict[str, Any]] = {
    "raspberry-pi-3b-plus": {
        "temperature_c": 61.224,
        "cpu_mhz": 1200.126,
        "cpu_mhz_limit": 1400.0,
        "throttled": True,
        "under_voltage": False,
        "memory_available_bytes": 702116 * 1024,
        "swapped_pages": 0,
        "throttle_flags": 0x80008,
        "core_volts": 1.2938,
    },
    "raspberry-pi-zero-2-w": {
        "temperature_c": 54.768,
        "cpu_mhz": 600.117,
        "cpu_mhz_limit": 1000.0,
        "throttled": True,
        "under_voltage": None,
        "memory_available_bytes": 247808 * 1024,
        "swapped_pages": 18340 + 52611,
        "throttle_flags": 0x50005,
        "core_volts": 1.2563,
    },
    "raspberry-pi-4": {
        "temperature_c": 48.312,
        "cpu_mhz": 1800.404352,
        "cpu_mhz_limit": 1800.0,
        "throttled": False,
        "under_voltage": False,
        "memory_available_bytes": 3401876 * 1024,
        "swapped_pages": 42,
        "throttle_flags": 0,
        "core_volts": 0.8768,
    },
    "raspberry-pi-5": {
        "temperature_c": 66.15,
        "cpu_mhz": 2400.029184,
        "cpu_mhz_limit": 2400.0,
        "throttled": False,
        "under_voltage": False,
        "memory_available_bytes": 7310336 * 1024,
        "swapped_pages": 0,
        "throttle_flags": 0x50000,
        "core_volts": 0.8617,
        "fan_rpm": 3152.0,
        "power_w": 7.239818798,
        "power_rail": POWER_RAIL,
        "rails_w": {
            "3V7_WL_SW": 0.34662938659904,
            "3V3_SYS": 0.2907324455121,
            "1V8_SYS": 0.3259102644346,
            "DDR_VDD2": 0.2490570988878,
            "DDR_VDDQ": 0.04009796078112,
            "1V1_SYS": 0.195035609187,
            "0V8_SW": 0.3019188526596,
            "VDD_CORE": 5.36360715593,
            "3V3_DAC": 0.00020226982215,
            "3V3_ADC": 0.0012112709499,
            "0V8_AON": 0.0024428919405,
            "HDMI": 0.122973591312,
        },
    },
}
#: Fields that are this machine's own, as a tree cannot fake them, or that tell when a sample was taken.
OF_THE_MOMENT = {"time", "phase", "monotonic_s", "load_1m"}


@pytest.fixture(scope="session")
def python() -> str:
    """The oldest Python the agent has to run on."""
    found = agent_python(PYTHON)
    if found is None:
        pytest.skip(interpreters.missing(PYTHON))
    return found


@pytest.fixture(scope="module")
def told(python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ProbeReply, list[Event]]]:
    """Every Pi probed, and the events of a job on it."""
    return {name: _told(name, python, tmp_path_factory.mktemp(name)) for name in PI_FACTS}


def _told(name: str, python: str, folder: Path) -> tuple[ProbeReply, list[Event]]:
    tree = stand_in(name, folder)
    return tree.probe(python), tree.run_job(python)


def samples(events: list[Event], phase: str) -> list[TelemetrySample]:
    return [event for event in events if isinstance(event, TelemetrySample) and event.phase == phase]


def state(sample: TelemetrySample) -> dict[str, Any]:
    """What a sample tells of the board, without what is absent."""
    values = sample._asdict()
    return {
        name: value
        for name, value in values.items()
        if name not in OF_THE_MOMENT and (value is not None or name == "under_voltage") and value != {}
    }


@pytest.mark.parametrize("name", PI_FACTS)
def test_a_pi_tells_all_its_facts(name: str, told: dict[str, tuple[ProbeReply, list[Event]]]) -> None:
    facts = told[name][0].facts
    assert facts == DeviceFacts(python=facts.python, **PI_FACTS_OF_ALL, **PI_FACTS[name])
    assert facts.python.startswith(PYTHON)


@pytest.mark.parametrize("name", PI_FACTS)
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_pi_tells_all_its_sensors(
    name: str, phase: str, told: dict[str, tuple[ProbeReply, list[Event]]]
) -> None:
    (sample,) = samples(told[name][1], phase)
    expected = {"governor": "ondemand", **PI_SENSORS[name]}
    found = state(sample)
    assert found.pop("rails_w", None) == pytest.approx(expected.pop("rails_w", None))
    assert found.pop("power_w", None) == pytest.approx(expected.pop("power_w", None))
    assert found == expected


def test_while_a_pi_runs_its_true_clock_throttling_and_power_are_told(python: str, tmp_path: Path) -> None:
    """Within the first second, though files alone would say nothing of it."""
    longer = QUICK._replace(min_time_s=1.1, max_time_s=1.1, max_iterations=10_000_000)
    events = stand_in("raspberry-pi-5", tmp_path).run_job(python, measurement=longer)
    running = samples(events, "running")[0]
    assert (running.cpu_mhz, running.throttled) == (2400.029184, False)
    assert (running.throttle_flags, running.power_rail) == (0x50000, POWER_RAIL)
    assert running.power_w == pytest.approx(7.239818798)


@pytest.mark.parametrize("name", PI_FACTS)
def test_the_job_on_a_pi_goes_well_and_tells_the_same_board(
    name: str, told: dict[str, tuple[ProbeReply, list[Event]]]
) -> None:
    reply, events = told[name]
    assert isinstance(events[0], JobStarted)
    assert events[0].facts == reply.facts
    assert isinstance(events[-1], JobEnded)
    assert events[-1].outcome == "ok"
