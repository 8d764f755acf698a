"""TensorFlow's own TFLite converter: every precision, in ai-edge-litert and in tflite-runtime 2.14."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.errors import ConversionFailed
from convert.interface import as_fed, as_numbers
from convert.proofs.execution import run_model
from convert.workshop import Workshop
from tests.convert.tools.tool_runs import (
    Arrays,
    Made,
    Tool,
    cosine,
    in_tflite_runtime,
    largest_difference,
    tensorflow_answers,
)

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("toolchains")]

IMAGE = {"image": (1, 48, 80, 3)}
Converted = Callable[..., Made]


@pytest.fixture(scope="module")
def converter(workshop: Workshop) -> Tool:
    return Tool(workshop, "tensorflow to tflite", "tensorflow")


@pytest.fixture(scope="module")
def converted(converter: Tool, keras_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """The small network at a precision and with these ends, made once."""
    made: dict[tuple[str, str], Made] = {}
    samples = np.random.RandomState(3).standard_normal((32, 1, 48, 80, 3)).astype(np.float32)

    def at(precision: str, io: str = "float") -> Made:
        if (precision, io) not in made:
            output = tmp_path_factory.mktemp("made") / "model.tflite"
            more: dict[str, Any] = {"precision": precision, "io": io}
            if precision == "int8":
                more["calibration"] = {"image": samples}
            source = keras_folder / "small.keras"
            made[precision, io] = converter.make(source, IMAGE, ["mask", "logits"], output, **more)
        return made[precision, io]

    return at


def test_fp32_answers_as_keras_does_on_an_image_that_is_not_square(
    converted: Converted, photos: Arrays, keras_answers: Arrays
) -> None:
    made = converted("fp32")
    assert [(t.name, t.shape) for t in made.info.inputs] == [("image", (1, 48, 80, 3))]
    assert largest_difference(keras_answers, made.info, photos) < 1e-5


def test_a_saved_model_answers_as_tensorflow_does(
    converter: Tool, keras_folder: Path, photos: Arrays, keras_answers: Arrays, tmp_path: Path
) -> None:
    made = converter.make(keras_folder / "small", IMAGE, ["output_0", "output_1"], tmp_path / "m.tflite")
    answers = run_model(made.info, photos)
    for name, expected in (("output_0", "mask"), ("output_1", "logits")):
        np.testing.assert_allclose(answers[name], keras_answers[expected], atol=1e-5)


def test_mobilenet_v3_of_keras_answers_as_keras_does(
    converter: Tool, workshop: Workshop, keras_folder: Path, tmp_path: Path
) -> None:
    source = keras_folder / "v3.keras"
    inputs = {"input_layer": np.random.RandomState(5).uniform(0, 255, (2, 1, 64, 96, 3)).astype(np.float32)}
    expected = tensorflow_answers(workshop, source, inputs, tmp_path)
    (name,) = (key for key in expected)
    made = converter.make(source, {"input_layer": (1, 64, 96, 3)}, [name], tmp_path / "v3.tflite")
    assert largest_difference(expected, made.info, inputs) < 1e-5


@pytest.mark.parametrize(
    ("precision", "io", "bound"),
    [
        ("fp16", "float", 0.99999),
        ("int8-dynamic", "float", 0.999),
        ("int8", "float", 0.999),
        ("int8", "uint8", 0.999),
    ],
)
def test_each_precision_agrees_in_both_runtimes(
    converted: Converted,
    workshop: Workshop,
    photos: Arrays,
    keras_answers: Arrays,
    tmp_path: Path,
    precision: str,
    io: str,
    bound: float,
) -> None:
    made = converted(precision, io)
    assert made.info.precision == precision
    fed = as_fed(photos, made.info.inputs)
    for answers in (run_model(made.info, fed), in_tflite_runtime(workshop, made.info, fed, tmp_path)):
        numbers = as_numbers(answers, made.info.outputs)
        assert min(cosine(keras_answers[name], numbers[name]) for name in keras_answers) > bound


def test_uint8_at_the_ends_is_what_the_file_itself_says(converted: Converted) -> None:
    made = converted("int8", "uint8")
    assert made.dtypes == {"image": "uint8", "mask": "uint8", "logits": "uint8"}
    assert all(t.quantization for t in (*made.info.inputs, *made.info.outputs))


def test_lower_precisions_are_smaller(converted: Converted) -> None:
    sizes = [converted(precision).info.files[0].bytes for precision in ("fp32", "fp16", "int8")]
    assert sizes == sorted(sizes, reverse=True)


def test_names_that_no_signature_takes_and_an_output_that_is_the_input_survive(
    converter: Tool, keras_folder: Path, tmp_path: Path
) -> None:
    outputs = ["a_b", "raw"]
    source = keras_folder / "odd_names.keras"
    made = converter.make(source, {"in_put_1": (1, 4)}, outputs, tmp_path / "m.tflite")
    given = np.array([[[1.5, -2, 3, 4]]], np.float32)
    np.testing.assert_array_equal(run_model(made.info, {"in_put_1": given})["raw"], given)


def test_an_operator_that_tflite_lacks_is_named_with_its_node_and_never_left_to_tensorflow(
    converter: Tool, keras_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConversionFailed, match=r"the operator Erfinv \(node .*/Erfinv\)") as caught:
        converter.make(keras_folder / "erfinv.keras", {"x": (1, 4)}, ["erfinv"], tmp_path / "m.tflite")
    assert caught.value.reason == "unsupported_operator"


def test_an_open_batch_is_refused_before_anything_is_loaded(
    converter: Tool, keras_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConversionFailed) as caught:
        source = keras_folder / "small.keras"
        converter.make(source, IMAGE, ["mask"], tmp_path / "m.tflite", dynamic_batch=True)
    assert caught.value.reason == "batch_fixed"
