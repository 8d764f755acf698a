from __future__ import annotations

import numpy as np

from convert.interface import (
    TensorMap,
    as_fed,
    as_numbers,
    composed,
    maps_from_json,
    maps_to_json,
    to_artifact,
    to_source,
)
from convert.sources.inspection import TensorInfo

NHWC = (0, 2, 3, 1)
PICTURES = np.arange(2 * 1 * 3 * 4 * 5, dtype=np.float32).reshape(2, 1, 3, 4, 5)


def test_complete_inputs_are_laid_out_as_the_artifact_takes_them() -> None:
    fed = to_artifact({"x": PICTURES}, [TensorMap("image", "x", NHWC)])
    assert fed["image"].shape == (2, 1, 4, 5, 3)
    assert fed["image"][1, 0, 2, 3, 1] == PICTURES[1, 0, 1, 2, 3]


def test_stacked_examples_take_the_place_of_the_batch() -> None:
    fed = to_artifact({"x": PICTURES[:, 0]}, [TensorMap("image", "x", NHWC)], stacked=True)
    assert fed["image"].shape == (2, 4, 5, 3)
    assert fed["image"][1, 2, 3, 1] == PICTURES[1, 0, 1, 2, 3]


def test_outputs_come_back_as_the_source_gives_them() -> None:
    maps = [TensorMap("image", "x", NHWC)]
    assert np.array_equal(to_source(to_artifact({"x": PICTURES}, maps), maps)["x"], PICTURES)
    stacked = to_artifact({"x": PICTURES[:, 0]}, maps, stacked=True)
    assert np.array_equal(to_source(stacked, maps, stacked=True)["x"], PICTURES[:, 0])


def test_maps_chain_over_two_conversions() -> None:
    first = (TensorMap("b", "a", NHWC),)
    assert composed(first, (TensorMap("c", "b", None),)) == (TensorMap("c", "a", NHWC),)
    assert composed(first, (TensorMap("c", "b", (0, 3, 1, 2)),)) == (TensorMap("c", "a", None),)
    assert composed((TensorMap("b", "a"),), (TensorMap("c", "b", NHWC),)) == (TensorMap("c", "a", NHWC),)


def test_maps_survive_json() -> None:
    maps = (TensorMap("b", "a", NHWC), TensorMap("d", "c"))
    assert maps_from_json(maps_to_json(maps)) == maps


def test_numbers_become_the_steps_of_a_quantised_input_and_back() -> None:
    tensor = TensorInfo("x", (), (1, 3), "uint8", (0.5, 128))
    fed = as_fed({"x": np.array([[[-64.0, 0.2, 63.6]]], np.float32)}, [tensor])
    assert fed["x"].dtype == np.uint8
    assert fed["x"].tolist() == [[[0, 128, 255]]]
    assert as_numbers(fed, [tensor])["x"].tolist() == [[[-64.0, 0.0, 63.5]]]


def test_outputs_without_a_scale_stay_as_they_are() -> None:
    tensor = TensorInfo("class", (), (1,), "int64")
    assert as_numbers({"class": np.array([[7]])}, [tensor])["class"].tolist() == [[7]]
