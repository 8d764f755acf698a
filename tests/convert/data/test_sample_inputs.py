from __future__ import annotations

import numpy as np
import pytest

from convert.data.sample_inputs import seeded_inputs
from convert.errors import InvalidModel
from convert.sources.inspection import ModelInfo, TensorInfo
from tests.convert.models import info


def made(model: ModelInfo, *shape: int, examples: int = 16) -> dict[str, np.ndarray]:
    return seeded_inputs(model, {tensor.name: shape for tensor in model.inputs}, examples)


def test_the_numbers_are_the_same_on_every_machine_and_in_every_order() -> None:
    a, b = ("a", [4], "float32"), ("b", [4], "float32")
    forward, backward = made(info(a, b), 4), made(info(b, a), 4)
    assert np.array_equal(forward["a"], backward["a"])
    assert not np.array_equal(forward["a"], forward["b"])
    assert forward["a"][0].tolist() == pytest.approx([0.03646, -1.68877, -2.22118, 2.25006], abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_floats_are_normal_and_bounded(dtype: str) -> None:
    array = made(info(("x", [100], dtype)), 100)["x"]
    assert array.dtype == dtype
    assert array.shape == (16, 100)
    assert np.abs(array).max() <= 3.0
    assert 0.9 < array.std() < 1.1


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127)])
def test_eight_bit_inputs_cover_their_range(dtype: str, low: int, high: int) -> None:
    array = made(info(("pixels", [1000], dtype)), 1000)["pixels"]
    assert (array.dtype, array.min(), array.max()) == (dtype, low, high)


def test_ids_stay_within_their_table_and_are_zero_or_one_without_one() -> None:
    model = info(("ids", [64], "int64"), ("kind", [64], "int32"), bounds={"ids": 5})
    arrays = made(model, 64)
    assert set(arrays["ids"].flat) == {0, 1, 2, 3, 4}
    assert set(arrays["kind"].flat) == {0, 1}


def test_masks_are_ones_and_states_zeros() -> None:
    names = ["attention_mask", "h0", "c_0", "hidden_in", "cell", "past.0.key", "cache", "lstm_state"]
    arrays = made(info(*((name, [3], "float32") for name in names)), 3)
    assert np.all(arrays["attention_mask"] == 1)
    assert all(not arrays[name].any() for name in names[1:])


def test_a_scalar_input_is_one_number_for_each_example() -> None:
    assert made(info(("gain", [], "float32")))["gain"].shape == (16,)


def test_booleans_take_both_values() -> None:
    assert set(made(info(("flag", [8], "bool")), 8)["flag"].flat) == {False, True}


def test_a_quantised_wide_integer_covers_its_range() -> None:
    tensor = TensorInfo("x", (), (500,), "int16", (0.1, 0))
    model = info()
    array = made(ModelInfo(**{**vars(model), "inputs": (tensor,)}), 500)["x"]
    assert array.min() < -32000
    assert array.max() > 32000


@pytest.mark.parametrize("dtype", ["str", "bfloat8"])
def test_a_type_that_cannot_be_made_up_is_refused(dtype: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        made(info(("text", [1], dtype)), 1)
    assert caught.value.reason == "unsupported_dtype"
