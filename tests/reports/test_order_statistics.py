import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from reports.order_statistics import bounding_ranks, minimum_count


@pytest.mark.parametrize(("q", "needed"), [(0.50, 11), (0.90, 64), (0.95, 130), (0.99, 662)])
def test_the_minimum_counts_are_those_of_mlperf_loadgen(q: float, needed: int) -> None:
    assert minimum_count(q) == needed


@pytest.mark.parametrize("q", [0.0, 1.0, -0.5])
def test_there_is_no_minimum_count_outside_the_open_unit_interval(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        minimum_count(q)


@pytest.mark.parametrize(
    ("n", "q", "ranks"),
    [
        (5, 0.50, None),
        (6, 0.50, (1, 6)),
        (10, 0.50, (2, 9)),
        (100, 0.50, (40, 61)),
        (662, 0.99, (650, 661)),
        (300_000, 0.50, (149_463, 150_538)),
        (0, 0.50, None),
    ],
)
def test_bounding_ranks_are_the_tabled_ones(n: int, q: float, ranks: tuple[int, int] | None) -> None:
    assert bounding_ranks(n, q) == ranks


@settings(max_examples=60, deadline=None)
@given(st.integers(6, 5000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_either_tail_beyond_the_ranks_is_at_most_a_fortieth_and_no_narrower_ranks_would_do(
    n: int, q: float
) -> None:
    ranks = bounding_ranks(n, q)
    if ranks is None:
        assert binom.cdf(0, n, q) > 0.025 or binom.sf(n - 1, n, q) > 0.025
        return
    lower, upper = ranks
    assert binom.cdf(lower - 1, n, q) <= 0.025 < binom.cdf(lower, n, q)
    assert binom.sf(upper - 1, n, q) <= 0.025 + 1e-12
    assert binom.sf(upper - 2, n, q) > 0.025
