"""The only clock reads of a latency.

One iteration is three calls: inputs into the runtime, the runtime's own invoke, outputs out of it.
`latency` spans all three (host memory to host memory), `compute` the invoke alone. Between two clock
reads stands nothing but the call; everything else (deciding when to stop, keeping books) happens between
blocks of iterations, outside any sample.
"""

import math
import time
from array import array
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

from device_agents.protocol import Measurement


class Steps(NamedTuple):
    """The three calls of an iteration; none takes an argument."""

    copy_inputs: Callable[[], Any]
    invoke: Callable[[], Any]
    copy_outputs: Callable[[], Any]
    #: Seconds the device itself took for the last `invoke`, where that returns before the work is done
    #: (CUDA). Asked after an iteration, outside of its latency.
    device_s: Optional[Callable[[], float]] = None


#: A block is about this long, so that a decision every block costs nothing and overshoots little.
BLOCK_S = 0.05
WARMUP_BLOCK_S = 0.02

#: Warm-up has ended when this many blocks in a row have a median this close to the one before.
STEADY_BLOCKS = 2
STEADY_CHANGE = 0.02

#: The median's interval is looked at again only after this growth, because looking sorts all samples.
CHECK_GROWTH = 1.3

_HAS_NS = hasattr(time, "perf_counter_ns")


class Samples(NamedTuple):
    """What a timed loop gives: nanoseconds, in the order taken."""

    warmups: "array[int]"
    latency: "array[int]"
    compute: "array[int]"
    warmup_s: float
    loop_s: float
    stopped_by: str


class Clock(NamedTuple):
    """A monotonic clock: `now()` counts `ticks_per_s`; Python 3.6 has seconds as float only."""

    now: Callable[[], Any]
    ticks_per_s: float
    typecode: str

    def ticks(self, seconds: float) -> Any:
        """Seconds as this clock counts them."""
        return int(seconds * self.ticks_per_s) if self.typecode == "q" else seconds * self.ticks_per_s


def system_clock() -> Clock:
    """CLOCK_MONOTONIC, in integer nanoseconds where Python has them (3.7)."""
    if _HAS_NS:
        return Clock(time.perf_counter_ns, 1e9, "q")
    return Clock(time.perf_counter, 1.0, "d")


def run_block(steps: Steps, clock: Clock, latency: Any, compute: Any) -> None:
    """Time as many iterations as the preallocated arrays are long."""
    now = clock.now
    copy_inputs, invoke, copy_outputs, device_s = steps
    if device_s is not None:
        _run_device_block(steps, clock, latency, compute)
        return
    for i in range(len(latency)):
        begun = now()
        copy_inputs()
        started = now()
        invoke()
        ended = now()
        copy_outputs()
        finished = now()
        latency[i] = finished - begun
        compute[i] = ended - started


def _run_device_block(steps: Steps, clock: Clock, latency: Any, compute: Any) -> None:
    """The same where the device keeps the time of `invoke`."""
    now, ticks = clock.now, clock.ticks
    copy_inputs, invoke, copy_outputs, device_s = steps
    assert device_s is not None
    for i in range(len(latency)):
        begun = now()
        copy_inputs()
        invoke()
        copy_outputs()
        finished = now()
        latency[i] = finished - begun
        compute[i] = ticks(device_s())


def time_once(steps: Steps, clock: Clock) -> float:
    """Seconds of a single iteration."""
    latency = array(clock.typecode, [0])
    run_block(steps, clock, latency, array(clock.typecode, [0]))
    return float(latency[0]) / clock.ticks_per_s


