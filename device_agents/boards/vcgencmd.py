"""What `vcgencmd` says of a Raspberry Pi, read: numbers, or None (nothing) for anything else.

The forms are those of raspberrypi/documentation (os/graphics-utilities.adoc) and of real boards. A line
counts only with its newline: of one cut short, `throttled=0x5` say, nobody knows what it was going to be.
"""

import re
from typing import Dict, List, NamedTuple, Optional

#: Bits of get_throttled that hold now; the same 16 bits higher hold since boot.
UNDER_VOLTAGE = 1 << 0
FREQUENCY_CAPPED = 1 << 1
THROTTLED = 1 << 2
SOFT_TEMPERATURE_LIMIT = 1 << 3

#: Any of these and the processor is slower than asked for.
SLOWED_DOWN = FREQUENCY_CAPPED | THROTTLED | SOFT_TEMPERATURE_LIMIT

SINCE_BOOT_SHIFT = 16

_WORDS = (
    (UNDER_VOLTAGE, "under-voltage"),
    (FREQUENCY_CAPPED, "frequency capped"),
    (THROTTLED, "throttled"),
    (SOFT_TEMPERATURE_LIMIT, "soft temperature limit"),
)

#: Rails of the Pi 5's power chip that tell voltage and current; EXT5V and BATT tell their voltage only.
PAIRED_RAILS = frozenset(
    (
        "3V7_WL_SW",
        "3V3_SYS",
        "1V8_SYS",
        "DDR_VDD2",
        "DDR_VDDQ",
        "1V1_SYS",
        "0V8_SW",
        "VDD_CORE",
        "3V3_DAC",
        "3V3_ADC",
        "0V8_AON",
        "HDMI",
    )
)

_ADC_LINE = re.compile(r"\s*(\S+)_([AV])\s+(?:current|volt)\([0-9]+\)=(\S*)\s*")
_BUILT = re.compile(r"(?:[A-Z][a-z]{2} +[0-9]{1,2} [0-9]{4}|[0-9]{4}/[0-9]{2}/[0-9]{2}) [0-9:]{8}")


class Firmware(NamedTuple):
    """Which firmware the VideoCore (Pi 5: the bootloader) runs."""

    version: str
    built: Optional[str]


class PmicReading(NamedTuple):
    """The Pi 5's power chip: watts by rail, and of all rails together if none is missing."""

    rails_w: Dict[str, float]
    power_w: Optional[float]


def throttled(text: str) -> Optional[int]:
    """`throttled=0x50005` as a number."""
    found = _line(r"throttled=0x([0-9a-fA-F]{1,8})", text)
    return None if found is None else int(found, 16)


def throttle_words(flags: int) -> List[str]:
    """What the bits 0 to 3 mean, in words; shift by SINCE_BOOT_SHIFT for those since boot."""
    return [word for bit, word in _WORDS if flags & bit]


def temperature_c(text: str) -> Optional[float]:
    """`temp=48.3'C`."""
    return _number(_line(r"temp=(-?[0-9]{1,3}(?:\.[0-9]+)?)'C", text))


def clock_mhz(text: str) -> Optional[float]:
    """`frequency(48)=1500398464`, Hz; the number in brackets differs by board. 0 is a clock that is off."""
    hertz = _number(_line(r"frequency\([0-9]+\)=([0-9]{1,12})", text))
    return hertz / 1e6 if hertz else None


def volts(text: str) -> Optional[float]:
    """`volt=0.8768V`."""
    return _number(_line(r"volt=([0-9]{1,2}(?:\.[0-9]+)?)V", text))


def firmware(text: str) -> Optional[Firmware]:
    """`version`: when it was built, a copyright, and its hash."""
    version = _line(r"version ([0-9a-f]{7,40})\b.*", text)
    if version is None:
        return None
    built = [line.strip() for line in _lines(text) if _BUILT.fullmatch(line.strip())]
    return Firmware(version, " ".join(built[0].split()) if built else None)


def configuration(text: str) -> Dict[str, int]:
    """`get_config int`: the settings of config.txt as they took effect; those that are 0 are left out."""
    settings: Dict[str, int] = {}
    for line in _lines(text):
        found = re.fullmatch(r"\s*([a-z][a-z0-9_]*)=(-?[0-9]{1,10}|0x[0-9a-f]{1,8})\s*", line)
        if found:
            settings.setdefault(found.group(1), int(found.group(2), 0 if "x" in found.group(2) else 10))
    return settings


def pmic_read_adc(text: str) -> PmicReading:
    """Watts by rail, and their sum; the numbers in brackets do not tell which lines belong together.

    The sum is given only if every rail that should count does: half an answer is not half the power.
    """
    measured: Dict[str, Dict[str, Optional[float]]] = {"A": {}, "V": {}}
    for line in _lines(text):
        found = _ADC_LINE.fullmatch(line)
        if found:
            rail, unit, value = found.groups()
            number = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]+)?)" + unit, value)
            measured[unit].setdefault(rail, float(number.group(1)) if number else None)
    amps, supply = measured["A"], measured["V"]
    rails_w = {}
    for rail, current in amps.items():
        voltage = supply.get(rail)
        if current is not None and voltage is not None:
            rails_w[rail] = current * voltage
    expected = set(amps) | (PAIRED_RAILS & set(supply))
    complete = bool(expected) and expected == set(rails_w)
    return PmicReading(rails_w, sum(rails_w.values()) if complete else None)


def _lines(text: str) -> List[str]:
    """The lines that are complete."""
    return text.split("\n")[:-1]


def _line(pattern: str, text: str) -> Optional[str]:
    """The group of the first line that is of the form."""
    for line in _lines(text):
        found = re.fullmatch(r"\s*" + pattern + r"\s*", line)
        if found:
            return found.group(1)
    return None


def _number(text: Optional[str]) -> Optional[float]:
    return None if text is None else float(text)
