"""What can be changed of a virtual Raspberry Pi: its firmware's answers, and the files that go with them."""

from __future__ import annotations

import re
from pathlib import Path

from harness.lab.values.settings import (
    Setting,
    clock,
    degrees,
    millidegrees,
    numbers,
    one_of,
    replace_values,
    truth,
    whole_numbers,
)

_FLAGS = "vcgencmd/get_throttled"
_CLOCK = "vcgencmd/measure_clock-arm"
_POLICY = "cpu/cpufreq/policy0"

# raspberrypi/documentation, os/graphics-utilities.adoc: bits of this moment, and 16 higher those since boot.
_UNDER_VOLTAGE, _THROTTLED, _SLOWED_DOWN = 1 << 0, 1 << 2, 0b1110
_SINCE_BOOT_SHIFT = 16


def _temperature(stand_ins: Path, celsius: float) -> None:
    files = {
        "thermal/thermal_zone0/temp": millidegrees(celsius),
        "vcgencmd/measure_temp": f"temp={celsius:.1f}'C",
    }
    replace_values(stand_ins, files)


def _flags(stand_ins: Path, flags: int) -> None:
    replace_values(stand_ins, {_FLAGS: f"throttled={flags:#x}"})


def _change_flags(stand_ins: Path, wanted: bool, sets: int, clears: int) -> None:
    """As the firmware does: what was once the case stays among the bits since boot."""
    found = re.search(r"throttled=0x([0-9a-fA-F]{1,8})", (stand_ins / _FLAGS).read_text("utf-8"))
    now = int(found[1], 16) if found else 0
    _flags(stand_ins, now | sets | sets << _SINCE_BOOT_SHIFT if wanted else now & ~clears)


def _throttled(stand_ins: Path, wanted: bool) -> None:
    _change_flags(stand_ins, wanted, _THROTTLED, _SLOWED_DOWN)


def _under_voltage(stand_ins: Path, wanted: bool) -> None:
    _change_flags(stand_ins, wanted, _UNDER_VOLTAGE, _UNDER_VOLTAGE)


def _clock(stand_ins: Path, khz: int) -> None:
    # The number in brackets differs by board.
    label = (stand_ins / _CLOCK).read_text("utf-8").partition("=")[0]
    replace_values(stand_ins, {f"{_POLICY}/scaling_cur_freq": str(khz), _CLOCK: f"{label}={khz * 1000}"})


def _clock_limit(stand_ins: Path, khz: int) -> None:
    replace_values(stand_ins, {f"{_POLICY}/scaling_max_freq": str(khz)})


def _governor(stand_ins: Path, name: str) -> None:
    replace_values(stand_ins, {f"{_POLICY}/scaling_governor": name})


def _core_volts(stand_ins: Path, volts: float) -> None:
    replace_values(stand_ins, {"vcgencmd/measure_volts-core": f"volt={volts:.4f}V"})


SETTINGS = {
    "temperature_c": degrees(_temperature, "the processor's temperature"),
    "throttled": Setting("whether it is throttled now: true or false", truth, _throttled),
    "under_voltage": Setting("whether the supply is too low now: true or false", truth, _under_voltage),
    "throttle_flags": Setting(
        "all bits of get_throttled, as in 0x50005", whole_numbers(0, 0xFFFFFFFF), _flags
    ),
    "clock_khz": clock(_clock, "the processor's clock"),
    "clock_limit_khz": clock(_clock_limit, "the highest clock Linux may choose"),
    "governor": Setting(
        "the governor's name",
        one_of("conservative", "ondemand", "userspace", "powersave", "performance", "schedutil"),
        _governor,
    ),
    "core_volts": Setting("the core's voltage, V", numbers(0, 5), _core_volts),
}
