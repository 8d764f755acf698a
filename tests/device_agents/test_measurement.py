"""The timed loop under a clock that goes on only when a step takes time: every figure is exact."""

from __future__ import annotations

import gc
import itertools
import math
import random
import struct
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from device_agents.measurement import (
    BLOCK_S,
    Clock,
    Samples,
    Steps,
    as_bytes,
    measure,
    median_interval_width,
    run_block,
    system_clock,
    time_once,
)
from device_agents.protocol import Measurement

MS = 1_000_000
SETTINGS = Measurement(
    repetitions=1,
    warmup_min_s=0.0,
    warmup_max_s=1.0,
    min_iterations=1,
    max_iterations=100_000,
    min_time_s=0.0,
    max_time_s=10.0,
    median_ci_width=0.02,
)


class FakeClock:
    """Integer nanoseconds; time passes in the steps alone."""

    def __init__(self) -> None:
        self.ns = 5_000_000_000

    def clock(self) -> Clock:
        """As Python 3.7 and newer have it."""
        return Clock(lambda: self.ns, 1e9, "q")

    def float_clock(self) -> Clock:
        """As Python 3.6 has it: seconds."""
        return Clock(lambda: self.ns / 1e9, 1.0, "d")

    def taking(self, ns: int) -> Callable[[], None]:
        """A step of that duration."""

        def step() -> None:
            self.ns += ns

        return step

    def taking_each(self, durations: Iterator[int]) -> Callable[[], None]:
        """A step that takes another time whenever it is made."""

        def step() -> None:
            self.ns += next(durations)

        return step

    def steps(self, invoke_ns: int) -> Steps:
        """An iteration of nothing but the invoke."""
        return Steps(self.taking(0), self.taking(invoke_ns), self.taking(0))


def measured(durations: Iterator[int], **changes: Any) -> Samples:
    """A measurement of invokes with those durations."""
    fake = FakeClock()
    steps = Steps(fake.taking(0), fake.taking_each(durations), fake.taking(0))
    return measure(steps, SETTINGS._replace(**changes), fake.clock())


def test_latency_spans_the_three_calls_and_compute_the_middle_one() -> None:
    fake = FakeClock()
    steps = Steps(fake.taking(10), fake.taking(1000), fake.taking(200))
    latency, compute = array("q", [0] * 3), array("q", [0] * 3)
    run_block(steps, fake.clock(), latency, compute)
    assert latency.tolist() == [1210, 1210, 1210]
    assert compute.tolist() == [1000, 1000, 1000]


def test_where_the_device_keeps_the_time_compute_is_what_it_says() -> None:
    fake = FakeClock()
    steps = Steps(fake.taking(10), fake.taking(1000), fake.taking(200), lambda: 2.5e-6)
    latency, compute = array("q", [0] * 2), array("q", [0] * 2)
    run_block(steps, fake.clock(), latency, compute)
    assert (latency.tolist(), compute.tolist()) == ([1210, 1210], [2500, 2500])


def test_the_first_inference_is_told_in_seconds() -> None:
    fake = FakeClock()
    assert time_once(fake.steps(1_500_000), fake.clock()) == 0.0015
    assert time_once(fake.steps(1_500_000), fake.float_clock()) == pytest.approx(0.0015, abs=1e-12)


def test_the_first_inference_counts_copies_too() -> None:
    fake = FakeClock()
    assert time_once(Steps(fake.taking(MS), fake.taking(MS), fake.taking(MS)), fake.clock()) == 0.003


# --- warm-up --------------------------------------------------------------------------------------


def test_warm_up_ends_once_three_blocks_in_a_row_have_the_same_median() -> None:
    samples = measured(itertools.repeat(10 * MS))
    # A block of warm-up is 20 ms: one iteration, then two at a time.
    assert len(samples.warmups) == 1 + 2 + 2
    assert samples.warmup_s == 0.05


def test_one_block_alone_does_not_stand_still() -> None:
    # The second block equals the first and the third does not: two equal blocks are not enough.
    durations = itertools.chain([10 * MS] * 3, [5 * MS] * 2, itertools.repeat(5 * MS))
    samples = measured(durations)
    assert len(samples.warmups) > 5


def test_warm_up_goes_on_while_medians_fall() -> None:
    falling = (max(1, 64 >> i) * MS for i in itertools.count())
    samples = measured(falling)
    assert samples.warmups[:7].tolist() == [64 * MS, 32 * MS, 16 * MS, 8 * MS, 4 * MS, 2 * MS, 1 * MS]
    assert set(samples.latency) == {MS}


def test_a_change_of_two_percent_is_standing_still_and_more_is_not() -> None:
    within = measured(10 * MS if i % 2 else 10 * MS + 200_000 for i in itertools.count())
    beyond = measured((MS * (100 + 3 * (i % 2)) for i in itertools.count()), warmup_max_s=2.0)
    assert within.warmup_s < 0.1
    assert beyond.warmup_s >= 2.0


def test_warm_up_takes_its_minimum_even_when_steady() -> None:
    samples = measured(itertools.repeat(10 * MS), warmup_min_s=0.5)
    assert samples.warmup_s == 0.51  # 10 ms, then whole blocks of 20 ms


def test_warm_up_that_never_gets_steady_ends_at_its_maximum() -> None:
    growing = (round(1.05**i * MS) for i in itertools.count())
    samples = measured(growing, warmup_max_s=0.3, max_time_s=0.1)
    before_the_last = sum(samples.warmups[:-1]) / 1e9
    assert before_the_last < 0.3 <= samples.warmup_s < 0.3 + 0.02


