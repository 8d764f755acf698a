"""Memory of this process by stage; read between stages, never inside the timed loop. Absent is None."""

import contextlib
import sys
from typing import Dict, NamedTuple, Optional

from device_agents import portable

_STATUS = "/proc/self/status"


class Reading(NamedTuple):
    """Bytes now; `peak_rss` since the process began or `reset_peak` was last called."""

    rss: Optional[int]
    peak_rss: Optional[int]
    pss: Optional[int]
    swap: Optional[int]


def reset_peak() -> bool:
    """Let VmHWM start again from the present RSS (proc(5), clear_refs 5); False where the kernel cannot."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return True


def go_first() -> None:
    """Let the kernel end this process before any other of its user where memory is short.

    Else it may take the supervisor, which then cannot say what happened, or what else runs on the board.
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("800")


def read() -> Reading:
    """The memory of this process at this moment."""
    status = _kib_fields(_STATUS)
    if not status:
        return Reading(portable.rss_bytes(), _peak_by_getrusage(), None, None)
    # smaps_rollup exists since Linux 4.14; JetPack 4 has 4.9 and gets the sum over smaps.
    rollup = _kib_fields("/proc/self/smaps_rollup") or _kib_fields("/proc/self/smaps", add=True)
    return Reading(status.get("VmRSS"), status.get("VmHWM"), rollup.get("Pss"), status.get("VmSwap"))


def _kib_fields(path: str, add: bool = False) -> Dict[str, int]:
    """`Name:   123 kB` lines as bytes; with `add`, equal names are summed."""
    fields: Dict[str, int] = {}
    try:
        # smaps names the files mapped, in whatever encoding; Python 3.6 would decode them as ASCII.
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                words = line.split()
                if len(words) == 3 and words[2] == "kB" and words[1].isdigit():
                    name = words[0].rstrip(":")
                    fields[name] = int(words[1]) * 1024 + (fields.get(name, 0) if add else 0)
    except OSError:
        return {}
    return fields


def _peak_by_getrusage() -> Optional[int]:
    """ru_maxrss counts KiB on Linux and bytes on macOS (getrusage(2) of each)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
