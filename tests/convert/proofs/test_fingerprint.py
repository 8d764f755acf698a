from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from convert.proofs.fingerprint import content_error, take_fingerprint

IMAGE = np.random.RandomState(0).standard_normal((1, 3, 12, 20)).astype(np.float32) + np.arange(
    12, dtype=np.float32
).reshape(12, 1)


def error(expected: NDArray[np.generic], actual: NDArray[np.generic]) -> float:
    return content_error(take_fingerprint(expected), take_fingerprint(actual))


@pytest.mark.parametrize(
    "same",
    [
        IMAGE.transpose(0, 2, 3, 1),
        IMAGE.transpose(0, 1, 3, 2),
        IMAGE[0],
        IMAGE.reshape(3, 1, 12, 1, 20),
        IMAGE.reshape(3, 240),
        IMAGE.reshape(-1),
    ],
    ids=["NHWC", "rows and columns", "no batch axis", "axes of 1", "positions in a row", "flat"],
)
def test_a_layout_changes_nothing(same: NDArray[np.float32]) -> None:
    assert error(IMAGE, same) == pytest.approx(0.0, abs=1e-6)


def test_reading_nchw_as_nhwc_is_no_layout() -> None:
    assert error(IMAGE, IMAGE.reshape(1, 12, 20, 3)) > 0.9


def test_the_error_is_in_standard_deviations() -> None:
    values = np.array([-1.0, 1.0, -1.0, 1.0], np.float32)
    assert error(values, values + np.float32(0.25)) == pytest.approx(0.25)


def test_other_sizes_have_nothing_in_common() -> None:
    assert error(np.arange(6.0), np.arange(7.0)) == math.inf


def test_a_constant_is_like_an_equal_constant_only() -> None:
    assert error(np.zeros(6), np.zeros((2, 3))) == 0.0
    assert error(np.zeros(6), np.ones(6)) == math.inf
    assert error(np.zeros(6), np.arange(6.0)) == math.inf
    assert error(np.arange(6.0), np.zeros(6)) == math.inf


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    values = np.array([1.0, np.nan, 3.0, -np.inf, 1e30], np.float32)
    found = take_fingerprint(values)
    assert (found.lost, found.mean, found.ranks.tolist()) == (3, 2.0, [1.0, 3.0])
    assert error(values, np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == math.inf
    assert error(values, values.copy()) == 0.0


def test_a_large_tensor_leaves_a_small_fingerprint() -> None:
    values = np.random.RandomState(0).standard_normal(1_000_000).astype(np.float32)
    found = take_fingerprint(values)
    kept = [found.sample, found.ranks, *found.axes]
    assert sum(array.nbytes for array in kept) == 16_384 * 4 + 1024 * 8
    assert error(values, values * np.float32(1.01)) == pytest.approx(0.01, rel=0.1)


def test_tensors_of_one_size_are_sampled_at_the_same_places() -> None:
    values = np.random.RandomState(0).standard_normal(100_000).astype(np.float32)
    first, second = take_fingerprint(values), take_fingerprint(values * 2)
    np.testing.assert_array_equal(first.sample * 2, second.sample)
    assert abs(float(first.sample.std()) - 1.0) < 0.02
