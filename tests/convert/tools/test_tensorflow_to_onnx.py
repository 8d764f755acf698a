"""tf2onnx on Keras files, SavedModels and TFLite files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from convert.errors import ConversionFailed
from convert.proofs.execution import run_model
from convert.sources.inspection import ModelInfo
from convert.workshop import Workshop
from tests.convert.tools.tool_runs import Arrays, Made, Tool, largest_difference

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("toolchains")]

IMAGE = {"image": (1, 48, 80, 3)}


@pytest.fixture(scope="module")
def converter(workshop: Workshop) -> Tool:
    return Tool(workshop, "tensorflow to onnx", "tensorflow")


@pytest.fixture(scope="module")
def from_tflite(workshop: Workshop) -> Tool:
    return Tool(workshop, "tflite to onnx", "tensorflow")


@pytest.fixture(scope="module")
def open_batch(converter: Tool, keras_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    output = tmp_path_factory.mktemp("open") / "model.onnx"
    source = keras_folder / "small.keras"
    return converter.make(source, IMAGE, ["mask", "logits"], output, dynamic_batch=True)


def test_a_keras_file_becomes_opset_17_with_its_names_order_and_layout(
    converter: Tool, keras_folder: Path, photos: Arrays, keras_answers: Arrays, tmp_path: Path
) -> None:
    made = converter.make(keras_folder / "small.keras", IMAGE, ["mask", "logits"], tmp_path / "m.onnx")
    assert made.info.opset == 17
    assert [(t.name, t.shape) for t in made.info.inputs] == [("image", (1, 48, 80, 3))]
    assert [(t.name, t.shape) for t in made.info.outputs] == [
        ("mask", (1, 48, 80, 4)),
        ("logits", (1, 64)),
    ]
    assert largest_difference(keras_answers, made.info, photos) < 1e-5
    assert [entry.domain for entry in onnx.load(made.info.path).opset_import] == [""]


def test_a_saved_model_at_opset_13_answers_as_tensorflow_does(
    converter: Tool, keras_folder: Path, photos: Arrays, keras_answers: Arrays, tmp_path: Path
) -> None:
    outputs = ["output_0", "output_1"]
    made = converter.make(keras_folder / "small", IMAGE, outputs, tmp_path / "m.onnx", opset=13)
    assert made.info.opset == 13
    answers = run_model(made.info, photos)
    np.testing.assert_allclose(answers["output_0"], keras_answers["mask"], atol=1e-5)
    np.testing.assert_allclose(answers["output_1"], keras_answers["logits"], atol=1e-5)


def test_an_open_batch_has_one_name_at_all_ends(open_batch: Made) -> None:
    ends = (*open_batch.info.inputs, *open_batch.info.outputs)
    assert [tensor.shape[0] for tensor in ends] == ["batch", "batch", "batch"]


def test_an_open_batch_takes_several_examples_at_once(
    open_batch: Made, photos: Arrays, keras_answers: Arrays
) -> None:
    together = {"image": photos["image"].reshape(1, 3, 48, 80, 3)}
    answers = run_model(open_batch.info, together)
    np.testing.assert_allclose(answers["mask"][0], keras_answers["mask"][:, 0], atol=1e-5)


def test_an_opset_that_the_tool_lacks_falls_to_the_next_and_says_so(
    converter: Tool, keras_folder: Path, tmp_path: Path
) -> None:
    source = keras_folder / "sequential.keras"
    made = converter.make(source, {"x": (1, 4)}, ["dense"], tmp_path / "m.onnx", opset=19)
    assert made.info.opset == 18
    assert len(made.reply["warnings"]) == 1
    assert "Opset 19 is not supported" in made.reply["warnings"][0]


def test_names_of_another_model_are_refused_with_both(
    converter: Tool, keras_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConversionFailed, match="has the inputs x, given were image") as caught:
        converter.make(keras_folder / "sequential.keras", IMAGE, ["dense"], tmp_path / "m.onnx")
    assert caught.value.reason == "inputs_differ"


def test_an_operator_that_onnx_lacks_is_named_with_its_node(
    converter: Tool, keras_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConversionFailed, match=r"opset 17 does not have: Erfinv \(node .*/Erfinv\)"
    ) as caught:
        converter.make(keras_folder / "erfinv.keras", {"x": (1, 4)}, ["erfinv"], tmp_path / "m.onnx")
    assert caught.value.reason == "unsupported_operator"


def test_a_tflite_file_becomes_onnx_with_the_names_of_its_signature(
    from_tflite: Tool, digits_tflite: ModelInfo, tmp_path: Path
) -> None:
    images = {"image": np.random.RandomState(0).uniform(0, 16, (3, 1, 8, 8, 1)).astype(np.float32)}
    expected = run_model(digits_tflite, images)
    made = from_tflite.make(digits_tflite.path, {"image": (1, 8, 8, 1)}, ["scores"], tmp_path / "m.onnx")
    scale = float(np.abs(expected["scores"]).max())
    assert largest_difference(expected, made.info, images) < 1e-5 * scale


def test_a_tflite_file_cannot_get_an_open_batch(
    from_tflite: Tool, digits_tflite: ModelInfo, tmp_path: Path
) -> None:
    with pytest.raises(ConversionFailed) as caught:
        path, shapes = digits_tflite.path, {"image": (1, 8, 8, 1)}
        from_tflite.make(path, shapes, ["scores"], tmp_path / "m.onnx", dynamic_batch=True)
    assert caught.value.reason == "batch_fixed"
