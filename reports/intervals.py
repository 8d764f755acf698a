"""Intervals of means, shares, differences and ratios at 95 % confidence, by exact short formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence

Interval = tuple[float, float]

#: 97.5 % quantile of the standard normal distribution.
Z95 = 1.959963984540054

#: 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom (any table of it; tested against scipy).
_T95 = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)


def t95(degrees: int) -> float:
    """The 97.5 % quantile of Student's t; beyond 30 degrees by a Cornish-Fisher term (error 0.003)."""
    if degrees < 1:
        raise ValueError(f"Student's t has at least 1 degree of freedom, not {degrees}")
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    return Z95 + (Z95**3 + Z95) / (4.0 * degrees)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean of independent values; None for fewer than two."""
    k = len(values)
    if k < 2:
        return None
    mean = math.fsum(values) / k
    variance = math.fsum((value - mean) ** 2 for value in values) / (k - 1)
    half = t95(k - 1) * math.sqrt(variance / k)
    return mean - half, mean + half


def wilson(successes: int, n: int) -> Interval:
    """Interval of a share from `successes` out of n; unlike the textbook one it is sane near 0 and 1.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is not a share")
    share = successes / n
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def difference_interval(a: float, a_ci: Interval, b: float, b_ci: Interval) -> Interval:
    """Interval of a - b from the interval of each, taken as independent.

    The sampled examples are the same for both, so the truth is rather narrower: it errs towards "the same".
    Source: Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10; general form (MOVER) by
    Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702.
    """
    low = a - b - math.hypot(a - a_ci[0], b_ci[1] - b)
    high = a - b + math.hypot(a_ci[1] - a, b - b_ci[0])
    return low, high


def ratio_interval(a: float, a_ci: Interval, b: float, b_ci: Interval) -> Interval:
    """Interval of a / b for positive quantities: `difference_interval` of the logarithms."""
    if min(a, b, a_ci[0], b_ci[0]) <= 0.0:
        raise ValueError("a ratio's interval needs positive quantities")
    low, high = difference_interval(math.log(a), _log(a_ci), math.log(b), _log(b_ci))
    return math.exp(low), math.exp(high)


def excludes(interval: Interval, value: float) -> bool:
    """Whether the interval rules the value out."""
    return not interval[0] <= value <= interval[1]


def _log(interval: Interval) -> Interval:
    return math.log(interval[0]), math.log(interval[1])
