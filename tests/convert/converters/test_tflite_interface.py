"""int8 and uint8 at the ends of quantised TFLite files, exact to the last step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from convert.converters.tflite_interface import Integer, with_integer_interface
from convert.converters.to_tflite import TFLITE_TO_TFLITE
from convert.errors import ConversionFailed
from convert.job import Job
from convert.sources.inspection import ModelInfo
from convert.steps import StepLog
from tests.convert.models import DIGITS

FLOAT32, INT8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
Model = Any


def pack(model: Model) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def unpack(content: bytes) -> Model:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def tensor(name: str, kind: int, scale: float | None = None, zero_point: int = 0) -> Any:
    made: Any = schema.TensorT()
    made.name, made.type, made.shape, made.buffer = name, kind, [1, 4], 0
    if scale is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
    return made


def graph(
    tensors: list[Any], steps: list[tuple[str, int, int]], inputs: list[int], outputs: list[int]
) -> Model:
    """A model of operators with one input and one output each: (name, input, output)."""
    model: Any = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    names = list(dict.fromkeys(name for name, _, _ in steps))
    model.operatorCodes = []
    for name in names:
        code: Any = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 2 if name == "RELU" else 1
        model.operatorCodes.append(code)
    main: Any = schema.SubGraphT()
    main.tensors, main.inputs, main.outputs, main.operators = tensors, inputs, outputs, []
    for name, given, made in steps:
        operator: Any = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = names.index(name), [given], [made]
        main.operators.append(operator)
    signature: Any = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs = [entry(tensors, index) for index in inputs]
    signature.outputs = [entry(tensors, index) for index in outputs]
    model.subgraphs, model.signatureDefs = [main], [signature]
    return model


def entry(tensors: list[Any], index: int) -> Any:
    made: Any = schema.TensorMapT()
    made.name, made.tensorIndex = f"the {tensors[index].name}", index
    return made


def relu() -> Model:
    """Floats x -> y = max(x, 0), in int8 of scale 0.5 within: x zero at 10, y at -128."""
    tensors = [
        tensor("x", FLOAT32),
        tensor("x_int8", INT8, 0.5, 10),
        tensor("y_int8", INT8, 0.25, -128),
        tensor("y", FLOAT32),
    ]
    steps = [("QUANTIZE", 0, 1), ("RELU", 1, 2), ("DEQUANTIZE", 2, 3)]
    return graph(tensors, steps, [0], [3])


def operators(content: bytes) -> list[str]:
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    model = unpack(content)
    return [names[model.operatorCodes[o.opcodeIndex].builtinCode] for o in model.subgraphs[0].operators]


def run(content: bytes, **inputs: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    answers: dict[str, NDArray[np.generic]] = Interpreter(model_content=content).get_signature_runner()(
        **inputs
    )
    return answers


def test_int8_ends_drop_the_conversions_and_keep_names_scales_and_values() -> None:
    content = with_integer_interface(pack(relu()), "int8")
    assert operators(content) == ["RELU"]
    interpreter = Interpreter(model_content=content)
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["name"], given["dtype"], given["quantization"]) == ("x", np.int8, (0.5, 10))
    assert (made["name"], made["dtype"], made["quantization"]) == ("y", np.int8, (0.25, -128))
    # -4, 0, 2 and 8 in steps of 0.5 from 10; 0, 0, 2 and 8 in steps of 0.25 from -128
    answers = run(content, **{"the x": np.array([[2, 10, 14, 26]], np.int8)})
    np.testing.assert_array_equal(answers["the y"], np.array([[-128, -128, -120, -96]], np.int8))


def test_uint8_ends_have_the_scales_of_int8_and_zero_points_128_higher() -> None:
    content = with_integer_interface(pack(relu()), "uint8")
    assert operators(content) == ["QUANTIZE", "RELU", "QUANTIZE"]
    interpreter = Interpreter(model_content=content)
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["dtype"], given["quantization"]) == (np.uint8, (0.5, 138))
    assert (made["dtype"], made["quantization"]) == (np.uint8, (0.25, 0))
    answers = run(content, **{"the x": np.array([[130, 138, 142, 154]], np.uint8)})
    np.testing.assert_array_equal(answers["the y"], np.array([[0, 0, 8, 32]], np.uint8))


def test_no_tensor_is_left_that_nothing_uses() -> None:
    model = unpack(with_integer_interface(pack(relu()), "int8"))
    assert [t.name for t in model.subgraphs[0].tensors] == [b"x", b"y"]


def test_data_behind_the_flatbuffer_are_brought_into_it() -> None:
    model = relu()
    weights: Any = schema.TensorT()
    weights.name, weights.type, weights.shape, weights.buffer = "shift", INT8, [1, 4], 1
    weights.quantization = schema.QuantizationParametersT()
    weights.quantization.scale, weights.quantization.zeroPoint = [0.5], [0]
    main = model.subgraphs[0]
    main.tensors.append(weights)
    (code,) = (code for code in model.operatorCodes if code.builtinCode == schema.BuiltinOperator.RELU)
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    main.operators[1].inputs = [1, 4]
    main.operators[1].builtinOptionsType = schema.BuiltinOptions.AddOptions
    main.operators[1].builtinOptions = schema.AddOptionsT()
    behind: Any = schema.BufferT()
    model.buffers.append(behind)
    behind.offset, behind.size = 2, 4  # of its final size, to learn where the flatbuffer ends
    behind.offset = len(pack(model))
    content = pack(model) + np.array([0, 2, 4, 6], np.int8).tobytes()

    made = with_integer_interface(content, "int8")
    # Zero in steps of 0.5 from 10, and 0, 1, 2, 3 added to it; in steps of 0.25 from -128.
    answers = run(made, **{"the x": np.full((1, 4), 10, np.int8)})
    np.testing.assert_array_equal(answers["the y"], np.array([[-128, -124, -120, -116]], np.int8))


def test_two_outputs_of_one_value_both_become_integers() -> None:
    model = relu()
    main = model.subgraphs[0]
    main.tensors.append(tensor("again", FLOAT32))
    operator: Any = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = main.operators[2].opcodeIndex, [2], [4]
    main.operators.append(operator)
    main.outputs = [3, 4]
    model.signatureDefs[0].outputs.append(entry(main.tensors, 4))
    answers = run(
        with_integer_interface(pack(model), "int8"), **{"the x": np.array([[2, 10, 14, 26]], np.int8)}
    )
    assert answers["the again"].dtype == np.int8
    np.testing.assert_array_equal(answers["the again"], answers["the y"])


def test_integers_that_are_no_numbers_of_a_scale_stay_as_they_are() -> None:
    model = relu()
    main = model.subgraphs[0]
    index: Any = tensor("best", schema.TensorType.INT32)
    main.tensors += [tensor("number", schema.TensorType.INT32), index]
    code: Any = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.NEG
    code.version = 1
    model.operatorCodes.append(code)
    operator: Any = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes) - 1, [4], [5]
    main.operators.append(operator)
    main.inputs, main.outputs = [0, 4], [3, 5]
    model.signatureDefs[0].inputs.append(entry(main.tensors, 4))
    model.signatureDefs[0].outputs.append(entry(main.tensors, 5))
    interpreter = Interpreter(model_content=with_integer_interface(pack(model), "uint8"))
    assert [d["dtype"] for d in interpreter.get_input_details()] == [np.uint8, np.int32]
    assert [d["dtype"] for d in interpreter.get_output_details()] == [np.uint8, np.int32]


def float_at_the_end() -> Model:
    tensors = [
        tensor("x", FLOAT32),
        tensor("x_int8", INT8, 0.5, 10),
        tensor("back", FLOAT32),
        tensor("y", FLOAT32),
    ]
    return graph(tensors, [("QUANTIZE", 0, 1), ("DEQUANTIZE", 1, 2), ("RELU", 2, 3)], [0], [3])


def float_at_the_start() -> Model:
    tensors = [
        tensor("x", FLOAT32),
        tensor("positive", FLOAT32),
        tensor("y_int8", INT8, 0.5, 10),
        tensor("y", FLOAT32),
    ]
    return graph(tensors, [("RELU", 0, 1), ("QUANTIZE", 1, 2), ("DEQUANTIZE", 2, 3)], [0], [3])


@pytest.mark.parametrize("io", ["int8", "uint8"])
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (float_at_the_end, "output 'y' comes from RELU as float32"),
        (float_at_the_start, "input 'x' goes into RELU as float32"),
    ],
)
def test_an_end_without_a_scale_is_refused_by_name(
    model: Callable[[], Model], said: str, io: Integer
) -> None:
    with pytest.raises(ConversionFailed, match=said) as caught:
        with_integer_interface(pack(model()), io)
    assert caught.value.reason == "io_not_reached"


@pytest.mark.processes
@pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`")
@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_a_quantised_network_answers_in_integers_exactly_what_it_answers_in_floats(
    digits_tflite: ModelInfo, tmp_path: Path, io: Integer
) -> None:
    with np.load(DIGITS / "evaluation.npz") as archive:
        images = next(archive[name] for name in archive.files if archive[name].ndim > 1)
    samples = images[:32].reshape(32, 1, 8, 8, 1).astype(np.float32)
    (way,) = TFLITE_TO_TFLITE["int8"]
    for kind in ("float", io):
        output = tmp_path / f"{kind}.tflite"
        way.make(Job(digits_tflite, tmp_path, output, {"image": samples}, StepLog(), io=kind))
    runner = Interpreter(model_path=str(tmp_path / f"{io}.tflite")).get_signature_runner()
    scale, zero_point = runner.get_input_details()["image"]["quantization"]
    out_scale, out_zero_point = runner.get_output_details()["scores"]["quantization"]
    low = np.iinfo(io).min
    for sample in samples[:5]:
        fed = np.clip(np.round(sample / scale) + zero_point, low, low + 255).astype(io)
        numbers = ((fed.astype(np.float32) - zero_point) * scale).astype(np.float32)
        floats = run((tmp_path / "float.tflite").read_bytes(), image=numbers)["scores"]
        integers = runner(image=fed)["scores"]
        assert integers.dtype == io
        np.testing.assert_array_equal((integers.astype(np.float32) - out_zero_point) * out_scale, floats)
