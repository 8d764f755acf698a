from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from convert.errors import ConversionFailed
from convert.proofs.onnx_trace import trace_onnx
from convert.proofs.tflite_trace import trace_tflite
from convert.proofs.traces import TracedTensor, TraceLimits, traced
from tests.convert.models import DIGITS, FLOAT, INT64, save, value, weights, with_external_data

IMAGE = np.random.RandomState(1).standard_normal((1, 3, 8, 8)).astype(np.float32)


def sample(tensor: TracedTensor) -> NDArray[np.float32]:
    return tensor.fingerprint.sample


def two_branches(path: Path) -> Path:
    """From x: Conv, Relu, Add with x, beside constants, shapes and integers; the nodes out of order."""
    nodes = [
        helper.make_node("Add", ["relu", "x"], ["sum"], name="add"),
        helper.make_node("Conv", ["x", "twice"], ["conv"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["w", "two"], ["twice"], name="scaled weights"),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["sides"], to=FLOAT),
        helper.make_node("ArgMax", ["sum"], ["best"], axis=1),
        helper.make_node("Cast", ["best"], ["channel"], to=FLOAT, name="cast"),
    ]
    constants = [weights("w", 3, 3, 3, 3), numpy_helper.from_array(np.float32(2.0), "two")]
    outputs = [value("channel", [1, 1, 8, 8]), value("best", [1, 1, 8, 8], INT64), value("sides", [4])]
    return save(path, nodes, [value("x", [1, 3, 8, 8])], outputs, constants)


def test_an_onnx_trace_tells_operators_layers_and_edges_in_order_of_execution(tmp_path: Path) -> None:
    found = trace_onnx(two_branches(tmp_path / "model.onnx"), {"x": IMAGE})
    assert [(t.name, t.operator, t.layer, t.inputs, t.is_output) for t in found] == [
        ("x", "input", "x", (), False),
        ("conv", "Conv", "conv", ("x",), False),
        ("relu", "Relu", "relu", ("conv",), False),
        ("sum", "Add", "add", ("relu", "x"), False),
        ("channel", "Cast", "cast", ("sum",), True),
    ]
    sums = {t.name: sample(t) for t in found}
    np.testing.assert_array_equal(sums["sum"], np.maximum(sums["conv"], 0) + IMAGE.reshape(-1))


def test_many_runs_see_what_one_run_sees(tmp_path: Path) -> None:
    path = two_branches(tmp_path / "model.onnx")
    at_once = trace_onnx(path, {"x": IMAGE})
    one_by_one = trace_onnx(path, {"x": IMAGE}, TraceLimits(memory=4))
    assert [t.name for t in one_by_one] == [t.name for t in at_once]
    for ours, theirs in zip(at_once, one_by_one, strict=True):
        np.testing.assert_array_equal(sample(ours), sample(theirs))


def test_an_onnx_trace_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(
        ConversionFailed, match=r"model\.onnx takes 1 runs of 0 s .* limits are 0 s"
    ) as caught:
        trace_onnx(two_branches(tmp_path / "model.onnx"), {"x": IMAGE}, TraceLimits(seconds=0.0))
    assert caught.value.reason == "trace_too_large"


def test_weights_beside_an_onnx_file_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    with_external_data(tmp_path / "models" / "model.onnx")
    monkeypatch.chdir(tmp_path)
    found = trace_onnx(Path("models/model.onnx"), {"x": IMAGE})
    assert [t.name for t in found] == ["x", "y"]


def test_a_dequantised_tensor_stands_for_the_one_that_was_quantised(tmp_path: Path) -> None:
    steps = [
        numpy_helper.from_array(np.float32(0.5), "scale"),
        numpy_helper.from_array(np.uint8(128), "zero"),
    ]
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["half"], name="halving"),
        helper.make_node("QuantizeLinear", ["half", "scale", "zero"], ["half_q"]),
        helper.make_node("DequantizeLinear", ["half_q", "scale", "zero"], ["half_dq"]),
        helper.make_node("Relu", ["half_dq"], ["y_QuantizeLinear_Input"], name="relu"),
        helper.make_node("QuantizeLinear", ["y_QuantizeLinear_Input", "scale", "zero"], ["y_q"]),
        helper.make_node("DequantizeLinear", ["y_q", "scale", "zero"], ["y"]),
    ]
    path = save(tmp_path / "model.onnx", nodes, [value("x", [3])], [value("y", [3])], steps)
    found = trace_onnx(path, {"x": np.array([1.1, 2.3, -0.9], np.float32)})
    assert [(t.name, t.operator, t.layer, t.inputs, t.is_output) for t in found] == [
        ("x", "input", "x", (), False),
        ("half", "Mul", "halving", ("x",), False),
        ("y", "Relu", "relu", ("half",), True),
    ]
    assert sample(found[1]).tolist() == [0.5, 1.0, -0.5]
    assert sample(found[2]).tolist() == [0.5, 1.0, 0.0]


