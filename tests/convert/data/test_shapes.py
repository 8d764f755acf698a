from __future__ import annotations

import pytest

from convert.data.sample_inputs import ResolvedShapes, resolve_shapes
from convert.errors import ConversionFailed, DataError
from tests.convert.models import info


def test_the_leading_dynamic_dimension_is_the_batch() -> None:
    model = info(("image", [None, 3, 32, 32], "float32"))
    assert resolve_shapes(model, {}, 4) == ResolvedShapes({"image": (4, 3, 32, 32)}, {})


def test_a_dimension_named_batch_is_one_wherever_it_stands() -> None:
    model = info(("x", ["time", "batch", 40], "float32"), ("h", [2, "batch", 8], "float32"))
    resolved = resolve_shapes(model, {"x": (50, 1, 40)}, 3)
    assert resolved.shapes == {"x": (50, 3, 40), "h": (2, 3, 8)}


def test_the_symbol_of_the_leading_dimension_is_the_batch_everywhere() -> None:
    model = info(("x", ["s0", 4], "float32"), ("h", [2, "s0", 8], "float32"))
    assert resolve_shapes(model, {}, 5).shapes == {"x": (5, 4), "h": (2, 5, 8)}


def test_the_open_axis_of_a_recurrent_state_is_the_batch() -> None:
    model = info(("input", [None, 512], "float32"), ("state", [2, None, 128], "float32"), ("sr", [], "int64"))
    assert resolve_shapes(model, {}, 2).shapes == {"input": (2, 512), "state": (2, 2, 128), "sr": ()}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [(["N", 3, None, None], (1, 3, 224, 224)), (["N", "h", "w", 3], (1, 224, 224, 3))],
)
def test_open_sides_of_an_image_become_224_and_are_stated(shape: list[object], expected: object) -> None:
    resolved = resolve_shapes(info(("image", shape, "float32")), {}, 1)  # type: ignore[arg-type]
    assert resolved.shapes == {"image": expected}
    assert all(text.endswith("= 224") for text in resolved.guessed.values())
    assert len(resolved.guessed) == 2


def test_a_sequence_has_one_length_in_every_input() -> None:
    model = info(("input_ids", ["batch", "seq"], "int64"), ("attention_mask", ["batch", "seq"], "int64"))
    assert resolve_shapes(model, {}, 1) == ResolvedShapes(
        {"input_ids": (1, 128), "attention_mask": (1, 128)}, {"seq": "seq = 128"}
    )
    asked = resolve_shapes(model, {"attention_mask": (1, 20)}, 1)
    assert asked == ResolvedShapes({"input_ids": (1, 20), "attention_mask": (1, 20)}, {})


def test_a_past_is_empty_and_totals_are_sums() -> None:
    model = info(
        ("input_ids", ["batch", "sequence_length"], "int64"),
        ("attention_mask", ["batch", "past_length + sequence_length"], "int64"),
        ("past.0.key", ["batch", 4, "past_length", 64], "float32"),
    )
    assert resolve_shapes(model, {}, 2).shapes == {
        "input_ids": (2, 128),
        "attention_mask": (2, 128),
        "past.0.key": (2, 4, 0, 64),
    }


def test_a_size_that_cannot_be_guessed_is_asked_for_with_the_option_to_give() -> None:
    with pytest.raises(DataError) as caught:
        resolve_shapes(info(("signal", [None, "k", 16], "float32")), {}, 2)
    assert caught.value.reason == "shape_needed"
    assert caught.value.message == "input 'signal' has the shape (?, k, 16), which leaves sizes open"
    assert caught.value.remedy == "Give its size, for example: --shape signal=2,224,16"


def test_a_requested_batch_of_one_stands_for_every_batch_size() -> None:
    model = info(("x", ["N", "k"], "float32"))
    assert resolve_shapes(model, {"x": (1, 7)}, 8).shapes == {"x": (8, 7)}
    with pytest.raises(DataError, match="the batch size is 8"):
        resolve_shapes(model, {"x": (2, 7)}, 8)


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ((1, 3, 8), "the model has 4 dimensions"),
        ((1, 4, 8, 8), "dimension 1 is fixed at 3"),
        ((1, 3, -8, 8), "the model has 4"),
    ],
)
def test_a_requested_shape_has_to_fit(shape: tuple[int, ...], why: str) -> None:
    with pytest.raises(DataError, match=why) as caught:
        resolve_shapes(info(("x", ["N", 3, "h", "w"], "float32")), {"x": shape}, 1)
    assert caught.value.reason == "shape_mismatch"


def test_one_name_cannot_have_two_sizes() -> None:
    model = info(("a", ["N", "k"], "float32"), ("b", ["N", "k"], "float32"))
    with pytest.raises(DataError, match="'k' is 3 already"):
        resolve_shapes(model, {"a": (1, 3), "b": (1, 4)}, 1)


def test_an_unknown_input_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"inputs of model\.onnx are 'image'") as caught:
        resolve_shapes(info(("image", [1, 3], "float32")), {"imgae": (1, 3)}, 1)
    assert caught.value.reason == "unknown_input"


def test_a_fixed_onnx_batch_is_refused_and_a_tflite_one_resized() -> None:
    interface = ("image", [1, 8, 8, 1], "float32")
    assert resolve_shapes(info(interface), {}, 1).shapes == {"image": (1, 8, 8, 1)}
    with pytest.raises(ConversionFailed) as caught:
        resolve_shapes(info(interface), {}, 4)
    assert caught.value.reason == "batch_fixed"
    assert "'image' (1, 8, 8, 1)" in caught.value.message
    assert resolve_shapes(info(interface, kind="tflite"), {}, 4).shapes == {"image": (4, 8, 8, 1)}
