"""What vcgencmd says, as it says it and damaged: the right number or none, and never an exception."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.boards import vcgencmd
from device_agents.boards.vcgencmd import Firmware, PmicReading

ANSWERS = Path(__file__).parents[2] / "captures/raspberry-pi-5/stand-in/vcgencmd"
PMIC = (ANSWERS / "pmic_read_adc").read_text()
VERSION = (ANSWERS / "version").read_text()
REFUSED = 'vc_gencmd_read_response returned -1\nerror=1 error_msg="Command not registered"\n'
DENIED = "Can't open device file: /dev/vcio\nTry creating a device file with: sudo mknod /dev/vcio c 100 0\n"

#: Every parser with an answer of a real board, and what that means.
PARSERS: dict[str, tuple[Callable[[str], Any], str, Any]] = {
    "get_throttled": (vcgencmd.throttled, "throttled=0x50005\n", 0x50005),
    "measure_temp": (vcgencmd.temperature_c, "temp=48.3'C\n", 48.3),
    "measure_clock": (vcgencmd.clock_mhz, "frequency(48)=1500398464\n", 1500.398464),
    "measure_volts": (vcgencmd.volts, "volt=0.8768V\n", 0.8768),
    "version": (vcgencmd.firmware, VERSION, Firmware("66f33f7e", "2026/05/11 12:20:02")),
    "get_config": (vcgencmd.configuration, "arm_boost=1\n", {"arm_boost": 1}),
    "pmic_read_adc": (vcgencmd.pmic_read_adc, PMIC, None),
}
NOTHING: dict[str, Any] = {"get_config": {}, "pmic_read_adc": PmicReading({}, None)}

each_parser = pytest.mark.parametrize("name", PARSERS)
few = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("name", [name for name in PARSERS if name != "pmic_read_adc"])
def test_the_answer_of_a_real_board(name: str) -> None:
    parse, answer, meaning = PARSERS[name]
    assert parse(answer) == meaning


@each_parser
@pytest.mark.parametrize("answer", ["", "\n", REFUSED, DENIED, "VCHI initialization failed\n", "\0\0\n"])
def test_anything_else_means_nothing(name: str, answer: str) -> None:
    assert PARSERS[name][0](answer) == NOTHING.get(name)


@each_parser
@few
@given(st.text(max_size=60))
def test_no_text_at_all_is_too_strange(name: str, text: str) -> None:
    PARSERS[name][0](text)
    PARSERS[name][0](text + "\n")


@pytest.mark.parametrize("name", [name for name in PARSERS if name not in ("version", "pmic_read_adc")])
def test_an_answer_that_is_cut_short_is_none(name: str) -> None:
    parse, answer, _ = PARSERS[name]
    cut = [parse(answer[:end]) for end in range(len(answer))]
    assert cut == [NOTHING.get(name)] * len(answer)


@each_parser
def test_lines_of_other_kinds_change_nothing(name: str) -> None:
    parse, answer, _ = PARSERS[name]
    noisy = "* daemon started\nsomething_new=é\u0663\n" + answer + "unknown(99)=1X\n\n"
    assert parse(noisy) == parse(answer)


@pytest.mark.parametrize(
    ("parse", "line"),
    [
        (vcgencmd.throttled, "throttled=0x500055555"),
        (vcgencmd.throttled, "throttled=0x\u0663"),
        (vcgencmd.throttled, "throttled=5"),
        (vcgencmd.temperature_c, "temp=4\uff18.3'C"),
        (vcgencmd.temperature_c, "temp=nan'C"),
        (vcgencmd.clock_mhz, "frequency(48)=0"),
        (vcgencmd.clock_mhz, "frequency(48)=1e9"),
        (vcgencmd.volts, "volt=0.8768"),
        (vcgencmd.volts, "volt=0..8V"),
        (vcgencmd.firmware, "version unknown"),
    ],
)
def test_a_damaged_number_is_none(parse: Callable[[str], Any], line: str) -> None:
    assert parse(line + "\n") is None


def test_a_temperature_may_be_below_zero() -> None:
    assert vcgencmd.temperature_c("temp=-5.2'C\n") == -5.2


def test_firmware_of_the_older_boards_has_another_date_and_words() -> None:
    answer = "May 14 2025 12:23:36 \nCopyright (c) 2012 Broadcom\nversion 17084b403f (clean) (release)\n"
    assert vcgencmd.firmware(answer) == Firmware("17084b403f", "May 14 2025 12:23:36")


def test_firmware_without_a_date_is_named_all_the_same() -> None:
    assert vcgencmd.firmware("version 66f33f7e (release)\n") == Firmware("66f33f7e", None)


def test_settings_may_be_negative_or_in_hexadecimal() -> None:
    answer = "display_hdmi_rotate=-1\ninit_uart_clock=0x2dc6c00\nkernel=kernel8.img\narm_freq=\n"
    assert vcgencmd.configuration(answer) == {"display_hdmi_rotate": -1, "init_uart_clock": 48_000_000}


def test_the_bits_in_words() -> None:
    assert vcgencmd.throttle_words(0x5000F) == [
        "under-voltage",
        "frequency capped",
        "throttled",
        "soft temperature limit",
    ]
    assert vcgencmd.throttle_words(0x50000 >> 16) == ["under-voltage", "throttled"]
    assert vcgencmd.throttle_words(0) == []


# --- power ----------------------------------------------------------------------------------------


def test_power_is_voltage_times_current_of_twelve_rails() -> None:
    reading = vcgencmd.pmic_read_adc(PMIC)
    assert set(reading.rails_w) == vcgencmd.PAIRED_RAILS
    assert reading.rails_w["VDD_CORE"] == 6.22421 * 0.861733
    assert reading.rails_w["HDMI"] == 0.0241758 * 5.08664
    assert reading.power_w == pytest.approx(7.239818798)


@few
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_lines_does_not_matter(chance: random.Random) -> None:
    lines = PMIC.splitlines(keepends=True)
    chance.shuffle(lines)
    shuffled, right = vcgencmd.pmic_read_adc("".join(lines)), vcgencmd.pmic_read_adc(PMIC)
    assert shuffled.rails_w == right.rails_w
    assert shuffled.power_w == pytest.approx(right.power_w)


@few
@given(st.integers(0, len(PMIC)))
def test_of_half_an_answer_rails_are_right_and_the_sum_is_none_or_right(end: int) -> None:
    cut, right = vcgencmd.pmic_read_adc(PMIC[:end]), vcgencmd.pmic_read_adc(PMIC)
    assert cut.rails_w.items() <= right.rails_w.items()
    assert cut.power_w in (None, right.power_w)


@few
@given(st.integers(0, 23), st.integers(1, 40), st.characters(codec="utf-8"))
def test_one_wrong_letter_in_a_rail_does_not_make_the_sum_smaller(line: int, at: int, letter: str) -> None:
    """Unless it made one good number into another, which nobody can tell."""
    lines = PMIC.splitlines()
    word = lines[line]
    at %= len(word)
    if letter.isascii() and (letter.isdigit() or letter == "."):
        letter = "x"
    lines[line] = word[:at] + letter + word[at + 1 :]
    damaged = vcgencmd.pmic_read_adc("\n".join(lines) + "\n")
    right = vcgencmd.pmic_read_adc(PMIC)
    assert damaged.power_w is None or damaged.power_w == pytest.approx(right.power_w)


@pytest.mark.parametrize("lost", ["VDD_CORE_A", "VDD_CORE_V", "3V3_ADC_A"])
def test_without_one_line_of_a_pair_there_is_no_sum(lost: str) -> None:
    rest = "".join(line for line in PMIC.splitlines(keepends=True) if lost not in line)
    reading = vcgencmd.pmic_read_adc(rest)
    assert lost[:-2] not in reading.rails_w
    assert len(reading.rails_w) == 11
    assert reading.power_w is None


def test_a_voltage_that_has_no_current_is_no_part_of_the_power() -> None:
    more = PMIC.replace("volt(25)=0.00000000V", "volt(25)=nanV") + "   USB_V volt(26)=5.00000000V\n"
    assert vcgencmd.pmic_read_adc(more) == vcgencmd.pmic_read_adc(PMIC)


def test_one_rail_alone_has_no_power() -> None:
    assert vcgencmd.pmic_read_adc("     EXT5V_V volt(24)=5.11478000V\n") == PmicReading({}, None)
