import math

import pytest
from scipy.stats import binomtest, t

from reports.intervals import difference_interval, excludes, mean_interval, ratio_interval, t95, wilson


@pytest.mark.parametrize("degrees", [1, 2, 5, 30, 31, 60, 200])
def test_the_t_quantiles_are_those_of_scipy(degrees: int) -> None:
    assert t95(degrees) == pytest.approx(t.ppf(0.975, degrees), abs=0.004)


def test_no_degree_of_freedom_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        t95(0)


def test_the_mean_of_one_value_has_no_interval() -> None:
    assert mean_interval([3.0]) is None


def test_the_interval_of_two_means_is_wide_because_two_say_little() -> None:
    low, high = mean_interval([10.0, 11.0]) or (0.0, 0.0)
    assert (low, high) == (pytest.approx(10.5 - 12.7062 * 0.5), pytest.approx(10.5 + 12.7062 * 0.5))


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (18, 20), (20, 20), (448, 450), (1, 1)])
def test_wilson_is_that_of_scipy(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_eighteen_of_twenty_lie_between_70_and_97_percent() -> None:
    assert wilson(18, 20) == (pytest.approx(0.699, abs=5e-4), pytest.approx(0.972, abs=5e-4))


def test_more_successes_than_trials_are_no_share() -> None:
    with pytest.raises(ValueError, match="not a share"):
        wilson(3, 2)


def test_newcombes_example_of_a_difference() -> None:
    # Newcombe 1998, table II, example (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339.
    interval = difference_interval(56 / 70, wilson(56, 70), 48 / 80, wilson(48, 80))
    assert interval == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert excludes(interval, 0.0)


def test_one_more_of_twenty_is_no_difference() -> None:
    assert not excludes(difference_interval(18 / 20, wilson(18, 20), 17 / 20, wilson(17, 20)), 0.0)


def test_a_ratios_interval_adds_the_relative_widths_as_squares() -> None:
    low, high = ratio_interval(20.0, (19.0, 21.0), 10.0, (9.5, 10.5))
    assert low == pytest.approx(2.0 * math.exp(-math.hypot(math.log(20 / 19), math.log(1.05))))
    assert high == pytest.approx(2.0 * math.exp(math.hypot(math.log(1.05), math.log(10 / 9.5))))


def test_a_ratio_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        ratio_interval(1.0, (0.0, 2.0), 1.0, (0.5, 2.0))
