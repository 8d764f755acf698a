"""Reads a TFLite file: names, quantisation, operators, and whether LiteRT loads it.

Runs in the worker process only: it imports ai_edge_litert.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from convert.errors import InvalidModel

_IDENTIFIER = b"TFL3"
_CUSTOM_OPERATOR = re.compile(r"(?:unresolved custom op|Op type not registered)[:'\s]+([\w.:]+)")
_OPERATOR_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
_TYPES = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
#: Operators through which an input's values reach a table unchanged.
_VALUE_KEEPING = {"CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
#: Operator -> (position of the table, position of the row numbers).
_LOOKUPS = {"GATHER": (0, 1), "EMBEDDING_LOOKUP": (1, 0)}
_WEIGHT_TYPES = {"FLOAT32": "float", "FLOAT16": "half", "INT8": "int8", "UINT8": "int8", "INT4": "int8"}
#: A quantised tensor of this few elements is a scale or a shift, not a layer's weights.
_LEAST_WEIGHTS = 2


def inspect_tflite(path: Path) -> dict[str, Any]:
    """What the file holds, as inspection.info_from_json reads it; raises InvalidModel."""
    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise _invalid(path, f"its bytes 4 to 8 are {content[4:8]!r}, not {_IDENTIFIER!r}")
    interpreter = _interpreter(path)
    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    operators = Counter(_operator_names(model))
    weights = _weight_elements(model)
    inputs = _tensors(interpreter.get_input_details(), _signature_names(model, "Inputs"))
    return {
        "kind": "tflite",
        "external_data": {},
        "inputs": inputs,
        "outputs": _tensors(interpreter.get_output_details(), _signature_names(model, "Outputs")),
        "opset": None,
        "operators": dict(operators.most_common()),
        "parameters": sum(weights.values()),
        "bounds": _bounds(model, interpreter.get_input_details(), inputs),
        "precision": _precision(model, graph, weights),
    }


def _interpreter(path: Path) -> Any:
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except Exception as error:  # ValueError, RuntimeError or worse, by version
        custom = _CUSTOM_OPERATOR.search(str(error))
        if custom or "Select TensorFlow op" in str(error):
            name = custom[1].rstrip(".") if custom else ", ".join(_flex_operators(path))
            raise InvalidModel(
                f"operator {name!r} is a custom operator that LiteRT does not have",
                reason="custom_op",
                remedy="Convert the model with built-in TFLite operators only",
            ) from error
        raise _invalid(path, f"LiteRT does not load it ({error})") from error
    return interpreter


def _flex_operators(path: Path) -> list[str]:
    names = set(_operator_names(schema.Model.GetRootAs(path.read_bytes())))
    return sorted(name for name in names if name.startswith("Flex")) or ["Flex"]


def _tensors(details: list[dict[str, Any]], names: dict[int, str]) -> list[dict[str, Any]]:
    return [_tensor(detail, names.get(detail["index"])) for detail in details]


def _tensor(detail: dict[str, Any], signature_name: str | None) -> dict[str, Any]:
    name = signature_name or detail["name"]
    dtype = np.dtype(detail["dtype"])
    scale, zero_point = detail["quantization"]
    return {
        "name": name,
        "aliases": [detail["name"]] if detail["name"] != name else [],
        "shape": [int(dim) if dim >= 0 else None for dim in detail["shape_signature"]],
        "dtype": dtype.name if dtype.kind in "fiubc" else "str",
        "quantization": [float(scale), int(zero_point)] if scale else None,
    }


def _signature_names(model: Any, side: str) -> dict[int, str]:
    """Tensor index -> name, for a file with exactly one signature."""
    if model.SignatureDefsLength() != 1:
        return {}
    signature = model.SignatureDefs(0)
    entries = [getattr(signature, side)(i) for i in range(getattr(signature, f"{side}Length")())]
    return {entry.TensorIndex(): entry.Name().decode("utf-8") for entry in entries if entry.Name()}


def _graphs(model: Any) -> Iterator[Any]:
    for i in range(model.SubgraphsLength()):
        yield model.Subgraphs(i)


def operators_of(model: Any, graph: Any) -> Iterator[tuple[str, Any]]:
    """Name and entry of each operator of a graph, in order of execution."""
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Files older than schema 3a keep the code in the deprecated one-byte field.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = _OPERATOR_NAMES.get(number, f"operator {number}")
        if name == "CUSTOM" and code.CustomCode():
            name = code.CustomCode().decode("utf-8", "replace")
        yield name, operator


def _operator_names(model: Any) -> Iterator[str]:
    for graph in _graphs(model):
        for name, _ in operators_of(model, graph):
            yield name


def _is_constant(model: Any, tensor: Any) -> bool:
    buffer = model.Buffers(tensor.Buffer())
    # Large models keep their data behind the flatbuffer, as offset and size.
    return bool(tensor.Buffer() != 0 and (buffer.DataLength() > 0 or buffer.Size() > 0))


def _elements(tensor: Any) -> int:
    return math.prod(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))


def _weight_elements(model: Any) -> Counter[str]:
    """Elements of the constant tensors: float, half, int8. Wider integers are biases, shapes and indices."""
    elements: Counter[str] = Counter()
    for graph in _graphs(model):
        for i in range(graph.TensorsLength()):
            tensor = graph.Tensors(i)
            label = _WEIGHT_TYPES.get(_TYPES.get(tensor.Type(), ""))
            if label and _is_constant(model, tensor):
                elements[label] += _elements(tensor)
    return elements


def _precision(model: Any, graph: Any, weights: Counter[str]) -> str:
    if weights["int8"] >= _LEAST_WEIGHTS and weights["int8"] > weights["float"] / 4:
        return "int8" if _has_integer_activations(model, graph) else "int8-dynamic"
    return "fp16" if weights["half"] > weights["float"] else "fp32"


def _has_integer_activations(model: Any, graph: Any) -> bool:
    """Whether the outputs of any operator are quantised 8 bit tensors."""
    for name, operator in operators_of(model, graph):
        for i in range(operator.OutputsLength() if name != "QUANTIZE" else 0):
            tensor = graph.Tensors(operator.Outputs(i))
            quantization = tensor.Quantization()
            scaled = quantization is not None and quantization.ScaleLength() > 0
            if _TYPES.get(tensor.Type()) in ("INT8", "UINT8") and scaled:
                return True
    return False


def _bounds(model: Any, details: list[dict[str, Any]], inputs: list[dict[str, Any]]) -> dict[str, int]:
    """For each integer input that selects rows of a table: how many rows there are."""
    graph = model.Subgraphs(0)
    origin = {int(detail["index"]): tensor["name"] for detail, tensor in zip(details, inputs, strict=True)}
    bounds: dict[str, int] = {}
    for name, operator in operators_of(model, graph):
        taken = [int(operator.Inputs(i)) for i in range(operator.InputsLength())]
        if name in _VALUE_KEEPING and taken[0] in origin:
            origin[int(operator.Outputs(0))] = origin[taken[0]]
        elif name in _LOOKUPS:
            table, rows = (taken[position] for position in _LOOKUPS[name])
            tensor = graph.Tensors(table)
            if rows in origin and _is_constant(model, tensor):
                count = int(tensor.Shape(0))
                bounds[origin[rows]] = min(count, bounds.get(origin[rows], count))
    return bounds


def _invalid(path: Path, why: str) -> InvalidModel:
    return InvalidModel(
        f"{path.name} ({path.stat().st_size} bytes) is not a usable TFLite model: {why}",
        reason="invalid_model",
        remedy="Convert the model again and check that the file was copied completely",
    )
