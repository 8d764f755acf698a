"""Latencies over time as a small drawing: drift, two speeds and repetitions show at a glance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Size of the drawing in its own units; the page scales it.
WIDTH, HEIGHT = 160.0, 32.0

#: Points over all repetitions together; each is the median of its stretch of iterations.
_POINTS = 72
_GAP = 4.0

#: The full height spans at least this share of the median, so that harmless noise looks harmless.
_LEAST_SPAN = 0.20


@dataclass(frozen=True)
class Sparkline:
    """SVG polyline points, one list per repetition, and what they show in words."""

    lines: tuple[str, ...]
    label: str


def sparkline(repetitions: Sequence[NDArray[np.int64]]) -> Sparkline | None:
    """The drawing of nanosecond samples in order, one line per repetition; None without any."""
    filled = [series for series in repetitions if len(series)]
    if not filled:
        return None
    per_line = max(2, _POINTS // len(filled))
    curves = [_stretches(series, per_line) for series in filled]
    everything = np.concatenate(curves)
    middle = float(np.median(everything))
    if middle <= 0.0:
        return None
    low, high = float(everything.min()), float(everything.max())
    span = max(high - low, _LEAST_SPAN * middle, 1.0)
    bottom = (low + high - span) / 2.0
    room = (WIDTH - _GAP * (len(curves) - 1)) / len(curves)
    lines = []
    for place, curve in enumerate(curves):
        left = place * (room + _GAP)
        step = room / max(1, len(curve) - 1)
        points = (
            f"{left + index * step:.1f},{HEIGHT - 2.0 - (value - bottom) / span * (HEIGHT - 4.0):.1f}"
            for index, value in enumerate(curve)
        )
        lines.append(" ".join(points))
    return Sparkline(
        tuple(lines), f"from {(low - middle) / middle:+.0%} to {(high - middle) / middle:+.0%} of its median"
    )


def _stretches(series: NDArray[np.int64], points: int) -> NDArray[np.float64]:
    size = math.ceil(len(series) / points)
    return np.array([np.median(series[start : start + size]) for start in range(0, len(series), size)])
