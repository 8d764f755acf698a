"""Ticks of a logarithmic time axis: few, round, and labelled with their unit."""

from __future__ import annotations

import math
from typing import Any

from reports.units import duration

#: Mantissas to choose ticks from, the sparsest set first.
_MANTISSAS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0), tuple(range(10, 100, 5)))

#: Fewer ticks than this leave a reader guessing on a logarithmic axis.
_ENOUGH = 3
_AT_MOST = 8


def time_axis(low_ms: float, high_ms: float) -> dict[str, Any]:
    """A Plotly axis over [low, high] milliseconds (both positive), with a margin on either side."""
    margin = max(0.08 * math.log10(high_ms / low_ms), 0.04)
    start, end = math.log10(low_ms) - margin, math.log10(high_ms) + margin
    ticks = log_ticks(10.0**start, 10.0**end)
    return {
        "type": "log",
        "range": [round(start, 4), round(end, 4)],
        "tickvals": ticks,
        "ticktext": [duration(tick).replace(".00 ", " ").replace(".0 ", " ") for tick in ticks],
    }


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within [low, high], from the sparsest set that has enough of them."""
    chosen: list[float] = []
    for mantissas in _MANTISSAS:
        first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high))
        ticks = [float(f"{m * 10.0**power:.6g}") for power in range(first, last + 1) for m in mantissas]
        chosen = sorted({tick for tick in ticks if low <= tick <= high})
        if len(chosen) >= _ENOUGH:
            break
    return chosen[:: math.ceil(len(chosen) / _AT_MOST)] if chosen else [low]
