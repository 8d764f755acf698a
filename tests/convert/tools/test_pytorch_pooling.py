from __future__ import annotations

import numpy as np
import pytest

from convert.tools.pytorch_pooling import averaging_matrix


def test_windows_overlap_where_they_do_not_divide_the_axis() -> None:
    third = np.float32(1 / 3)
    np.testing.assert_array_equal(
        averaging_matrix(7, 3),
        [
            [third, third, third, 0, 0, 0, 0],
            [0, 0, third, third, third, 0, 0],
            [0, 0, 0, 0, third, third, third],
        ],
    )


def test_more_windows_than_elements_repeat_them() -> None:
    np.testing.assert_array_equal(averaging_matrix(2, 3), [[1, 0], [0.5, 0.5], [0, 1]])


@pytest.mark.parametrize("windows", [1, 2, 5, 10])
def test_every_window_is_an_average(windows: int) -> None:
    matrix = averaging_matrix(10, windows)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
