"""Reading files of /proc and /sys that any Linux board may have; unreadable means absent (None)."""

import glob
import os
from typing import Dict, List, Optional


class LinuxFiles:
    """A view of /proc and /sys under `root`, so that a recorded tree can stand in for a board."""

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def path(self, path: str) -> str:
        """Where `path` lies in this view."""
        return os.path.join(self.root, path.lstrip("/"))

    def text(self, path: str) -> Optional[str]:
        """Content of a file, without the NULs and blanks around it."""
        try:
            with open(self.path(path), "rb") as file:
                content = file.read(1 << 16)
        except OSError:  # a gated thermal zone answers EAGAIN or EINVAL; that is as good as absent
            return None
        return content.replace(b"\0", b" ").decode("utf-8", "replace").strip() or None

    def integer(self, path: str) -> Optional[int]:
        """A file with one number."""
        text = self.text(path)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def matches(self, pattern: str) -> List[str]:
        """Paths of this view that match, sorted."""
        skip = len(self.root.rstrip("/"))
        return sorted(path[skip:] for path in glob.glob(self.path(pattern)))

    def integers(self, pattern: str) -> List[int]:
        """The numbers of all files that match and can be read."""
        values = (self.integer(path) for path in self.matches(pattern))
        return [value for value in values if value is not None]

    def table(self, path: str, separator: str = ":") -> Dict[str, str]:
        """`name: value` lines; of equal names the first counts."""
        fields: Dict[str, str] = {}
        for line in (self.text(path) or "").splitlines():
            name, found, value = line.partition(separator)
            if found:
                fields.setdefault(name.strip(), value.strip().strip('"'))
        return fields


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
