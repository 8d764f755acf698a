"""The same readings from psutil, for systems without /proc (macOS); None where it is not installed.

On Linux everything is read from /proc and /sys, so no board needs psutil.
"""

import importlib
import platform
from typing import Any, Optional


def rss_bytes() -> Optional[int]:
    """Resident memory of this process."""
    psutil = _psutil()
    return None if psutil is None else int(psutil.Process().memory_info().rss)


def total_memory_bytes() -> Optional[int]:
    """Memory of the machine."""
    psutil = _psutil()
    return None if psutil is None else int(psutil.virtual_memory().total)


def available_memory_bytes() -> Optional[int]:
    """Memory a new program could have without swapping."""
    psutil = _psutil()
    return None if psutil is None else int(psutil.virtual_memory().available)


def busy_cpu_s() -> Optional[float]:
    """Seconds all processors together were at work since boot."""
    psutil = _psutil()
    if psutil is None:
        return None
    times = psutil.cpu_times()
    return float(sum(times) - times.idle)


def _psutil() -> Any:
    if platform.system() == "Linux":
        return None
    try:
        return importlib.import_module("psutil")
    except ImportError:
        return None
