"""Arrays as an engine wants them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from device_agents.runtimes.base import LoadFailed
from device_agents.runtimes.tensorrt.dtypes import fitted, numpy_name


def test_floats_are_narrowed_and_int64_becomes_int32() -> None:
    assert fitted(np.array([1.5, np.inf], "f4"), "float16", "x").tolist() == [1.5, np.inf]
    assert fitted(np.array([3, -4], "i8"), "int32", "ids").dtype == np.int32


@pytest.mark.parametrize(
    ("given", "dtype", "said"),
    [
        (
            np.array([0.0, 1e5], "f4"),
            "float16",
            "input 'x' has values from 0.0 to 100000.0, which the engine's float16",
        ),
        (
            np.array([0, 1 << 40], "i8"),
            "int32",
            "input 'x' has values from 0 to 1099511627776, which the engine's int32",
        ),
        (np.array([1], "u1"), "float32", "input 'x' is given as uint8 and the engine wants float32"),
    ],
)
def test_values_that_an_engine_cannot_hold_are_refused(given: Any, dtype: str, said: str) -> None:
    with pytest.raises(LoadFailed) as caught:
        fitted(given, dtype, "x")
    assert said in str(caught.value)


def test_a_type_that_numpy_lacks_is_named() -> None:
    trt: Any = SimpleNamespace(DataType=SimpleNamespace(FLOAT=0, BF16="DataType.BF16"))
    assert numpy_name(trt, 0, "x") == "float32"
    with pytest.raises(
        LoadFailed, match=r"tensor 'x' of the engine is DataType\.BF16, which numpy does not have"
    ):
        numpy_name(trt, trt.DataType.BF16, "x")