def test_a_tflite_trace_tells_operators_and_edges_in_order_of_execution() -> None:
    found = trace_tflite(DIGITS / "digits.tflite", {"image": np.ones((1, 8, 8, 1), np.float32)})
    assert [(t.operator, t.fingerprint.shape) for t in found] == [
        ("input", (8, 8)),
        ("DEPTHWISE_CONV_2D", (8, 8, 64)),
        ("CONV_2D", (8, 8, 96)),
        ("CONV_2D", (8, 8, 128)),
        ("CONV_2D", (8, 8, 128)),
        ("CONV_2D", (8, 8, 128)),
        ("TRANSPOSE", (128, 8, 8)),
        ("MEAN", (128,)),
        ("FULLY_CONNECTED", (10,)),
    ]
    assert [t.inputs for t in found] == [(), *((before.name,) for before in found[:-1])]
    assert [t.is_output for t in found] == [False] * 8 + [True]
    assert found[2].layer.endswith("Sequential_features/torch.nn.modules.conv.Conv2d_3")


def test_a_tflite_trace_takes_another_batch_size() -> None:
    found = trace_tflite(DIGITS / "digits.tflite", {"image": np.ones((4, 8, 8, 1), np.float32)})
    assert found[-1].fingerprint.shape == (4, 10)


def test_a_tflite_trace_that_takes_too_much_memory_is_given_up() -> None:
    feed = {"image": np.ones((1, 8, 8, 1), np.float32)}
    with pytest.raises(
        ConversionFailed, match=r"digits\.tflite takes \d MB to keep all .* and 1 MB"
    ) as caught:
        trace_tflite(DIGITS / "digits.tflite", feed, TraceLimits(memory=1_000_000))
    assert caught.value.reason == "trace_too_large"


def test_quantised_tflite_tensors_are_traced_as_the_numbers_they_stand_for(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(quantised_tflite())
    (found,) = trace_tflite(path, {"x": np.array([0.6, -0.3], np.float32)})
    # In steps of a half: 0.5 and -0.5, as int8 and back.
    assert (found.name, found.operator, found.is_output) == ("x", "input", True)
    assert sample(found).tolist() == [0.5, -0.5]


def quantised_tflite() -> bytes:
    """From x: QUANTIZE, DEQUANTIZE, in steps of a half."""
    import flatbuffers

    def tensor(name: str, kind: int, *, scaled: bool) -> schema.TensorT:
        made = schema.TensorT()
        made.name, made.shape, made.type = name, [2], kind
        if scaled:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [0.5], [3]
        return made

    def operator(code: int, source: int, target: int) -> schema.OperatorT:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, [source], [target]
        return made

    def operator_code(number: int) -> schema.OperatorCodeT:
        made = schema.OperatorCodeT()
        made.builtinCode = made.deprecatedBuiltinCode = number
        made.version = 1
        return made

    graph = schema.SubGraphT()
    kinds = schema.TensorType
    graph.tensors = [
        tensor("x", kinds.FLOAT32, scaled=False),
        tensor("x_q", kinds.INT8, scaled=True),
        tensor("y", kinds.FLOAT32, scaled=False),
    ]
    graph.inputs, graph.outputs = [0], [2]
    graph.operators = [operator(0, 0, 1), operator(1, 1, 2)]
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    numbers = (schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE)
    model.operatorCodes = [operator_code(number) for number in numbers]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_trace_of_another_process_is_wrapped_with_its_edges() -> None:
    arrays = {"x": np.ones(3), "ids": np.arange(3), "a": np.ones(2), "b": np.zeros(2)}
    alone = traced(arrays, {"a": "Linear", "b": "ReLU"})
    assert [(t.name, t.operator, t.inputs, t.is_output) for t in alone] == [
        ("x", "unknown", (), False),
        ("a", "Linear", (), False),
        ("b", "ReLU", (), False),
    ]
    joined = traced(arrays, {}, {"a": ["x"], "b": ["a"]})
    assert [(t.name, t.inputs, t.is_output) for t in joined] == [
        ("x", (), False),
        ("a", ("x",), False),
        ("b", ("a",), True),
    ]


def test_the_file_on_disk_stays_as_it_is(tmp_path: Path) -> None:
    path = two_branches(tmp_path / "model.onnx")
    before = path.read_bytes()
    trace_onnx(path, {"x": IMAGE})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