def test_warm_up_samples_are_kept_and_never_mixed_in() -> None:
    numbered = (10 * MS + i for i in itertools.count())
    samples = measured(numbered, max_time_s=1.0, median_ci_width=0.0)
    together = samples.warmups.tolist() + samples.latency.tolist()
    assert together == [10 * MS + i for i in range(len(together))]


def test_warm_up_makes_no_more_iterations_than_are_to_be_measured() -> None:
    samples = measured(itertools.cycle([MS, 2 * MS]), max_iterations=7, warmup_min_s=9.0, warmup_max_s=9.0)
    assert len(samples.warmups) == 7


# --- when to stop ---------------------------------------------------------------------------------


def test_a_steady_series_stops_by_precision_after_one_block() -> None:
    samples = measured(itertools.repeat(MS))
    assert samples.stopped_by == "precision"
    assert len(samples.latency) == int(BLOCK_S * 1000)
    assert samples.loop_s == BLOCK_S


def test_precision_does_not_count_before_the_minimum_of_iterations() -> None:
    samples = measured(itertools.repeat(MS), min_iterations=101)
    assert (samples.stopped_by, len(samples.latency)) == ("precision", 150)


def test_precision_does_not_count_before_the_minimum_of_time() -> None:
    samples = measured(itertools.repeat(MS), min_time_s=0.21)
    assert (samples.stopped_by, samples.loop_s) == ("precision", 0.25)


def test_a_restless_series_stops_by_time() -> None:
    rng = random.Random(1)
    samples = measured(
        (rng.randint(MS, 3 * MS) for _ in itertools.count()), median_ci_width=0.001, max_time_s=2
    )
    assert samples.stopped_by == "max_time"
    assert 2.0 <= samples.loop_s < 2.0 + 3 * BLOCK_S


def test_the_maximum_of_iterations_is_exact() -> None:
    rng = random.Random(1)
    restless = (rng.randint(MS, 3 * MS) for _ in itertools.count())
    samples = measured(restless, median_ci_width=0.0, max_iterations=777)
    assert (samples.stopped_by, len(samples.latency), len(samples.compute)) == ("max_iterations", 777, 777)


def test_an_iteration_longer_than_all_bounds_is_made_once() -> None:
    samples = measured(itertools.repeat(60_000 * MS))
    assert (len(samples.warmups), len(samples.latency), samples.stopped_by) == (1, 1, "max_time")


def test_a_clock_too_coarse_to_see_an_iteration_ends_all_the_same() -> None:
    samples = measured(itertools.repeat(0), max_iterations=1000)
    assert (samples.stopped_by, set(samples.latency)) == ("max_iterations", {0})


# --- figures --------------------------------------------------------------------------------------


def test_python_3_6_gives_the_same_nanoseconds() -> None:
    def run(name: str) -> Samples:
        fake, rng = FakeClock(), random.Random(3)
        jitter = (rng.randint(900_000, 1_100_000) for _ in itertools.count())
        steps = Steps(fake.taking(1234), fake.taking_each(jitter), fake.taking(567))
        return measure(steps, SETTINGS._replace(max_iterations=500), getattr(fake, name)())

    exact, seconds = run("clock"), run("float_clock")
    assert seconds.latency == exact.latency
    assert seconds.compute == exact.compute
    assert seconds.warmups == exact.warmups
    assert seconds.latency.typecode == "q"
    assert seconds.stopped_by == exact.stopped_by


@pytest.mark.parametrize(
    ("samples", "width"),
    [
        (range(1, 101), (61 - 41) / 51),  # ranks 50 -+ 9.8
        (range(1, 26), (19 - 8) / 13),  # ranks 12.5 -+ 4.9: sorted[7], sorted[18] around sorted[12]
        ([100] * 50, 0.0),
        ([5.0, 1.0, 4.0, 2.0, 3.0, 8.0, 7.0, 6.0], (8 - 2) / 5),
        (range(7), math.inf),  # too few to bound it
        ([1], math.inf),
        ([0] * 100, math.inf),  # a share of nothing
    ],
)
def test_the_width_of_the_medians_interval(samples: Any, width: float) -> None:
    assert median_interval_width(samples) == pytest.approx(width)


def test_the_interval_holds_the_median_of_the_distribution_as_often_as_it_says() -> None:
    rng = random.Random(5)
    held = 0
    for _ in range(2000):
        ordered = sorted(rng.random() for _ in range(100))
        width = median_interval_width(ordered) * ordered[50]
        low = ordered[40]
        held += low <= 0.5 <= low + width
    assert 0.93 < held / 2000 < 0.97


def test_a_timed_block_allocates_nothing_that_the_collector_tracks() -> None:
    clock = system_clock()
    latency, compute = array("q", [0] * 5000), array("q", [0] * 5000)
    fake = FakeClock()
    steps = Steps(fake.taking(1), fake.taking(2), fake.taking(3))
    gc.collect()
    gc.disable()
    try:
        before = gc.get_count()[0]
        run_block(steps, clock, latency, compute)
        after = gc.get_count()[0]
    finally:
        gc.enable()
    assert after - before < 10


def test_the_systems_clock_counts_nanoseconds_and_never_goes_back() -> None:
    clock = system_clock()
    reads = [clock.now() for _ in range(1000)]
    assert reads == sorted(reads)
    assert (clock.ticks_per_s, clock.typecode) == (1e9, "q")


def test_samples_are_stored_one_series_after_the_other_as_little_endian_int64() -> None:
    stored = as_bytes([array("q", [1, -2]), array("q"), array("q", [2**40])])
    assert stored == struct.pack("<3q", 1, -2, 2**40)
