"""One series of latencies in figures: percentiles by one stated rule, each with its interval or withheld."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reports.intervals import Interval, mean_interval
from reports.order_statistics import bounding_ranks, minimum_count
from reports.record import Summary

#: The rule, in the words the report shows. Nearest rank because its value is a latency that really occurred,
#: it never interpolates across a gap between two modes, and it is the very order statistic whose rank the
#: binomial intervals bound. (LoadGen and onnxruntime take rank floor(n p) + 1, numpy interpolates, OpenVINO
#: takes this one; they differ by at most one rank.)
PERCENTILE_RULE = (
    "Percentile p is the smallest measured latency that at least p % of all iterations do not exceed "
    "(nearest rank, no interpolation). Its interval (95 % confidence) comes from order statistics and is "
    "widened where the repetitions differ. A percentile is withheld (—) when there are too few iterations to "
    f"bound it at 99 % confidence: p90 needs {minimum_count(0.9)}, p95 {minimum_count(0.95)}, "
    f"p99 {minimum_count(0.99)}."
)

_NS_PER_MS = 1e6

#: Below this many samples no two of them bound the median at 95 %: 2 * 0.5**5 = 6.25 % stay outside.
MEDIAN_INTERVAL_COUNT = 6


def percentile(ordered: NDArray[np.int64], q: float) -> int:
    """The q-quantile (0 < q <= 1) of ascending samples by nearest rank, in their unit."""
    if ordered.size == 0:
        raise ValueError("a percentile of no samples")
    # Rounded first: 0.07 * 100 is 7.000000000000001 and would otherwise take rank 8.
    rank = math.ceil(round(ordered.size * q, 9))
    return int(ordered[min(max(rank, 1), ordered.size) - 1])


def quantile_interval(ordered: NDArray[np.int64], q: float) -> tuple[int, int] | None:
    """Order-statistic 95 % interval of the q-quantile of ascending samples; None when they are too few."""
    ranks = bounding_ranks(int(ordered.size), q)
    return None if ranks is None else (int(ordered[ranks[0] - 1]), int(ordered[ranks[1] - 1]))


def median_interval(ordered: NDArray[np.int64]) -> tuple[int, int]:
    """Order-statistic 95 % interval of the median of ascending samples.

    Of fewer than 6 samples it is their range, whose confidence is lower (1 - 2 * 0.5**n).
    """
    if ordered.size == 0:
        raise ValueError("an interval of no samples")
    return quantile_interval(ordered, 0.5) or (int(ordered[0]), int(ordered[-1]))


def summarize(series_ns: Sequence[NDArray[np.int64]]) -> Summary:
    """Figures in milliseconds of nanosecond samples, one array per repetition; empty ones count for nothing.

    Raises ValueError when there is no sample at all or one is negative. `stdev` divides by n - 1 and is 0 for
    one sample. Iterations of one process resemble each other more than those of another process, so the
    pooled interval alone would be too narrow: it is widened to hold Student's t interval of the repetitions'
    own percentiles (wherever each repetition bounds the percentile by itself), which sees the variance
    between processes. Slow swings within one process are not in it; `drift` and `bimodal` tell of them.
    """
    repetitions = [np.sort(np.asarray(series, dtype=np.int64)) for series in series_ns if len(series)]
    if not repetitions:
        raise ValueError("no samples to summarize")
    pooled = repetitions[0] if len(repetitions) == 1 else np.sort(np.concatenate(repetitions))
    if pooled[0] < 0:
        raise ValueError(f"a latency of {pooled[0]} ns: a monotonic clock does not go back")
    median_ci = median_interval(pooled)
    p90, p90_ci = _bounded(pooled, repetitions, 0.90)
    p95, p95_ci = _bounded(pooled, repetitions, 0.95)
    p99, p99_ci = _bounded(pooled, repetitions, 0.99)
    return Summary(
        count=int(pooled.size),
        mean=float(pooled.mean()) / _NS_PER_MS,
        stdev=float(pooled.std(ddof=1)) / _NS_PER_MS if pooled.size > 1 else 0.0,
        min=int(pooled[0]) / _NS_PER_MS,
        p50=percentile(pooled, 0.5) / _NS_PER_MS,
        p90=p90,
        p95=p95,
        p99=p99,
        max=int(pooled[-1]) / _NS_PER_MS,
        p50_ci95=_milliseconds(_widened(median_ci, pooled, repetitions, 0.5)),
        p90_ci95=p90_ci,
        p95_ci95=p95_ci,
        p99_ci95=p99_ci,
    )


def _bounded(
    pooled: NDArray[np.int64], repetitions: Sequence[NDArray[np.int64]], q: float
) -> tuple[float | None, Interval | None]:
    """A percentile and its interval in milliseconds, both None when the sample is too small for it."""
    if pooled.size < minimum_count(q):
        return None, None
    interval = quantile_interval(pooled, q)
    value = percentile(pooled, q) / _NS_PER_MS
    if interval is None:
        return value, None
    return value, _milliseconds(_widened(interval, pooled, repetitions, q))


def _widened(
    interval: Interval, pooled: NDArray[np.int64], repetitions: Sequence[NDArray[np.int64]], q: float
) -> Interval:
    """The pooled interval, stretched to hold the t interval of the repetitions' own q-quantiles.

    Its lower end stays at or above the fastest sample: with two repetitions t is 12.7 and would pass below 0.
    """
    needed = 1 if q == 0.5 else minimum_count(q)
    if any(series.size < needed for series in repetitions):
        return interval
    between = mean_interval([float(percentile(series, q)) for series in repetitions])
    if between is None:
        return interval
    return min(interval[0], max(between[0], float(pooled[0]))), max(interval[1], between[1])


def _milliseconds(interval: Interval) -> Interval:
    return interval[0] / _NS_PER_MS, interval[1] / _NS_PER_MS
