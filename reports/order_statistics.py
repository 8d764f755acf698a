"""How many samples a percentile needs, and which ranks bound it: exact binomial counts, distribution-free.

The number of samples at or below the true q-quantile is Binomial(n, q) whatever the latencies look like.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

#: Confidence at which a percentile has to be bounded before it is shown (MLPerf LoadGen early stopping).
BOUND_CONFIDENCE = 0.99

#: Confidence of every interval shown.
INTERVAL_CONFIDENCE = 0.95

#: Ranks further from the mean than this many standard deviations carry less than 1e-30 of the mass.
_WINDOW_SD = 12.0


@lru_cache(maxsize=64)
def minimum_count(q: float) -> int:
    """The fewest samples that bound the q-quantile from above at 99 % confidence, one sample being slower.

    The smallest n with P(Binomial(n, 1 - q) <= 1) <= 0.01: p50 11, p90 64, p95 130, p99 662.
    Source: MLPerf LoadGen, loadgen/early_stopping.cc (tolerance 0, one over-latency query).
    """
    if not 0.0 < q < 1.0:
        raise ValueError(f"a quantile lies between 0 and 1, not {q}")
    n = 2
    while q**n + n * (1.0 - q) * q ** (n - 1) > 1.0 - BOUND_CONFIDENCE:
        n += 1
    return n


@lru_cache(maxsize=1024)
def bounding_ranks(n: int, q: float) -> tuple[int, int] | None:
    """Ranks (from 1) of the two samples between which the q-quantile lies with at least 95 % confidence.

    Equal tails of at most 2.5 %; None when n samples have no such pair (below 6 for the median).
    Source: Hahn and Meeker, Statistical Intervals, section 5.2 (distribution-free, order statistics).
    """
    if n < 1:
        return None
    tail = (1.0 - INTERVAL_CONFIDENCE) / 2.0
    first, cdf = _binomial_cdf(n, q)
    # The lower sample is too high when fewer than `lower` samples lie below the quantile: P(B <= lower - 1).
    lower = first + int(np.searchsorted(cdf, tail, side="right"))
    # The upper one is too low when at least `upper` samples lie below it: 1 - P(B <= upper - 1).
    upper = first + int(np.searchsorted(cdf, 1.0 - tail, side="left")) + 1
    return (lower, upper) if lower >= 1 and upper <= n else None


def _binomial_cdf(n: int, q: float) -> tuple[int, NDArray[np.float64]]:
    """First rank k of a window around the mean, and P(Binomial(n, q) <= k) from there on.

    Summed term by term from the exact first one, so that no special function of scipy is needed.
    """
    spread = _WINDOW_SD * math.sqrt(n * q * (1.0 - q)) + _WINDOW_SD
    first = max(0, math.floor(n * q - spread))
    last = min(n, math.ceil(n * q + spread))
    log_first = (
        math.lgamma(n + 1)
        - math.lgamma(first + 1)
        - math.lgamma(n - first + 1)
        + first * math.log(q)
        + (n - first) * math.log1p(-q)
    )
    ranks = np.arange(first, last, dtype=np.float64)
    steps = np.log((n - ranks) / (ranks + 1.0)) + math.log(q) - math.log1p(-q)
    log_mass = log_first + np.concatenate(([0.0], np.cumsum(steps)))
    # Divided by the total, which is 1 but for the rounding of lgamma at large n.
    mass = np.exp(log_mass - log_mass.max())
    return first, np.cumsum(mass) / mass.sum()


def normal_quantile(p: float) -> float:
    """The p-quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(p)
