"""Figures as people read them: three significant digits, the unit that fits, a dash for what is not there."""

from __future__ import annotations

import math
import time

#: What stands where there is no figure. Absent is never shown as 0.
ABSENT = "—"


def significant(value: float, digits: int = 3) -> str:
    """A plain decimal with that many significant digits, never in exponent form: 1234.6 -> 1235, 0.0834."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{value:+}"
    if value == 0.0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(decimals, 12)}f}"
    # 9.996 rounds up into the next decade and would show one digit too many.
    again = max(0, digits - 1 - math.floor(math.log10(abs(float(text))))) if float(text) else decimals
    return f"{value:.{min(again, 12)}f}" if again < decimals else text


def duration(milliseconds: float) -> str:
    """A time from milliseconds in the unit that fits: 83 ns, 4.21 µs, 12.3 ms, 2.40 s."""
    size = abs(milliseconds)
    if size < 1e-3:
        return f"{significant(milliseconds * 1e6, 2 if size * 1e6 < 100 else 3)} ns"
    if size < 1.0:
        return f"{significant(milliseconds * 1e3)} µs"
    if size < 1e3:
        return f"{significant(milliseconds)} ms"
    return f"{significant(milliseconds / 1e3)} s"


def seconds(value: float) -> str:
    """A longer time: 0.42 s, 12.3 s, 4 min 05 s, 1 h 12 min."""
    if value < 60.0:
        return f"{significant(value, 2 if value < 1 else 3)} s"
    if value < 3600.0:
        return f"{int(value // 60)} min {int(value % 60):02d} s"
    return f"{int(value // 3600)} h {int(value % 3600 // 60):02d} min"


def moment(unix_seconds: float) -> str:
    """A time of day as UTC; clocks of boards may say any year: 2026-11-21 22:00:00 UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_seconds))
    except (OverflowError, ValueError, OSError):
        return f"{unix_seconds:.0f} s after 1970"


def size(count: float) -> str:
    """Bytes in binary units: 812 B, 35.1 KiB, 14.2 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024.0 or unit == "GiB":
            return f"{count:.0f} B" if unit == "B" else f"{significant(count)} {unit}"
        count /= 1024.0
    raise AssertionError("unreachable")


def percent(share: float, decimals: int = 1) -> str:
    """A share as percent: 0.9956 -> 99.6 %."""
    return f"{share * 100.0:.{decimals}f} %"


def factor(ratio: float) -> str:
    """A ratio as a factor: 1.91x, 12.4x."""
    return f"{significant(ratio)}x"


def plural(count: int, singular: str, many: str | None = None) -> str:
    """A count with its noun: 1 case, 3 cases."""
    return f"{count} {singular if count == 1 else many or singular + 's'}"
