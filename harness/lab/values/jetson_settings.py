"""What can be changed of a virtual Jetson: the kernel's files, the power mode and what tegrastats prints."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

from harness.lab.jetson.files import tree_tables
from harness.lab.jetson.standins import JETSON
from harness.lab.machine.programs import call
from harness.lab.values.settings import (
    Setting,
    WrongValue,
    clock,
    degrees,
    line,
    millidegrees,
    numbers,
    one_of,
    replace_values,
    truth,
)

_THERMAL = "sys/class/thermal"
_POLICY = "sys/devices/system/cpu/cpufreq/policy0"
_GPU = "sys/class/devfreq/57000000.gpu"
_MONITOR = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
_NVPMODEL = JETSON / "usr/sbin/nvpmodel"

#: Cooling devices whose state is how far the kernel holds clocks down; the third is the fan.
_HOLD_CLOCKS = ("cooling_device0", "cooling_device1")
#: What stands still whatever the temperature: the PMIC's is a constant.
_CONSTANT = "PMIC-Die"
_GPU_ZONE = "GPU-therm"


def _zones(stand_ins: Path) -> dict[str, str]:
    """Paths of the zones' temperatures by what they are of."""
    return {
        (zone / "type").read_text("utf-8").strip(): f"{_THERMAL}/{zone.name}/temp"
        for zone in sorted((stand_ins / _THERMAL).glob("thermal_zone*"))
    }


def _temperature(stand_ins: Path, celsius: float) -> None:
    zones = [path for kind, path in _zones(stand_ins).items() if kind != _CONSTANT]
    replace_values(stand_ins, dict.fromkeys(zones, millidegrees(celsius)))


def _gpu_temperature(stand_ins: Path, celsius: float) -> None:
    replace_values(stand_ins, {_zones(stand_ins)[_GPU_ZONE]: millidegrees(celsius)})


def _throttled(stand_ins: Path, wanted: bool) -> None:
    state = "1" if wanted else "0"
    replace_values(stand_ins, {f"{_THERMAL}/{device}/cur_state": state for device in _HOLD_CLOCKS})


def _clock(stand_ins: Path, khz: int) -> None:
    replace_values(stand_ins, {f"{_POLICY}/scaling_cur_freq": str(khz)})


def _clock_limit(stand_ins: Path, khz: int) -> None:
    replace_values(stand_ins, {f"{_POLICY}/scaling_max_freq": str(khz)})


def _governor(stand_ins: Path, name: str) -> None:
    replace_values(stand_ins, {f"{_POLICY}/scaling_governor": name})


def _gpu_clock(stand_ins: Path, khz: int) -> None:
    replace_values(stand_ins, {f"{_GPU}/cur_freq": str(khz * 1000)})


def _gpu_load(stand_ins: Path, share: float) -> None:
    # In tenths of a percent.
    replace_values(stand_ins, {"sys/devices/gpu.0/load": str(round(share * 1000))})


def _power(stand_ins: Path, watts: float) -> None:
    replace_values(stand_ins, {f"{_MONITOR}/in_power0_input": str(round(watts * 1000))})


def _tegrastats(stand_ins: Path, text: str) -> None:
    replace_values(stand_ins, {"tegrastats/line": text})


def _mode(value: object) -> str:
    """The id of a mode by its name or id."""
    known = power_modes()
    named = str(value)
    if not isinstance(value, bool) and (named in known or named in known.values()):
        return known.get(named, named)
    raise WrongValue(f"is none of {', '.join(f'{name} ({number})' for name, number in known.items())}")


def _power_mode(stand_ins: Path, number: str) -> None:
    """By the tool itself: as if somebody on the board had said nvpmodel -m."""
    variables = {"EDGEBENCH_BOARD_ROOT": str(stand_ins), "STAND_IN_ROOT": "1"}
    call("env", *(f"{name}={value}" for name, value in variables.items()), "sh", _NVPMODEL, "-m", number)


@functools.cache
def power_modes() -> Mapping[str, str]:
    """The ids of the board's modes by their names."""
    text = tree_tables("jetson_nano.toml")["files"]["etc/nvpmodel.conf"]
    found = re.findall(r"^< POWER_MODEL ID=(\d+) NAME=(\S+)", text, re.MULTILINE)
    return {name: number for number, name in found}


SETTINGS = {
    "temperature_c": degrees(_temperature, "the temperature of all zones"),
    "gpu_temperature_c": degrees(_gpu_temperature, "the GPU's temperature"),
    "throttled": Setting("whether heat holds the clocks down now: true or false", truth, _throttled),
    "clock_khz": clock(_clock, "the processor's clock"),
    "clock_limit_khz": clock(_clock_limit, "the highest clock Linux may choose"),
    "governor": Setting(
        "the governor's name",
        one_of("conservative", "userspace", "powersave", "ondemand", "performance", "schedutil"),
        _governor,
    ),
    "gpu_clock_khz": clock(_gpu_clock, "the GPU's clock"),
    "gpu_load": Setting("how busy the GPU is, 0 to 1", numbers(0, 1), _gpu_load),
    "power_w": Setting("what the board takes (POM_5V_IN), W", numbers(0, 50), _power),
    "power_mode": Setting("the power mode's name or id, as in 5W", _mode, _power_mode),
    "tegrastats": Setting(
        'a line that tegrastats prints in place of its own; "" for its own', line, _tegrastats
    ),
}
