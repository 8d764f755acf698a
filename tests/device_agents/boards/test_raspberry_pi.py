"""Raspberry Pis that are folders: what they say, when they are asked, and what if they are silent."""

from __future__ import annotations

import getpass
import struct
from pathlib import Path

import pytest

from device_agents.boards import raspberry_pi
from device_agents.boards.board import BoardFacts
from device_agents.boards.raspberry_pi import RUNNING_COMMANDS_INTERVAL_S, RaspberryPi
from tests.device_agents.board_trees import Tree, stand_in

pytestmark = pytest.mark.processes

VCGENCMD = "/stand-in/vcgencmd/"


class Clock:
    """A monotonic clock that stands still until told otherwise."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def pi4(tmp_path: Path) -> Tree:
    return stand_in("raspberry-pi-4", tmp_path)


@pytest.fixture
def pi5(tmp_path: Path) -> Tree:
    return stand_in("raspberry-pi-5", tmp_path)


def calls(tree: Tree) -> list[str]:
    """What the firmware was asked since the last look."""
    log = tree.path(VCGENCMD + "calls")
    said = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return said


# --- facts ----------------------------------------------------------------------------------------


def test_a_pi_4_tells_firmware_settings_and_that_it_was_never_throttled(pi4: Tree) -> None:
    assert pi4.board.facts() == BoardFacts(
        details={
            "revision_code": "c03114",
            "throttled_since_boot": "nothing",
            "firmware": "17084b403fb60475b8ee2641c26049a7d54bf153 of May 14 2025 12:23:36",
            "arm_boost": "1",
            "arm_freq_mhz": "1800",
        }
    )


def test_a_pi_5_tells_what_its_supply_can_deliver(pi5: Tree) -> None:
    details = pi5.board.facts().details
    assert details["supply_max_ma"] == "5000"
    assert details["throttled_since_boot"] == "under-voltage, throttled"


def test_the_supply_is_found_where_only_sys_has_the_device_tree(pi5: Tree) -> None:
    inside = "/chosen/power/max_current"
    pi5.remove("/proc/device-tree" + inside)
    assert raspberry_pi.supply_max_ma(pi5.host.files) is None
    pi5.write("/sys/firmware/devicetree/base" + inside, struct.pack(">I", 3000))
    assert raspberry_pi.supply_max_ma(pi5.host.files) == 3000


@pytest.mark.parametrize("content", [b"", b"\0\0\x13", b"\0\0\x13\x88\0", b"5000\n"])
def test_a_supply_that_is_not_one_cell_is_absent(pi5: Tree, content: bytes) -> None:
    pi5.write("/proc/device-tree/chosen/power/max_current", content)
    assert raspberry_pi.supply_max_ma(pi5.host.files) is None


LOST = "throttling, true clock and power by vcgencmd: "


def test_without_vcgencmd_it_says_how_to_get_it(pi4: Tree) -> None:
    pi4.remove("/usr/bin/vcgencmd")
    facts = pi4.board.facts()
    install = "sudo apt-get install raspi-utils, or libraspberrypi-bin on Debian 11"
    assert facts.unreadable == [LOST + "vcgencmd is not installed: " + install]
    assert facts.details == {"revision_code": "c03114"}


def test_outside_group_video_it_says_how_to_get_in(pi4: Tree) -> None:
    pi4.write(VCGENCMD + "denied", "")
    remedy = f"add the user to group video: sudo usermod -aG video {getpass.getuser()}, then log in anew"
    assert pi4.board.facts().unreadable == [LOST + remedy]


def test_without_its_device_group_video_would_not_help(pi4: Tree) -> None:
    pi4.write(VCGENCMD + "denied", "")
    pi4.remove("/dev/vcio")
    remedy = "/dev/vcio is missing: sudo modprobe vcio, or a kernel of Raspberry Pi OS"
    assert pi4.board.facts().unreadable == [LOST + remedy]


def test_another_failure_is_told_in_its_own_words(pi4: Tree) -> None:
    pi4.remove(VCGENCMD + "get_throttled")
    assert pi4.board.facts().unreadable == [LOST + "vc_gencmd_read_response returned -1"]


# --- sensors --------------------------------------------------------------------------------------


def test_the_true_clock_counts_and_not_the_one_linux_asked_for(tmp_path: Path) -> None:
    sample = stand_in("raspberry-pi-3b-plus", tmp_path).board.sample(thorough=True)
    assert (sample.cpu_mhz, sample.cpu_mhz_limit) == (1200.126, 1400.0)
    assert (sample.throttled, sample.throttle_flags) == (True, 0x80008)


@pytest.mark.parametrize(
    ("flags", "throttled", "under_voltage"),
    [
        (0x0, False, False),
        (0x1, False, True),
        (0x2, True, False),
        (0x4, True, False),
        (0x8, True, False),
        (0xF0000, False, False),  # since boot, and over
        (0x50005, True, True),
    ],
)
def test_what_holds_now_is_told_from_what_has_been(
    pi4: Tree, flags: int, throttled: bool, under_voltage: bool
) -> None:
    pi4.write(VCGENCMD + "get_throttled", f"throttled=0x{flags:x}\n")
    sample = pi4.board.sample(thorough=True)
    assert (sample.throttled, sample.under_voltage) == (throttled, under_voltage)
    assert sample.throttle_flags == flags


def test_the_kernels_alarm_is_enough_for_under_voltage(pi4: Tree) -> None:
    pi4.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert pi4.board.sample(thorough=True).under_voltage is True


@pytest.mark.parametrize("flags", ["0x50005", "0x0"])
def test_a_zero_does_not_watch_its_supply(tmp_path: Path, flags: str) -> None:
    tree = stand_in("raspberry-pi-zero-2-w", tmp_path)
    tree.write(VCGENCMD + "get_throttled", f"throttled={flags}\n")
    assert tree.board.sample(thorough=True).under_voltage is None


def test_a_pi_5_tells_power_by_rail_and_its_fan(pi5: Tree) -> None:
    sample = pi5.board.sample(thorough=True)
    assert sample.power_w == pytest.approx(7.239818798)
    assert len(sample.rails_w) == 12
    assert sample.power_rail == "sum of PMIC rails (without USB, HATs and the losses at 5 V)"
    assert (sample.fan_rpm, sample.core_volts) == (3152.0, 0.8617)


def test_a_power_chip_that_leaves_a_rail_out_gives_rails_and_no_total(pi5: Tree) -> None:
    whole = pi5.read(VCGENCMD + "pmic_read_adc").splitlines()
    pi5.write(VCGENCMD + "pmic_read_adc", "\n".join(line for line in whole if "HDMI_A" not in line) + "\n")
    sample = pi5.board.sample(thorough=True)
    assert (len(sample.rails_w), sample.power_w, sample.power_rail) == (11, None, None)


def test_without_a_thermal_zone_the_firmware_is_asked_for_the_temperature(pi4: Tree) -> None:
    pi4.remove("/sys/class/thermal")
    assert pi4.board.sample(thorough=True).temperature_c == 48.3


@pytest.mark.parametrize("how", ["denied", "missing"])
def test_without_the_firmware_files_say_what_they_can(pi4: Tree, how: str) -> None:
    if how == "missing":
        pi4.remove("/usr/bin/vcgencmd")
    else:
        pi4.write(VCGENCMD + "denied", "")
    sample = pi4.board.sample(thorough=True)
    assert (sample.temperature_c, sample.cpu_mhz, sample.under_voltage) == (48.312, 1800.0, False)
    assert (sample.throttle_flags, sample.core_volts, sample.power_w) == (None, None, None)
    # That Linux slows nothing down proves nothing of the firmware.
    assert sample.throttled is None


def test_without_the_firmware_linux_may_know_that_it_throttles(pi4: Tree) -> None:
    pi4.write(VCGENCMD + "denied", "")
    pi4.write("/sys/class/thermal/cooling_device0/cur_state", "2\n")
    assert pi4.board.sample(thorough=True).throttled is True


# --- how often ------------------------------------------------------------------------------------


def test_while_running_the_firmware_is_asked_at_once_and_then_every_five_seconds(pi5: Tree) -> None:
    clock = Clock()
    board = RaspberryPi(pi5.host, clock)
    asked = ["get_throttled", "measure_clock arm", "pmic_read_adc"]
    assert board.sample(thorough=False).throttle_flags == 0x50000
    assert calls(pi5) == asked
    clock.now_s += RUNNING_COMMANDS_INTERVAL_S - 0.01
    board.sample(thorough=False)
    assert calls(pi5) == []
    clock.now_s += 0.01
    board.sample(thorough=False)
    assert calls(pi5) == asked


def test_what_the_firmware_said_belongs_to_no_later_sample(pi5: Tree) -> None:
    board = RaspberryPi(pi5.host, Clock())
    board.sample(thorough=False)
    later = board.sample(thorough=False)
    assert (later.power_w, later.rails_w, later.throttle_flags) == (None, {}, None)
    assert later.cpu_mhz == 2400.0  # cpufreq's


def test_before_and_after_everything_is_asked_and_the_next_repetition_may_ask_at_once(pi5: Tree) -> None:
    board = RaspberryPi(pi5.host, Clock())
    board.sample(thorough=False)
    calls(pi5)
    board.sample(thorough=True)
    assert sorted(calls(pi5)) == [
        "get_throttled",
        "measure_clock arm",
        "measure_temp",
        "measure_volts core",
        "pmic_read_adc",
    ]
    assert board.sample(thorough=False).throttle_flags == 0x50000


def test_a_board_without_a_power_chip_is_not_asked_for_its_power_again(pi4: Tree) -> None:
    board = RaspberryPi(pi4.host, Clock())
    board.sample(thorough=True)
    calls(pi4)
    board.sample(thorough=False)
    assert calls(pi4) == ["get_throttled", "measure_clock arm"]


def test_a_firmware_that_refused_is_not_asked_while_running(pi4: Tree) -> None:
    pi4.write(VCGENCMD + "denied", "")
    board = RaspberryPi(pi4.host, Clock())
    board.sample(thorough=True)
    calls(pi4)
    board.sample(thorough=False)
    assert calls(pi4) == []
