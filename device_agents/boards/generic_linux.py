"""What any Linux board tells of itself in /proc and /sys."""

import os
from typing import Optional

from device_agents import portable
from device_agents.boards.board import Board, BoardFacts, BoardSample
from device_agents.boards.linux_files import LinuxFiles


class GenericLinux(Board):
    """A board, PC or virtual machine without sensors or clocks of its own kind."""

    family = "generic-linux"

    def facts(self) -> BoardFacts:
        """Nothing beyond what every machine has."""
        return BoardFacts()

    def sample(self, thorough: bool) -> BoardSample:  # noqa: ARG002 - it is all files
        """A few small files, well under a millisecond; `thorough` adds nothing."""
        return linux_sample(self.host.files)


def linux_sample(files: LinuxFiles) -> BoardSample:
    """What plain Linux says of the board's state; other boards start from it."""
    vmstat = files.table("/proc/vmstat", " ")
    return BoardSample(
        temperature_c=temperature_c(files),
        cpu_mhz=cpu_mhz(files),
        cpu_mhz_limit=cpu_mhz_limit(files),
        governor=governor(files),
        throttled=cooling_active(files),
        under_voltage=under_voltage(files),
        throttle_count=throttle_count(files),
        load_1m=_load(),
        memory_available_bytes=_available(files),
        swapped_pages=_sum(vmstat.get("pswpin"), vmstat.get("pswpout")),
    )


def temperature_c(files: LinuxFiles) -> Optional[float]:
    """The hottest thermal zone. Zones that stand for nothing real are left out.

    PMIC-Die is a constant 100 C on Jetsons, and a gated cluster reads below -200 C.
    """
    hottest: Optional[float] = None
    for zone in files.matches("/sys/class/thermal/thermal_zone*"):
        millidegrees = files.integer(zone + "/temp")
        if millidegrees is None or files.text(zone + "/type") == "PMIC-Die":
            continue
        degrees = millidegrees / 1000.0
        if -40.0 < degrees < 150.0 and (hottest is None or degrees > hottest):
            hottest = degrees
    return hottest


def cpu_mhz(files: LinuxFiles) -> Optional[float]:
    """The fastest core's present clock as cpufreq reports it."""
    values = files.integers("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    return max(values) / 1000.0 if values else None


def cpu_mhz_limit(files: LinuxFiles) -> Optional[float]:
    """The highest clock the governor may choose now; firmware and cooling lower it."""
    values = files.integers("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq")
    return max(values) / 1000.0 if values else None


def cpu_max_mhz(files: LinuxFiles) -> Optional[float]:
    """The highest clock the hardware has."""
    values = files.integers("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq")
    return max(values) / 1000.0 if values else None


def governor(files: LinuxFiles) -> Optional[str]:
    """The cpufreq governor; several different ones are joined by a comma."""
    found = {
        files.text(path)
        for path in files.matches("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    }
    return ",".join(sorted(name for name in found if name)) or None


def throttle_count(files: LinuxFiles) -> Optional[int]:
    """How often x86 cores and packages were throttled for heat since boot."""
    counts = files.integers("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    return sum(counts) if counts else None


def cooling_active(files: LinuxFiles) -> Optional[bool]:
    """Whether a cooling device is slowing the processor down now; None where there is none."""
    states = []
    for device in files.matches("/sys/class/thermal/cooling_device*"):
        kind = (files.text(device + "/type") or "").lower()
        state = files.integer(device + "/cur_state")
        if state is not None and ("cpufreq" in kind or "throttle" in kind or kind.startswith("cpu")):
            states.append(state)
    return any(states) if states else None


def under_voltage(files: LinuxFiles) -> Optional[bool]:
    """The Raspberry Pi's supply monitor, which is plain hwmon; None elsewhere."""
    for monitor in files.matches("/sys/class/hwmon/hwmon*"):
        if files.text(monitor + "/name") == "rpi_volt":
            alarm = files.integer(monitor + "/in0_lcrit_alarm")
            return None if alarm is None else bool(alarm)
    return None


def _load() -> Optional[float]:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _available(files: LinuxFiles) -> Optional[int]:
    words = files.table("/proc/meminfo").get("MemAvailable", "").split()
    if not words:
        return portable.available_memory_bytes()
    return int(words[0]) * 1024 if words[0].isdecimal() else None


def _sum(*values: Optional[str]) -> Optional[int]:
    numbers = [int(value) for value in values if value and value.isdecimal()]
    return sum(numbers) if numbers else None
