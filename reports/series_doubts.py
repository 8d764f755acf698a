"""Doubts that the samples themselves give: each test looks at the nanoseconds and says what it saw.

Every test needs an effect that matters in practice (5 % and more, and more than `negligible_ns`) and not
only a significant one: with 100 000 samples everything is significant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reports.order_statistics import minimum_count, normal_quantile
from reports.record import Doubt
from reports.statistics import MEDIAN_INTERVAL_COUNT, median_interval, percentile
from reports.units import duration, percent

Series = NDArray[np.int64]

#: Differences below this are the clock's and the interpreter's, not the model's: timing an empty call costs
#: 50-100 ns, and the boards' timers tick every 18-41 ns.
NEGLIGIBLE_NS = 1000.0

#: Clocks coarser than 1/3 us: fewer than this many ticks are quantisation.
NEGLIGIBLE_TICKS = 3
_TELLING_VALUES = 2

#: Users pick a precision on differences of tens of percent; 5 % is where a trend starts to change the pick.
MIN_EFFECT = 0.05

#: The median's interval (95 %) may be this share of the median wide, that is +-5 % like MIN_EFFECT.
MAX_MEDIAN_WIDTH = 0.10

#: Blocks of a repetition that the trend test compares; their medians hide single spikes.
DRIFT_BLOCKS = 20
DRIFT_MIN_BLOCK = 5

#: Chance of the trend test to fire on steady noise, shared among the repetitions of a case.
DRIFT_ALPHA = 0.01

#: Two speeds further apart than this, each holding at least this share of the samples of a repetition.
MODE_SEPARATION = 0.15
MODE_MASS = 0.10
MODE_MIN_SAMPLES = 50

#: Samples slower than this many medians are outliers: a frame is lost.
OUTLIER_FACTOR = 2.0
#: Too many: more than 1 %, so that they would set the p99. Too heavy: they take more than 5 % of the time.
OUTLIER_SHARE = 0.01
OUTLIER_WEIGHT = 0.05
OUTLIER_MIN_COUNT = 2


def series_doubts(repetitions: Sequence[Series], stopped_by: Sequence[str] = ()) -> tuple[Doubt, ...]:
    """Every doubt the samples of a case give, one array of nanoseconds per repetition."""
    filled = [series for series in repetitions if len(series)]
    if not filled:
        return (Doubt("too_few_samples", "there is not one sample", "invalid"),)
    found = (
        too_few_samples(filled, stopped_by),
        drift(filled),
        bimodal(filled),
        slow_outliers(filled),
        repetitions_disagree(filled),
    )
    return tuple(doubt for doubt in found if doubt is not None)


def negligible_ns(series: Series) -> float:
    """The difference in ns below which nothing is judged: 1 us, or 3 ticks where the clock is coarser.

    The tick is the greatest common divisor of all differences: exact for a quantised clock, 1 otherwise.
    Two different values have but one difference, which tells nothing of the clock.
    """
    steps = np.diff(np.sort(series))  # np.unique of integers takes ten times as long
    steps = steps[steps > 0]
    tick = int(np.gcd.reduce(steps)) if len(steps) >= _TELLING_VALUES else 0
    return max(NEGLIGIBLE_NS, float(NEGLIGIBLE_TICKS * tick))


def too_few_samples(repetitions: Sequence[Series], stopped_by: Sequence[str] = ()) -> Doubt | None:
    """Fewer samples than bound a median, or a median known to no better than +-5 %."""
    pooled = np.sort(np.concatenate(list(repetitions)))
    if pooled.size < minimum_count(0.5):
        return Doubt(
            "too_few_samples", f"{pooled.size} samples; a median needs {minimum_count(0.5)} to be bounded"
        )
    low, high = median_interval(pooled)
    median = percentile(pooled, 0.5)
    if high - low <= negligible_ns(pooled) or high - low <= MAX_MEDIAN_WIDTH * median:
        return None
    cut = " before the interval was narrow enough" if set(stopped_by) - {"precision"} else ""
    return Doubt(
        "too_few_samples",
        f"{pooled.size} samples place the median between {_ns(low)} and {_ns(high)}, more than "
        f"{percent(MAX_MEDIAN_WIDTH, 0)} wide; sampling ended{cut}",
    )


def drift(repetitions: Sequence[Series]) -> Doubt | None:
    """A trend within a repetition: Mann-Kendall on block medians, and 5 % between its first and last fifth.

    Block medians make it blind to spikes, ranks to the noise's shape. Ties from a coarse clock only lower
    its score. Source: Mann, Econometrica 13 (1945) 245-259; Kendall, Rank Correlation Methods.
    """
    limit = normal_quantile(1.0 - DRIFT_ALPHA / 2.0 / len(repetitions))
    for number, series in enumerate(repetitions, start=1):
        blocks = min(DRIFT_BLOCKS, len(series) // DRIFT_MIN_BLOCK)
        if blocks < DRIFT_BLOCKS // 2:
            continue
        medians = _block_medians(series, blocks)
        fifth = len(series) // 5
        first, last = float(np.median(series[:fifth])), float(np.median(series[-fifth:]))
        change = last - first
        if abs(change) <= max(MIN_EFFECT * first, negligible_ns(series)):
            continue
        if abs(_mann_kendall_z(medians)) > limit:
            return Doubt(
                "drift",
                f"repetition {number} became {percent(abs(change) / first, 0)} "
                f"{'slower' if change > 0 else 'faster'} while it ran: {_ns(first)} in its first fifth, "
                f"{_ns(last)} in its last",
            )
    return None


def bimodal(repetitions: Sequence[Series]) -> Doubt | None:
    """Two speeds within a repetition: modes 15 % apart with a valley between, each 10 % of the samples."""
    for number, series in enumerate(repetitions, start=1):
        modes = two_modes(np.sort(series))
        if modes is not None:
            low, high, share = modes
            return Doubt(
                "bimodal",
                f"repetition {number} has two speeds: {percent(1 - share, 0)} of its samples near "
                f"{_ns(low)}, {percent(share, 0)} near {_ns(high)}",
            )
    return None


def two_modes(ordered: Series) -> tuple[float, float, float] | None:
    """Medians in ns of two clusters of ascending samples and the slow one's share; None for one mode.

    The samples are split where the squares within both parts are least (Otsu's threshold; Fisher, J. Am.
    Stat. Assoc. 53 (1958) 789-798), which always finds two parts. They are modes only if the density
    between them is lower than at both: a unimodal density has no point between below its lower end.
    """
    n = len(ordered)
    if n < MODE_MIN_SAMPLES:
        return None
    split = _best_split(ordered)
    fast, slow = ordered[:split], ordered[split:]
    low, high = float(np.median(fast)), float(np.median(slow))
    gap = high - low
    if gap <= max(MODE_SEPARATION * low, negligible_ns(ordered)):
        return None
    # Three windows a quarter of the gap wide: around either median, and the emptiest one between them.
    width = gap / 4.0
    peak = min(_count(ordered, low, width), _count(ordered, high, width))
    centres = np.linspace(low + width, high - width, 9)
    valley = min(_count(ordered, float(centre), width) for centre in centres)
    # Nine looks at a Poisson count: three standard deviations and a half are kept as margin.
    margin = 3.5 * math.sqrt(peak + valley)
    return (low, high, (n - split) / n) if peak - valley > max(margin, 0.5 * peak) else None


def slow_outliers(repetitions: Sequence[Series]) -> Doubt | None:
    """More than 1 % of the samples above twice the median, or fewer that add over 5 % to the time."""
    pooled = np.concatenate(list(repetitions))
    median = float(np.median(pooled))
    slow = pooled[pooled > median + max((OUTLIER_FACTOR - 1.0) * median, negligible_ns(pooled))]
    if not len(slow):
        return None
    share = len(slow) / len(pooled)
    weight = float((slow - median).sum()) / float(pooled.sum())
    many = share > OUTLIER_SHARE and len(slow) >= OUTLIER_MIN_COUNT
    if not many and weight <= OUTLIER_WEIGHT:
        return None
    return Doubt(
        "slow_outliers",
        f"{len(slow)} of {len(pooled)} samples took over {OUTLIER_FACTOR:g} times the median of "
        f"{_ns(median)} (up to {_ns(float(slow.max()))}); "
        f"their excess is {percent(weight, 0)} of the total time",
    )


def repetitions_disagree(repetitions: Sequence[Series]) -> Doubt | None:
    """Medians of fresh processes that differ by more than 5 %, beyond what their own intervals allow."""
    fastest, slowest = None, None
    for series in repetitions:
        if len(series) < MEDIAN_INTERVAL_COUNT:
            continue
        ordered = np.sort(series)
        entry = (percentile(ordered, 0.5), median_interval(ordered))
        fastest = entry if fastest is None or entry[0] < fastest[0] else fastest
        slowest = entry if slowest is None or entry[0] > slowest[0] else slowest
    if fastest is None or slowest is None:
        return None
    spread = slowest[0] - fastest[0]
    if spread <= max(MIN_EFFECT * fastest[0], negligible_ns(np.concatenate(list(repetitions)))):
        return None
    if slowest[1][0] <= fastest[1][1]:
        return None
    return Doubt(
        "repetitions_disagree",
        f"the medians of {len(repetitions)} fresh processes lie between {_ns(fastest[0])} and "
        f"{_ns(slowest[0])}, {percent(spread / fastest[0], 0)} apart",
    )


def _block_medians(series: Series, blocks: int) -> NDArray[np.float64]:
    """Medians of equal consecutive blocks; a remainder at the end is left out."""
    size = len(series) // blocks
    medians: NDArray[np.float64] = np.median(series[: size * blocks].reshape(blocks, size), axis=1)
    return medians


def _mann_kendall_z(values: NDArray[np.float64]) -> float:
    """Standard score of the number of rises over falls among all pairs, with continuity correction."""
    n = len(values)
    score = sum(float(np.sign(values[i + 1 :] - values[i]).sum()) for i in range(n - 1))
    deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18.0)
    return math.copysign(max(abs(score) - 1.0, 0.0), score) / deviation


def _best_split(ordered: Series) -> int:
    """Where to cut ascending samples in two, each at least MODE_MASS of all.

    The slowest twentieth is left out of the choice, or a few huge outliers would draw the cut to them.
    """
    n = len(ordered)
    core = ordered[: n - n // 20].astype(np.float64)
    core -= core[0]
    sums = np.cumsum(core)
    first, last = math.ceil(MODE_MASS * n), math.floor((1.0 - MODE_MASS) * n)
    cuts = np.arange(first, last + 1)
    left = sums[cuts - 1]
    # Least squares within is greatest square between; the total of squares does not depend on the cut.
    between = left**2 / cuts + (sums[-1] - left) ** 2 / (len(core) - cuts)
    return int(cuts[int(np.argmax(between))])


def _count(ordered: Series, centre: float, width: float) -> int:
    """Ascending samples within `width` around `centre`."""
    ends = np.searchsorted(ordered, [centre - width / 2.0, centre + width / 2.0])
    return int(ends[1] - ends[0])


def _ns(nanoseconds: float) -> str:
    return duration(nanoseconds / 1e6)
