from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convert.data.check_inputs import check_inputs
from convert.data.datasets import Examples
from convert.data.sample_inputs import resolve_shapes, seeded_inputs
from convert.errors import ConversionFailed, ConvertError, DataError
from convert.proofs.reference import reference_outputs
from convert.sources.inspection import ModelInfo, inspect
from convert.workshop import Workshop
from tests.convert import models

pytestmark = pytest.mark.processes


def test_both_demo_files_give_the_same_reference_at_any_batch_size(
    digits_onnx: ModelInfo, digits_tflite: ModelInfo, workshop: Workshop
) -> None:
    shapes = resolve_shapes(digits_onnx, {}, 4).shapes
    inputs = seeded_inputs(digits_onnx, shapes, 3)
    expected = reference_outputs(digits_onnx, inputs, workshop)["scores"]
    assert expected.shape == (3, 4, 10)
    found = reference_outputs(digits_tflite, inputs, workshop)["scores"]
    assert np.abs(expected - found).max() < 1e-4


def test_a_reference_is_computed_once(
    digits_onnx: ModelInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = seeded_inputs(digits_onnx, {"image": (1, 8, 8, 1)}, 2)
    own = Workshop(tmp_path, tmp_path)
    first = reference_outputs(digits_onnx, inputs, own)
    monkeypatch.setattr("convert.workshop.run_child", None)
    assert np.array_equal(
        reference_outputs(digits_onnx, inputs, Workshop(tmp_path, tmp_path))["scores"], first["scores"]
    )
    entry = next((tmp_path / "references").iterdir())
    assert sorted(file.name for file in entry.iterdir()) == ["entry.json", "outputs.npz"]


def test_ids_states_and_scalars_are_fed(tmp_path: Path, shared_cache: Path, workshop: Workshop) -> None:
    info = inspect(models.language_model(tmp_path / "model.onnx"), shared_cache)
    inputs = seeded_inputs(info, resolve_shapes(info, {"input_ids": (1, 5)}, 2).shapes, 3)
    outputs = reference_outputs(info, inputs, workshop)
    shapes = {name: array.shape for name, array in outputs.items()}
    assert shapes == {"logits": (3, 2, 5, 8), "new_state": (3, 2, 2, 4), "best": (3, 2, 5)}
    assert np.array_equal(outputs["new_state"][1], np.full((2, 2, 4), inputs["gain"][1]))


def test_inputs_the_model_refuses_are_named_with_their_shapes(
    digits_onnx: ModelInfo, workshop: Workshop
) -> None:
    with pytest.raises(ConversionFailed, match=r"'image' \(1, 8, 9, 1\)") as caught:
        reference_outputs(digits_onnx, {"image": np.zeros((1, 1, 8, 9, 1), np.float32)}, workshop)
    assert caught.value.reason == "execution_failed"


def test_a_missing_input_is_named(digits_onnx: ModelInfo, workshop: Workshop) -> None:
    with pytest.raises(ConvertError, match="has the input 'image', given were 'picture'"):
        reference_outputs(digits_onnx, {"picture": np.zeros((1, 1, 8, 8, 1))}, workshop)


def test_no_example_is_an_error(digits_onnx: ModelInfo, workshop: Workshop) -> None:
    with pytest.raises(DataError):
        reference_outputs(digits_onnx, {"image": np.zeros((0, 1, 8, 8, 1))}, workshop)


def test_an_output_whose_shape_depends_on_values_is_refused(
    tmp_path: Path, shared_cache: Path, workshop: Workshop
) -> None:
    from onnx import helper

    path = models.save(
        tmp_path / "nonzero.onnx",
        [helper.make_node("NonZero", ["x"], ["y"])],
        [models.value("x", [3])],
        [models.value("y", [1, None], models.INT64)],
    )
    inputs = {"x": np.array([[0, 1, 1], [0, 0, 1]], np.float32)}
    with pytest.raises(ConvertError, match=r"'y' changes its shape .*: \(1, 1\), \(1, 2\)") as caught:
        reference_outputs(inspect(path, shared_cache), inputs, workshop)
    assert caught.value.reason == "variable_output"


def test_real_examples_are_spread_and_put_into_batches() -> None:
    model = models.info(("x", ["N", 1], "float32"))
    values = np.arange(100, dtype=np.float32)[:, None]
    examples = Examples({"x": values}, 100, True, None, "x.npz", "")
    found = check_inputs(model, {"x": (2, 1)}, examples, 5)["x"]
    assert found.shape == (5, 2, 1)
    assert found[..., 0].tolist() == [[0, 10], [20, 30], [40, 50], [60, 70], [80, 90]]


def test_without_examples_the_check_is_on_seeded_numbers() -> None:
    model = models.info(("x", ["N", 3], "float32"))
    found = check_inputs(model, {"x": (1, 3)}, None)
    assert np.array_equal(found["x"], seeded_inputs(model, {"x": (1, 3)}, 8)["x"])
