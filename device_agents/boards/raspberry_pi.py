"""Raspberry Pi: what the firmware knows and Linux does not, by vcgencmd; plain Linux where that is silent.

The firmware throttles behind Linux's back: cpufreq goes on showing the clock it asked for. So the throttle
bits, the true clock and the Pi 5's power are asked for now and then even while a repetition runs.
"""

import os
import pwd
import time
from typing import Callable, Dict, NamedTuple, Optional

from device_agents.boards import device_tree, vcgencmd
from device_agents.boards.board import Board, BoardFacts, BoardSample
from device_agents.boards.commands import NOT_FOUND, Finished
from device_agents.boards.generic_linux import linux_sample
from device_agents.boards.host import Host
from device_agents.boards.linux_files import LinuxFiles

#: How often commands may be started while a repetition runs: each costs some 10 ms of one core.
RUNNING_COMMANDS_INTERVAL_S = 2.0

#: The sum over the power chip's outputs is less than what the board draws from its supply.
POWER_RAIL = "sum of PMIC rails (without USB, HATs and the losses at 5 V)"

#: vcgencmd answers in 10 ms; a firmware that hangs must not hold up the supervisor for long.
_TIMEOUT_S = 2.0

#: Settings of config.txt that a figure depends on, by the name they get among the facts.
_SETTINGS = {
    "arm_boost": "arm_boost",
    "arm_freq": "arm_freq_mhz",
    "over_voltage": "over_voltage",
    "over_voltage_delta": "over_voltage_delta_uv",
    "force_turbo": "force_turbo",
    "temp_limit": "temp_limit_c",
    "temp_soft_limit": "temp_soft_limit_c",
}

#: Debian 11 has it in another package.
_INSTALL = "sudo apt-get install raspi-utils, or libraspberrypi-bin on Debian 11"

_DEVICES = ("/dev/vcio", "/dev/vcio_gencmd")


class _Answers(NamedTuple):
    """What the firmware said just now; None where it was not asked or had no answer."""

    flags: Optional[int] = None
    clock_mhz: Optional[float] = None
    temperature_c: Optional[float] = None
    core_volts: Optional[float] = None
    pmic: vcgencmd.PmicReading = vcgencmd.PmicReading({}, None)