def measure(steps: Steps, settings: Measurement, clock: Clock) -> Samples:
    """Warm up until steady, then sample until the median is known well enough or a bound is reached."""
    warmups, warmup_s = _warm_up(steps, settings, clock)
    # The end of the warm-up is the best guess of what an iteration takes from here on.
    size = _block_size(_median(warmups[-200:]) / clock.ticks_per_s, BLOCK_S, settings.max_iterations)
    latency = array(clock.typecode)
    compute = array(clock.typecode)
    next_check = 0
    loop_begun = clock.now()
    while True:
        block = min(size, settings.max_iterations - len(latency))
        block_latency, block_compute = _zeros(clock, block), _zeros(clock, block)
        run_block(steps, clock, block_latency, block_compute)
        latency.extend(block_latency)
        compute.extend(block_compute)
        elapsed = (clock.now() - loop_begun) / clock.ticks_per_s
        if len(latency) >= settings.max_iterations:
            stopped_by = "max_iterations"
            break
        if elapsed >= settings.max_time_s:
            stopped_by = "max_time"
            break
        enough = len(latency) >= settings.min_iterations and elapsed >= settings.min_time_s
        if enough and len(latency) >= next_check:
            if median_interval_width(latency) <= settings.median_ci_width:
                stopped_by = "precision"
                break
            next_check = int(len(latency) * CHECK_GROWTH)
    loop_s = (clock.now() - loop_begun) / clock.ticks_per_s
    return Samples(
        _nanoseconds(warmups, clock),
        _nanoseconds(latency, clock),
        _nanoseconds(compute, clock),
        warmup_s,
        loop_s,
        stopped_by,
    )


def _warm_up(steps: Steps, settings: Measurement, clock: Clock) -> Tuple["array[Any]", float]:
    """Iterate in short blocks until their medians stand still; the samples are kept, never mixed in."""
    warmups = array(clock.typecode)
    begun = clock.now()
    steady = 0
    size = 1
    previous = math.nan  # close to nothing: one block alone does not stand still
    while True:
        block = _zeros(clock, size)
        run_block(steps, clock, block, _zeros(clock, size))
        warmups.extend(block)
        median = _median(block)
        steady = steady + 1 if abs(median - previous) <= STEADY_CHANGE * previous else 0
        previous = median
        elapsed = (clock.now() - begun) / clock.ticks_per_s
        if elapsed >= settings.warmup_max_s or len(warmups) >= settings.max_iterations:
            break
        if elapsed >= settings.warmup_min_s and steady >= STEADY_BLOCKS:
            break
        room = max(1, settings.max_iterations - len(warmups))
        size = _block_size(median / clock.ticks_per_s, WARMUP_BLOCK_S, room)
    return warmups, (clock.now() - begun) / clock.ticks_per_s


def median_interval_width(samples: Sequence[float]) -> float:
    """Width of the median's 95 % order-statistic interval as a share of the median.

    Ranks n/2 -+ 1.96 sqrt(n)/2: the normal approximation of the binomial(n, 1/2) count of samples below the
    median, good from about 20 samples on. The report computes the exact interval from the same samples.
    """
    ordered = sorted(samples)
    count = len(ordered)
    reach = 1.96 * math.sqrt(count) / 2
    low, high = int(count / 2 - reach), math.ceil(count / 2 + reach)
    median = ordered[count // 2]
    if low < 0 or high >= count or median <= 0:
        return math.inf
    return float(ordered[high] - ordered[low]) / float(median)


def _block_size(seconds_each: float, block_s: float, limit: int) -> int:
    return max(1, min(limit, int(block_s / max(seconds_each, 1e-9))))


def _median(samples: Sequence[float]) -> float:
    return float(sorted(samples)[len(samples) // 2])


def _zeros(clock: Clock, count: int) -> "array[Any]":
    return array(clock.typecode, [0]) * count


def _nanoseconds(ticks: "array[Any]", clock: Clock) -> "array[int]":
    if clock.typecode == "q":
        return ticks
    scale = 1e9 / clock.ticks_per_s
    return array("q", [round(tick * scale) for tick in ticks])


def as_bytes(series: List["array[int]"]) -> bytes:
    """The series one after the other as little-endian int64."""
    import sys

    parts = []
    for samples in series:
        if sys.byteorder == "big":
            samples = array("q", samples)
            samples.byteswap()
        parts.append(samples.tobytes())
    return b"".join(parts)
