"""The board's state at a moment, sampled by the supervisor's process and never by the one that is timed."""

import os
import time
from typing import NamedTuple, Optional

from device_agents import portable
from device_agents.boards import generic_linux
from device_agents.boards.generic_linux import LinuxFiles
from device_agents.protocol import TelemetrySample


class CpuTimes(NamedTuple):
    """Seconds all processors together spent since boot: at work, and taken away by a hypervisor."""

    busy_s: float
    steal_s: float


def sample(phase: str, files: Optional[LinuxFiles] = None) -> TelemetrySample:
    """One reading of everything this board can tell; a few small files, well under a millisecond."""
    files = files or LinuxFiles()
    vmstat = files.table("/proc/vmstat", " ")
    return TelemetrySample(
        time=time.time(),
        phase=phase,
        temperature_c=generic_linux.temperature_c(files),
        cpu_mhz=generic_linux.cpu_mhz(files),
        cpu_mhz_limit=generic_linux.cpu_mhz_limit(files),
        governor=generic_linux.governor(files),
        throttled=generic_linux.cooling_active(files),
        under_voltage=generic_linux.under_voltage(files),
        throttle_count=generic_linux.throttle_count(files),
        load_1m=_load(),
        memory_available_bytes=_available(files),
        swapped_pages=_sum(vmstat.get("pswpin"), vmstat.get("pswpout")),
        power_w=None,
    )


def oom_kills(files: Optional[LinuxFiles] = None) -> Optional[int]:
    """How many processes the kernel has killed for lack of memory since boot (Linux 4.13 on)."""
    value = (files or LinuxFiles()).table("/proc/vmstat", " ").get("oom_kill")
    return int(value) if value and value.isdecimal() else None


def cpu_times(files: Optional[LinuxFiles] = None) -> Optional[CpuTimes]:
    """Work of the whole board so far; proc(5): user nice system idle iowait irq softirq steal, in ticks."""
    words = ((files or LinuxFiles()).text("/proc/stat") or "").split("\n", 1)[0].split()
    if len(words) < 8 or words[0] != "cpu" or not all(word.isdecimal() for word in words[1:9]):
        busy_s = portable.busy_cpu_s()
        return None if busy_s is None else CpuTimes(busy_s, 0.0)
    ticks = [int(word) for word in words[1:9]] + [0] * (9 - len(words))
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks[:8]
    hz = float(os.sysconf("SC_CLK_TCK"))
    return CpuTimes((user + nice + system + irq + softirq) / hz, steal / hz)


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
