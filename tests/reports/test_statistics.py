import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from reports.statistics import (
    PERCENTILE_RULE,
    median_interval,
    percentile,
    quantile_interval,
    summarize,
)


def ns(*milliseconds: float) -> NDArray[np.int64]:
    return np.array([round(value * 1e6) for value in milliseconds], dtype=np.int64)


def test_a_percentile_is_a_sample_that_at_least_that_share_does_not_exceed() -> None:
    ordered = np.arange(1, 101)
    assert [percentile(ordered, q) for q in (0.01, 0.07, 0.5, 0.9, 0.99, 1.0)] == [1, 7, 50, 90, 99, 100]


def test_the_median_of_an_even_count_is_the_lower_middle() -> None:
    assert percentile(np.array([1, 2, 3, 4]), 0.5) == 2


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile(np.array([], dtype=np.int64), 0.5)


def test_the_figures_of_a_known_series() -> None:
    summary = summarize([ns(*range(1, 101))])
    assert (summary.count, summary.min, summary.max, summary.mean) == (100, 1.0, 100.0, 50.5)
    assert summary.stdev == pytest.approx(29.011491975882016)
    assert (summary.p50, summary.p90, summary.p95, summary.p99) == (50.0, 90.0, None, None)
    assert summary.p50_ci95 == (40.0, 61.0)
    assert summary.p90_ci95 == (84.0, 96.0)
    assert summary.p95_ci95 is summary.p99_ci95 is None


@pytest.mark.parametrize(
    ("count", "shown"), [(63, ()), (64, ("p90",)), (130, ("p90", "p95")), (662, ("p90", "p95", "p99"))]
)
def test_a_percentile_is_withheld_until_the_sample_bounds_it(count: int, shown: tuple[str, ...]) -> None:
    summary = summarize([ns(*range(1, count + 1))])
    assert tuple(name for name in ("p90", "p95", "p99") if getattr(summary, name) is not None) == shown
    assert (
        tuple(name for name in ("p90", "p95", "p99") if getattr(summary, f"{name}_ci95") is not None) == shown
    )


def test_one_sample_has_no_spread_and_an_interval_of_itself() -> None:
    summary = summarize([ns(7)])
    assert (summary.p50, summary.stdev, summary.p50_ci95) == (7.0, 0.0, (7.0, 7.0))


def test_no_sample_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarize([np.array([], dtype=np.int64)])


def test_a_negative_latency_is_refused() -> None:
    with pytest.raises(ValueError, match="-5 ns"):
        summarize([np.array([10, -5])])


def test_repetitions_are_pooled_and_empty_ones_count_for_nothing() -> None:
    summary = summarize([ns(3, 1), ns(), ns(2)])
    assert (summary.count, summary.p50) == (3, 2.0)


def test_repetitions_that_agree_keep_the_pooled_interval() -> None:
    same = ns(*range(1, 101))
    assert summarize([same, same, same]).p50_ci95 == summarize([np.concatenate([same] * 3)]).p50_ci95


def test_repetitions_that_differ_widen_the_interval_to_students_t() -> None:
    narrow = np.linspace(-0.001, 0.001, 101)
    summary = summarize([ns(*(level + narrow)) for level in (10.0, 10.2, 10.4)])
    half = 4.3027 * 0.2 / 3**0.5
    assert summary.p50_ci95 == (pytest.approx(max(10.2 - half, 9.999)), pytest.approx(10.2 + half))


def test_two_repetitions_never_put_the_median_below_the_fastest_sample() -> None:
    assert summarize([ns(*[1.0] * 20), ns(*[2.0] * 20)]).p50_ci95[0] == 1.0


def test_fewer_than_six_samples_give_their_range() -> None:
    assert median_interval(np.array([1, 2, 9])) == (1, 9)
    assert quantile_interval(np.array([1, 2, 9]), 0.5) is None


def coverage(between: float, repetitions: int, trials: int = 400) -> float:
    """How often the interval holds the true median of all processes, whose speeds vary by `between`."""
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(trials):
        speeds = 1e7 * (1.0 + rng.normal(0, between, repetitions))
        low, high = summarize(
            [(speed * rng.lognormal(0, 0.05, 200)).astype(np.int64) for speed in speeds]
        ).p50_ci95
        held += low <= 10.0 <= high
    return held / trials


@pytest.mark.parametrize(
    ("between", "repetitions"), [(0.0, 1), (0.0, 3), (0.01, 3), (0.05, 3), (0.05, 2), (0.05, 5)]
)
def test_the_median_interval_holds_its_confidence_whether_processes_differ_or_not(
    between: float, repetitions: int
) -> None:
    assert coverage(between, repetitions) >= 0.93


def test_three_hundred_thousand_samples_take_well_under_a_tenth_of_a_second() -> None:
    series = [np.random.default_rng(1).integers(1, 10**8, 100_000) for _ in range(3)]
    summarize(series)
    begun = time.perf_counter()
    summarize(series)
    assert time.perf_counter() - begun < 0.1


def test_the_rule_names_the_counts_it_needs() -> None:
    assert "p90 needs 64, p95 130, p99 662" in PERCENTILE_RULE


def test_statistics_and_verdict_load_no_heavy_library() -> None:
    check = (
        "import sys, reports.statistics, reports.verdict, reports.sentences\n"
        "import reports.csv_export, reports.html.page\n"
        "print([name for name in ('scipy', 'pandas', 'plotly', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
