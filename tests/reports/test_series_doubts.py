"""What the samples give away, and how seldom they cry wolf, counted over seeded simulations."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from reports import series_doubts as doubts
from reports.series_doubts import series_doubts

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

NOISES: dict[str, Draw] = {
    "normal 1 %": lambda rng, n: 1e7 * (1 + 0.01 * rng.standard_normal(n)),
    "normal 10 %": lambda rng, n: 1e7 * (1 + 0.10 * rng.standard_normal(n)),
    "lognormal 20 %": lambda rng, n: 1e7 * rng.lognormal(0, 0.2, n),
    "constant and exponential": lambda rng, n: 1e7 * (1 + rng.exponential(0.1, n)),
    "uniform 20 %": lambda rng, n: 1e7 * rng.uniform(0.8, 1.2, n),
    "heavy tail": lambda rng, n: 1e7 * (1 + 0.1 * rng.pareto(3, n)),
    "null runtime on a 18.5 ns clock": lambda rng, n: rng.choice(
        [55, 74, 93, 111], n, p=[0.4, 0.3, 0.2, 0.1]
    ),
}


def alarms(draw: Draw, count: int, trials: int = 60, repetitions: int = 3) -> Counter[str]:
    rng = np.random.default_rng(count)
    found: Counter[str] = Counter()
    for _ in range(trials):
        made = [draw(rng, count).astype(np.int64) for _ in range(repetitions)]
        found.update(doubt.reason for doubt in series_doubts(made))
    return Counter({reason: round(100 * times / trials) for reason, times in found.items()})


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("count", [100, 1000])
def test_steady_noise_is_hardly_ever_doubted(noise: str, count: int) -> None:
    percents = alarms(NOISES[noise], count)
    assert percents["bimodal"] == 0
    assert percents["drift"] <= 4
    assert percents["repetitions_disagree"] <= 4
    assert percents["slow_outliers"] <= 4
    assert percents["too_few_samples"] == 0


@pytest.mark.parametrize("sigma", [0.3, 0.5, 0.8])
def test_one_skewed_mode_is_never_taken_for_two(sigma: float) -> None:
    assert alarms(lambda rng, n: 1e7 * rng.lognormal(0, sigma, n), 500)["bimodal"] == 0


@pytest.mark.parametrize("change", [0.10, -0.10])
def test_a_trend_of_ten_percent_is_drift(change: float) -> None:
    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        trend: NDArray[np.float64] = 1e7 * np.linspace(1, 1 + change, n) * (1 + 0.02 * rng.standard_normal(n))
        return trend

    assert alarms(draw, 200)["drift"] == 100


def test_drift_says_which_repetition_and_by_how_much() -> None:
    steady, rising = np.full(200, 10_000_000), np.linspace(10e6, 12e6, 200).astype(np.int64)
    found = doubts.drift([steady, rising])
    assert found is not None
    assert found.detail == (
        "repetition 2 became 16 % slower while it ran: 10.2 ms in its first fifth, 11.8 ms in its last"
    )


def test_a_slow_start_is_not_a_drift_of_the_whole() -> None:
    series = np.full(400, 10_000_000)
    series[:20] = 30_000_000
    assert doubts.drift([series]) is None


def test_a_rise_of_less_than_a_microsecond_is_the_clocks() -> None:
    assert doubts.drift([np.linspace(60, 900, 400).astype(np.int64)]) is None


def test_a_coarse_clock_sets_its_own_bound() -> None:
    series = np.repeat(np.array([10, 11, 12]), 100) * 1_000_000
    assert doubts.negligible_ns(series) == 3_000_000
    assert doubts.drift([series]) is None


def test_too_short_a_repetition_is_not_judged_for_drift() -> None:
    assert doubts.drift([np.linspace(10e6, 20e6, 49).astype(np.int64)]) is None


@pytest.mark.parametrize(("share", "apart"), [(0.5, 0.2), (0.3, 0.3), (0.15, 0.5)])
def test_two_speeds_are_seen(share: float, apart: float) -> None:
    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        slow = np.where(rng.random(n) < share, 1 + apart, 1.0)
        made: NDArray[np.float64] = 1e7 * slow * (1 + 0.02 * rng.standard_normal(n))
        return made

    assert alarms(draw, 300)["bimodal"] >= 98


def test_bimodal_names_both_speeds_and_their_shares() -> None:
    rng = np.random.default_rng(3)
    series = np.concatenate([rng.normal(10e6, 1e5, 300), rng.normal(14e6, 1e5, 100)]).astype(np.int64)
    found = doubts.bimodal([series])
    assert found is not None
    assert found.detail == "repetition 1 has two speeds: 75 % of its samples near 10.0 ms, 25 % near 14.0 ms"


def test_two_speeds_fifteen_percent_apart_or_less_are_let_pass() -> None:
    rng = np.random.default_rng(3)
    series = np.concatenate([rng.normal(10e6, 1e5, 300), rng.normal(11.4e6, 1e5, 300)]).astype(np.int64)
    assert doubts.bimodal([series]) is None


def test_more_than_a_hundredth_beyond_twice_the_median_are_outliers() -> None:
    series = np.full(1000, 10_000_000)
    series[:10] = 21_000_000
    assert doubts.slow_outliers([series]) is None
    series[:11] = 21_000_000
    found = doubts.slow_outliers([series])
    assert found is not None
    assert found.detail == (
        "11 of 1000 samples took over 2 times the median of 10.0 ms (up to 21.0 ms); "
        "their excess is 1 % of the total time"
    )


def test_a_single_huge_outlier_counts_by_its_weight() -> None:
    series = np.full(1000, 10_000_000)
    series[500] = 1_000_000_000
    found = doubts.slow_outliers([series])
    assert found is not None
    assert "9 % of the total time" in found.detail


def test_a_single_mild_outlier_among_few_samples_is_let_pass() -> None:
    assert doubts.slow_outliers([np.array([10_000_000] * 29 + [21_000_000])]) is None


def test_fresh_processes_that_differ_by_more_than_five_percent_disagree() -> None:
    levels = [np.arange(100) * 100 + level for level in (10_000_000, 10_200_000, 10_900_000)]
    found = doubts.repetitions_disagree(levels)
    assert found is not None
    assert found.detail == "the medians of 3 fresh processes lie between 10.0 ms and 10.9 ms, 9 % apart"
    assert doubts.repetitions_disagree(levels[:2]) is None


def test_medians_within_their_own_intervals_do_not_disagree() -> None:
    rng = np.random.default_rng(0)
    few = [(1e7 * rng.lognormal(0, 0.5, 8)).astype(np.int64) for _ in range(3)]
    assert doubts.repetitions_disagree(few) is None


def test_ten_samples_are_too_few_and_eleven_tight_ones_are_enough() -> None:
    found = doubts.too_few_samples([np.full(10, 10_000_000)])
    assert found is not None
    assert found.detail == "10 samples; a median needs 11 to be bounded"
    assert doubts.too_few_samples([np.full(11, 10_000_000)]) is None


def test_a_median_known_to_no_better_than_five_percent_is_too_few_samples() -> None:
    found = doubts.too_few_samples([np.linspace(8e6, 12e6, 30).astype(np.int64)], ("max_time",))
    assert found is not None
    assert found.detail == (
        "30 samples place the median between 9.24 ms and 10.8 ms, more than 10 % wide; "
        "sampling ended before the interval was narrow enough"
    )


def test_no_samples_at_all_make_a_case_invalid() -> None:
    (found,) = series_doubts([np.array([], dtype=np.int64)])
    assert (found.reason, found.severity) == ("too_few_samples", "invalid")