class RaspberryPi(Board):
    """Any Raspberry Pi from the 3 on."""

    family = "raspberry-pi"

    def __init__(self, host: Host, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(host)
        self._clock = clock
        self._asked_s: Optional[float] = None
        #: Set false by the firmware's first refusal, so that no process is started in vain while running.
        self._answers = True
        self._has_pmic = True
        # The Zeros have no circuit that watches the supply: their bit 0 is always clear.
        self._watches_supply = not any("model-zero" in name for name in device_tree.compatible(host.files))

    def facts(self) -> BoardFacts:
        """Firmware, settings and supply; why vcgencmd is silent where it is."""
        said = self._ask("get_throttled")
        flags = vcgencmd.throttled(said.stdout)
        details = _from_files(self.host.files)
        if flags is None:
            return BoardFacts(details=details, unreadable=[self._silence(said)])
        since_boot = vcgencmd.throttle_words(flags >> vcgencmd.SINCE_BOOT_SHIFT)
        details["throttled_since_boot"] = ", ".join(since_boot) or "nothing"
        firmware = vcgencmd.firmware(self._ask("version").stdout)
        if firmware is not None:
            details["firmware"] = " of ".join(word for word in firmware if word)
        settings = vcgencmd.configuration(self._ask("get_config", "int").stdout)
        details.update({_SETTINGS[name]: str(settings[name]) for name in _SETTINGS if name in settings})
        return BoardFacts(details=details)

    def sample(self, thorough: bool) -> BoardSample:
        """The state now; what a command said belongs to the sample it was asked for, and to no later one."""
        plain = linux_sample(self.host.files)
        said = self._ask_all() if thorough else self._ask_now_and_then()
        return plain._replace(
            temperature_c=plain.temperature_c if plain.temperature_c is not None else said.temperature_c,
            cpu_mhz=said.clock_mhz or plain.cpu_mhz,
            throttled=_throttled(said.flags, plain.throttled),
            under_voltage=_under_voltage(said.flags, plain.under_voltage) if self._watches_supply else None,
            throttle_flags=said.flags,
            core_volts=said.core_volts,
            fan_rpm=fan_rpm(self.host.files),
            rails_w=said.pmic.rails_w,
            power_w=said.pmic.power_w,
            power_rail=POWER_RAIL if said.pmic.power_w is not None else None,
        )

    def _ask_all(self) -> _Answers:
        """Everything: no repetition is running. The first sample of the next one may ask again at once."""
        self._asked_s = None
        flags = vcgencmd.throttled(self._ask("get_throttled").stdout)
        self._answers = flags is not None
        if not self._answers:
            return _Answers()
        pmic = vcgencmd.pmic_read_adc(self._ask("pmic_read_adc").stdout)
        self._has_pmic = bool(pmic.rails_w)
        return _Answers(
            flags=flags,
            clock_mhz=vcgencmd.clock_mhz(self._ask("measure_clock", "arm").stdout),
            temperature_c=vcgencmd.temperature_c(self._ask("measure_temp").stdout),
            core_volts=vcgencmd.volts(self._ask("measure_volts", "core").stdout),
            pmic=pmic,
        )

    def _ask_now_and_then(self) -> _Answers:
        """Only what files cannot tell, and nothing for some seconds after."""
        now = self._clock()
        if not self._answers or (
            self._asked_s is not None and now - self._asked_s < RUNNING_COMMANDS_INTERVAL_S
        ):
            return _Answers()
        self._asked_s = now
        flags = vcgencmd.throttled(self._ask("get_throttled").stdout)
        self._answers = flags is not None
        if not self._answers:
            return _Answers()
        answers = _Answers(flags, vcgencmd.clock_mhz(self._ask("measure_clock", "arm").stdout))
        if self._has_pmic:
            answers = answers._replace(pmic=vcgencmd.pmic_read_adc(self._ask("pmic_read_adc").stdout))
        return answers

    def _ask(self, *words: str) -> Finished:
        return self.host.commands.run("vcgencmd", *words, timeout_s=_TIMEOUT_S)

    def _silence(self, said: Finished) -> str:
        """Why the firmware did not answer, and what helps."""
        lost = "throttling, true clock and power by vcgencmd"
        if said.status == NOT_FOUND:
            return f"{lost}: vcgencmd is not installed: {_INSTALL}"
        if not any(os.path.exists(self.host.files.path(device)) for device in _DEVICES):
            return f"{lost}: {_DEVICES[0]} is missing: sudo modprobe vcio, or a kernel of Raspberry Pi OS"
        words = said.stdout + said.stderr
        if "open device file" in words or "VCHI initialization failed" in words:
            return f"{lost}: add the user to group video: sudo usermod -aG video {_user()}, then log in anew"
        return f"{lost}: {said.reason}"


def fan_rpm(files: LinuxFiles) -> Optional[float]:
    """The Pi 5's fan; hwmon numbers vary, so it is found by name."""
    for monitor in files.matches("/sys/class/hwmon/hwmon*"):
        if files.text(monitor + "/name") in ("pwmfan", "cooling_fan"):
            rpm = files.integer(monitor + "/fan1_input")
            return None if rpm is None else float(rpm)
    return None


def supply_max_ma(files: LinuxFiles) -> Optional[int]:
    """What the supply agreed to deliver (Pi 5), mA: 5000 is the full amount."""
    return device_tree.number(files, "/chosen/power/max_current")


def _from_files(files: LinuxFiles) -> Dict[str, str]:
    details = {}
    revision = files.table("/proc/cpuinfo").get("Revision")
    if revision:
        details["revision_code"] = revision
    supply = supply_max_ma(files)
    if supply is not None:
        details["supply_max_ma"] = str(supply)
    return details


def _throttled(flags: Optional[int], cooling: Optional[bool]) -> Optional[bool]:
    """Linux may know that it slows down; that it does not says nothing of the firmware."""
    if cooling:
        return True
    return None if flags is None else bool(flags & vcgencmd.SLOWED_DOWN)


def _under_voltage(flags: Optional[int], alarm: Optional[bool]) -> Optional[bool]:
    """The firmware's bit of this moment, or the kernel's alarm of the last two seconds."""
    if flags is None:
        return alarm
    return bool(flags & vcgencmd.UNDER_VOLTAGE) or bool(alarm)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "$USER"
