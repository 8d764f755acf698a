from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from convert.proofs.divergence import Divergence, describe, explain, first_divergence
from convert.proofs.onnx_trace import trace_onnx
from convert.proofs.tflite_trace import trace_tflite
from convert.proofs.traces import TracedTensor, TraceLimits, traced
from tests.convert.models import DIGITS, save, value

Array = NDArray[np.float32]

ONNX, TFLITE = DIGITS / "digits.onnx", DIGITS / "digits.tflite"
IMAGE = {"image": np.load(DIGITS / "evaluation.npz")["image"][:1]}


def changed(source: Path, target: Path, name: str, change: Callable[[Array], Array]) -> Path:
    """A copy of an ONNX file with another value of one constant."""
    model = onnx.load(source)
    (constant,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    constant.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(constant).copy()), name))
    onnx.save(model, target)
    return target


def silenced(weights: Array) -> Array:
    """Without its first eight channels."""
    weights[:8] = 0.0
    return weights


def scaled(share: float) -> Callable[[Array], Array]:
    return lambda values: (values * share).astype(values.dtype)


def edited_tflite(target: Path, layer: str, change: Callable[[Array], Array]) -> Path:
    """The digits' TFLite file with other weights in the convolution of this layer."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(TFLITE.read_bytes()))
    (tensor,) = (
        tensor
        for tensor in model.subgraphs[0].tensors
        if tensor.name.endswith(f"{layer};".encode()) and len(tensor.shape) == 4
    )
    buffer = model.buffers[tensor.buffer]
    weights = change(np.array(buffer.data, np.uint8).view(np.float32).reshape(tensor.shape))
    buffer.data = weights.reshape(-1).view(np.uint8)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(bytes(builder.Output()))
    return target


@pytest.fixture(scope="module")
def digits() -> list[TracedTensor]:
    return trace_onnx(ONNX, IMAGE)


@pytest.fixture(scope="module")
def digits_in_tflite() -> list[TracedTensor]:
    return trace_tflite(TFLITE, IMAGE)


def without_edges(trace: list[TracedTensor]) -> list[TracedTensor]:
    return [replace(tensor, inputs=(), is_output=False) for tensor in trace]


# One network in two formats.


def test_one_network_in_two_formats_does_not_diverge(
    digits: list[TracedTensor], digits_in_tflite: list[TracedTensor]
) -> None:
    assert first_divergence(digits, digits_in_tflite, "fp32") is None
    assert first_divergence(digits_in_tflite, digits, "fp32") is None
    assert first_divergence(without_edges(digits), digits_in_tflite, "fp32") is None


#: The layer of the ONNX graph, the one before it that TFLite has, and the layer in TFLite.
LAYERS = [
    ("/features/features.3/Conv", "/features/features.2/Relu", "Conv2d_3"),
    ("/features/features.9/Conv", "/features/features.8/Relu", "Conv2d_9"),
    ("/features/features.12/Conv", "/features/features.11/Relu", "Conv2d_12"),
]


@pytest.mark.parametrize(("layer", "before", "there"), LAYERS)
def test_a_layer_that_another_format_has_with_other_weights_is_named(
    layer: str, before: str, there: str, digits: list[TracedTensor], tmp_path: Path
) -> None:
    edited = trace_tflite(edited_tflite(tmp_path / "edited.tflite", there, silenced), IMAGE)
    for reference in (digits, without_edges(digits)):
        found = first_divergence(reference, edited, "fp32")
        assert found is not None
        assert (found.layer, found.operator, found.agreed_until) == (layer, "Conv", before)
        assert "its values are not in the converted graph" in found.figures
        assert "first differs at __main__.DigitNet/" in found.figures
        assert f"torch.nn.modules.conv.{there} (CONV_2D)" in found.figures


def test_a_tflite_reference_names_its_own_layer(digits_in_tflite: list[TracedTensor], tmp_path: Path) -> None:
    edited = changed(ONNX, tmp_path / "edited.onnx", "onnx::Conv_63", silenced)
    found = first_divergence(digits_in_tflite, trace_onnx(edited, IMAGE), "fp32")
    assert found is not None
    assert (found.operator, found.layer.rpartition("/")[2]) == ("CONV_2D", "torch.nn.modules.conv.Conv2d_6")
    assert found.agreed_until is not None
    assert found.agreed_until.endswith("torch.nn.modules.conv.Conv2d_3")
    assert "first differs at /features/features.6/Conv (Conv)" in found.figures


def test_an_approximation_of_one_part_in_two_thousand_is_found(
    digits_in_tflite: list[TracedTensor], tmp_path: Path
) -> None:
    edited = changed(ONNX, tmp_path / "edited.onnx", "onnx::Conv_66", scaled(1.0005))
    found = first_divergence(trace_onnx(edited, IMAGE), digits_in_tflite, "fp32")
    assert found is not None
    assert found.layer == "/features/features.9/Conv"


# One format, with names.


@pytest.mark.parametrize(("weights", "layer"), [("onnx::Conv_57", 0), ("onnx::Conv_63", 6)])
def test_a_layer_with_other_weights_in_the_same_format_is_named_with_its_cosine(
    weights: str, layer: int, digits: list[TracedTensor], tmp_path: Path
) -> None:
    edited = trace_onnx(changed(ONNX, tmp_path / "edited.onnx", weights, silenced), IMAGE)
    found = first_divergence(digits, edited, "fp32")
    assert found is not None
    assert found.layer == f"/features/features.{layer}/Conv"
    assert found.agreed_until == ("/Transpose" if layer == 0 else "/features/features.5/Relu")
    assert found.figures.startswith("cosine 0.9")


def test_of_two_wrong_layers_the_first_is_named(digits: list[TracedTensor], tmp_path: Path) -> None:
    edited = changed(ONNX, tmp_path / "edited.onnx", "onnx::Conv_60", silenced)
    edited = changed(edited, edited, "onnx::Conv_69", silenced)
    found = first_divergence(digits, trace_onnx(edited, IMAGE), "fp32")
    assert found is not None
    assert found.layer == "/features/features.3/Conv"


def test_not_a_number_is_named_where_it_arises(digits: list[TracedTensor], tmp_path: Path) -> None:
    def overflown(weights: Array) -> Array:
        weights[3] = np.inf
        return weights

    edited = trace_onnx(changed(ONNX, tmp_path / "edited.onnx", "onnx::Conv_64", overflown), IMAGE)
    found = first_divergence(digits, edited, "fp32")
    assert found is not None
    assert (found.layer, found.agreed_until) == ("/features/features.6/Conv", "/features/features.5/Relu")


def test_an_output_of_zeros_is_named(digits: list[TracedTensor], tmp_path: Path) -> None:
    edited = changed(ONNX, tmp_path / "edited.onnx", "classifier.1.weight", scaled(0.0))
    edited = changed(edited, edited, "classifier.1.bias", scaled(0.0))
    found = first_divergence(digits, trace_onnx(edited, IMAGE), "int8")
    assert found is not None
    assert describe(found) == (
        "first differs at /classifier/classifier.1/Gemm (Gemm): cosine 0.0000, 0.0 dB signal to noise; "
        "agrees up to /ReduceMean"
    )


def test_zeros_where_the_reference_has_zeros_are_no_divergence(tmp_path: Path) -> None:
    silent = changed(ONNX, tmp_path / "silent.onnx", "classifier.1.weight", scaled(0.0))
    silent = trace_onnx(changed(silent, silent, "classifier.1.bias", scaled(0.0)), IMAGE)
    assert first_divergence(silent, silent, "int8") is None
    unnamed = [
        replace(t, name=f"other {t.name}", inputs=tuple(f"other {i}" for i in t.inputs)) for t in silent
    ]
    assert first_divergence(silent, unnamed, "fp32") is None


# Quantised.


def quantised(path: Path, *, steps: dict[str, float]) -> Path:
    """From x over a, b and c to y: a product with a matrix and a ReLU each, then quantised in these steps."""
    nodes, constants = [], []
    random = np.random.RandomState(7)
    before = "x"
    for name in "abcy":
        matrix = random.standard_normal((16, 16)).astype(np.float32) / 3
        constants.append(numpy_helper.from_array(matrix, f"{name}_w"))
        nodes += [
            helper.make_node("MatMul", [before, f"{name}_w"], [f"{name}_product"], name=f"product {name}"),
            helper.make_node("Relu", [f"{name}_product"], [name], name=f"relu {name}"),
        ]
        before = name
        if name in steps:
            constants.append(numpy_helper.from_array(np.float32(steps[name]), f"{name}_scale"))
            constants.append(numpy_helper.from_array(np.uint8(0), f"{name}_zero"))
            pair = [f"{name}_scale", f"{name}_zero"]
            nodes += [
                helper.make_node("QuantizeLinear", [name, *pair], [f"{name}_q"]),
                helper.make_node("DequantizeLinear", [f"{name}_q", *pair], [f"{name}_dq"]),
            ]
            before = f"{name}_dq"
    return save(path, nodes, [value("x", [8, 16])], [value(before, [8, 16])], constants)


VECTORS = {"x": np.random.RandomState(8).standard_normal((8, 16)).astype(np.float32)}
GOOD_STEPS = {"a": 0.02, "b": 0.02, "c": 0.02, "y": 0.02}


@pytest.mark.parametrize(("broken", "before"), [("a", "product a"), ("b", "product b"), ("c", "product c")])
def test_an_activation_range_that_is_wrong_is_named(broken: str, before: str, tmp_path: Path) -> None:
    reference = trace_onnx(quantised(tmp_path / "fp32.onnx", steps={}), VECTORS)
    good = trace_onnx(quantised(tmp_path / "int8.onnx", steps=GOOD_STEPS), VECTORS)
    assert first_divergence(reference, good, "int8") is None
    steps = {**GOOD_STEPS, broken: 100.0}
    found = first_divergence(
        reference, trace_onnx(quantised(tmp_path / "broken.onnx", steps=steps), VECTORS), "int8"
    )
    assert found is not None
    assert (found.layer, found.operator, found.agreed_until) == (f"relu {broken}", "Relu", before)


@pytest.mark.parametrize(("decibels", "named"), [((50, -10), "layer 1"), ((90, 0), "layer 2")])
def test_of_two_faults_the_first_is_named_unless_it_is_slight(
    decibels: tuple[float, float], named: str
) -> None:
    random = np.random.RandomState(3)
    exact = {f"layer {i}": random.standard_normal(4000) for i in range(3)}
    noisy = dict(exact)
    for i, db in enumerate(decibels, start=1):
        noisy[f"layer {i}"] = exact[f"layer {i}"] + random.standard_normal(4000) * 10 ** (-db / 20)
    found = first_divergence(traced(exact, {}), traced(noisy, {}), "fp32")
    assert found is not None
    assert found.layer == named


def test_an_error_that_grows_evenly_is_named_where_it_exceeds_the_bound() -> None:
    random = np.random.RandomState(3)
    exact, noisy = {}, {}
    for i in range(10):  # 30 dB, 26 dB, ... -6 dB
        values = random.standard_normal(4000)
        exact[f"layer {i}"] = values
        noisy[f"layer {i}"] = values + random.standard_normal(4000) * 10 ** ((4 * i - 30) / 20)
    found = first_divergence(traced(exact, {}), traced(noisy, {}), "int8")
    assert found is not None
    assert found.layer == "layer 8"
    assert found.figures == "cosine 0.6164, -2.1 dB signal to noise"


# Content without names.


def net(layout: tuple[int, ...] | None = None, *, broken: str = "") -> dict[str, Array]:
    """Activations of a net with two branches on images of 12 by 20; as TFLite has them with a layout."""
    random = np.random.RandomState(5)
    image = random.standard_normal((1, 3, 12, 20)).astype(np.float32) + np.linspace(
        0, 2, 20, dtype=np.float32
    )
    mixing = {
        name: random.standard_normal((6, size)).astype(np.float32)
        for name, size in (("first", 3), ("left", 6), ("right", 6))
    }
    mixing.update({broken: mixing[broken][::-1]} if broken else {})

    def mixed(name: str, values: Array) -> Array:
        return np.tensordot(mixing[name], values, (1, 1)).transpose(1, 0, 2, 3)

    found = {"image": image, "first": mixed("first", image)}
    found["relu"] = np.maximum(found["first"], 0)
    for side in ("left", "right"):
        found[side] = mixed(side, found["relu"])
        found[f"{side} relu"] = np.maximum(found[side], 0)
    found["sum"] = found["left relu"] + found["right relu"]
    return {name: array.transpose(layout) if layout else array for name, array in found.items()}


OPERATORS = {
    **dict.fromkeys(("first", "left", "right"), "Conv2d"),
    **dict.fromkeys(("relu", "left relu", "right relu"), "ReLU"),
}
EDGES = {
    "first": ["image"],
    "relu": ["first"],
    "left": ["relu"],
    "left relu": ["left"],
    "right": ["relu"],
    "right relu": ["right"],
    "sum": ["left relu", "right relu"],
}


def fused(arrays: dict[str, Array]) -> list[TracedTensor]:
    """The net as converters make it: ReLU within the layer before, other names."""
    kept = {f"T{name}": array for name, array in arrays.items() if f"{name} relu" not in arrays}
    del kept["Tfirst"]
    edges = {"Trelu": ["Timage"], "Tleft relu": ["Trelu"], "Tright relu": ["Trelu"]}
    edges["Tsum"] = ["Tleft relu", "Tright relu"]
    return traced(kept, dict.fromkeys(kept, "CONV_2D"), edges)


NHWC = (0, 2, 3, 1)


def test_a_layout_is_no_divergence() -> None:
    reference = traced(net(), {}, EDGES)
    assert first_divergence(reference, fused(net(NHWC)), "fp32") is None
    assert first_divergence(fused(net(NHWC)), reference, "fp32") is None


@pytest.mark.parametrize(("broken", "before"), [("first", "image"), ("left", "relu"), ("right", "relu")])
@pytest.mark.parametrize("edges", [EDGES, None], ids=["with edges", "in order only"])
def test_a_wrong_layer_of_a_branch_is_named_in_another_layout(
    broken: str, before: str, edges: dict[str, list[str]] | None
) -> None:
    found = first_divergence(traced(net(), OPERATORS, edges), fused(net(NHWC, broken=broken)), "fp32")
    assert found is not None
    assert (found.layer, found.agreed_until) == (broken, before)
    there = "Trelu" if broken == "first" else f"T{broken} relu"
    assert f"first differs at {there} (CONV_2D)" in found.figures


def test_an_image_read_in_the_wrong_order_is_named_at_the_input() -> None:
    scrambled = {name: array.reshape(1, 12, 20, -1) for name, array in net().items()}
    found = first_divergence(traced(net(), {}, EDGES), fused(scrambled), "fp32")
    assert found is not None
    assert (found.layer, found.agreed_until) == ("image", None)
    assert describe(found).endswith("; nothing before it could be compared")


def test_padding_that_was_folded_into_its_convolution_is_not_named() -> None:
    reference, candidate = net(), net(NHWC, broken="left")
    padded = {"pad": np.pad(reference["relu"], ((0, 0), (0, 0), (1, 1), (1, 1)))}
    trace = traced(
        {**reference, **padded}, {"pad": "Pad", "left": "Conv"}, {**EDGES, "pad": ["relu"], "left": ["pad"]}
    )
    order = ["image", "first", "relu", "pad", "left", "left relu", "right", "right relu", "sum"]
    trace.sort(key=lambda tensor: order.index(tensor.name))
    found = first_divergence(trace, fused(candidate), "fp32")
    assert found is not None
    assert (found.layer, found.operator, found.agreed_until) == ("left", "Conv", "relu")


def test_the_sentence_names_layer_operator_figures_and_the_last_good_layer() -> None:
    divergence = Divergence("conv_12", "Conv", "relu_11", "cosine 0.4300")
    assert describe(divergence) == "first differs at conv_12 (Conv): cosine 0.4300; agrees up to relu_11"


# Files.


def test_two_files_are_explained_in_a_sentence(tmp_path: Path) -> None:
    edited = edited_tflite(tmp_path / "edited.tflite", "Conv2d_6", silenced)
    told = explain("onnx", ONNX, "tflite", edited, IMAGE, IMAGE, "fp32")
    assert told is not None
    assert told.startswith("first differs at /features/features.6/Conv (Conv): its values are not in the ")
    assert told.endswith("; agrees up to /features/features.5/Relu")


def test_two_files_that_agree_need_no_explanation(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert explain("onnx", ONNX, "tflite", TFLITE, IMAGE, IMAGE, "fp32") is None
    assert "the outputs of digits.tflite agree with those of digits.onnx" in caplog.text


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("tflite", b"not a model", "broken cannot be compared layer by layer: "),
        ("onnx", b"not a model", "broken cannot be compared layer by layer: "),
        ("pytorch", b"", "a model of kind 'pytorch' is traced by its own framework"),
    ],
)
def test_a_file_that_cannot_be_traced_is_logged_and_raises_nothing(
    kind: str, content: bytes, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert explain("onnx", ONNX, kind, broken, IMAGE, IMAGE, "fp32") is None
    assert words in caplog.text


def test_an_explanation_keeps_to_its_limits(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert explain("onnx", ONNX, "tflite", TFLITE, IMAGE, IMAGE, "fp32", TraceLimits(memory=1)) is None
    assert "digits.tflite takes 3 MB to keep all its tensors" in caplog.text
