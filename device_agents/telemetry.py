"""The board's state at a moment, sampled by the supervisor's process and never by the one that is timed."""

import os
import time
from typing import NamedTuple, Optional

from device_agents import portable
from device_agents.boards.board import Board
from device_agents.boards.linux_files import LinuxFiles
from device_agents.protocol import TelemetrySample


class CpuTimes(NamedTuple):
    """Seconds all processors together spent since boot: at work, and taken away by a hypervisor."""

    busy_s: float
    steal_s: float


def sample(board: Board, phase: str) -> TelemetrySample:
    """One reading of what this board can tell, as cheap as it can be while a repetition is `running`."""
    state = board.sample(thorough=phase != "running")
    return TelemetrySample(time=time.time(), phase=phase, monotonic_s=time.monotonic(), **state._asdict())


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
