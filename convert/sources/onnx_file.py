"""Reads an ONNX file: what it refers to, what it holds, and whether onnxruntime loads it.

Runs in the worker process only: it imports onnx and onnxruntime.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx.external_data_helper import uses_external_data

from convert.errors import InvalidModel

#: Domains whose operators onnxruntime itself provides.
_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"}
_RUNTIME_DOMAINS = ("com.microsoft", "com.ms.", "org.pytorch.aten")
_UNKNOWN_OPERATOR = re.compile(
    r"([\w.]*):(\w+)\(-?\d+\) is not a registered function/op|No Op registered for (\w+)"
)
_TENSOR_TYPE = re.compile(r"^tensor\((\w+)\)$")
_NUMPY_NAMES = {"float": "float32", "double": "float64", "string": "str"}

#: Operators through which an input's values reach a table unchanged.
_VALUE_KEEPING = {"Cast", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Flatten"}
_DYNAMIC_INT8 = {
    "DynamicQuantizeLinear",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
    "ConvInteger",
    "MatMulInteger",
}
_STATIC_INT8 = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul"}
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}
_HALF_FLOATS = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
_SMALL_INTEGERS = {
    onnx.TensorProto.INT8,
    onnx.TensorProto.UINT8,
    onnx.TensorProto.INT4,
    onnx.TensorProto.UINT4,
}


def inspect_onnx(path: Path) -> dict[str, Any]:
    """What the file holds, as inspection.info_from_json reads it; raises InvalidModel."""
    model = read_proto(path)
    external = _external_data(model, path)
    _refuse_custom_operators(model)
    session = _session(path)
    weights = _weight_elements(model)
    operators = Counter(node.op_type for node in _nodes(model.graph))
    return {
        "kind": "onnx",
        "external_data": external,
        "inputs": [_tensor(node, "input") for node in session.get_inputs()],
        "outputs": [_tensor(node, "output") for node in session.get_outputs()],
        "opset": opset(model),
        "operators": dict(operators.most_common()),
        "parameters": sum(weights.values()),
        "bounds": _bounds(model.graph),
        "precision": _precision(set(operators), weights),
    }


def read_proto(path: Path) -> onnx.ModelProto:
    """The model without its external data; raises InvalidModel for a file that is not one."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf and onnx raise what they like on damaged bytes
        raise _invalid(path, f"it does not parse ({error})") from error
    if not model.graph.output:
        raise _invalid(path, "it holds no graph with outputs")
    return model


def opset(model: onnx.ModelProto) -> int | None:
    """Version of the standard operators."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return max(versions, default=None)


def _external_data(model: onnx.ModelProto, path: Path) -> dict[str, int]:
    """Bytes by name of the data files beside the model, each proven to hold what the model takes from it."""
    needed: Counter[str] = Counter()
    for tensor in _tensors(model.graph):
        if uses_external_data(tensor):
            entries = {entry.key: entry.value for entry in tensor.external_data}
            location = entries.get("location", "")
            length = int(entries.get("length", 0)) or _raw_bytes(tensor)
            needed[location] = max(needed[location], int(entries.get("offset", 0)) + length)
    folder = path.parent.resolve()
    sizes = {}
    for location, least in sorted(needed.items()):
        file = path.parent / location
        # resolve() follows links, so neither ../ nor a planted link leads out of the folder
        if not location or Path(location).is_absolute() or not file.resolve().is_relative_to(folder):
            raise InvalidModel(
                f"{path.name} takes weights from {location!r}, which is outside of its own folder",
                reason="unsafe_external_data",
                remedy="Keep the data files of a model beside it",
            )
        size = file.stat().st_size if file.is_file() else None
        if size is None or size < least:
            found = "which is missing" if size is None else f"which has {size:,} bytes"
            raise InvalidModel(
                f"{path.name} ({path.stat().st_size:,} bytes) holds the graph alone: "
                f"it takes {least:,} bytes of weights from {location!r}, {found}",
                reason="external_data_missing",
                remedy=f"Put the complete {location} beside {path.name}",
            )
        sizes[location] = size
    return sizes


def _raw_bytes(tensor: onnx.TensorProto) -> int:
    try:
        itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError:
        return 0
    # Two 4-bit elements share a byte although numpy gives each its own.
    share = 2 if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4) else 1
    return int(math.prod(tensor.dims) * itemsize // share)


def _refuse_custom_operators(model: onnx.ModelProto) -> None:
    own_functions = {(function.domain, function.name) for function in model.functions}
    for node in _nodes(model.graph):
        domain, name = node.domain, node.op_type
        known = domain in _KNOWN_DOMAINS or domain.startswith(_RUNTIME_DOMAINS)
        if not known and (domain, name) not in own_functions:
            raise _custom_operator(name, domain)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Loading proves the file; optimising it would only take time here.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's error classes share no base
        unknown = _UNKNOWN_OPERATOR.search(str(error))
        if unknown:
            raise _custom_operator(unknown[2] or unknown[3], unknown[1] or "") from error
        raise _invalid(path, f"onnxruntime {onnxruntime.__version__} does not load it ({error})") from error


def _tensor(node: Any, role: str) -> dict[str, Any]:
    tensor_type = _TENSOR_TYPE.match(node.type)
    if tensor_type is None:
        raise InvalidModel(
            f"{role} {node.name!r} is a {node.type}, not a tensor",
            reason=f"non_tensor_{role}",
            remedy="Export the model without ZipMap, sequences and optional values",
        )
    element = tensor_type[1]
    return {
        "name": node.name,
        "aliases": [],
        "shape": [dim if isinstance(dim, int) and dim >= 0 else _symbol(dim) for dim in node.shape],
        "dtype": _NUMPY_NAMES.get(element, element),
        "quantization": None,
    }


def _symbol(dim: object) -> str | None:
    return dim if isinstance(dim, str) and dim else None


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of branches and loop bodies included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All constant tensors, those in attributes and inner graphs included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _tensors(inner)


def _weight_elements(model: onnx.ModelProto) -> Counter[str]:
    """Elements of the weights: float, half, int8. Wider integers are shapes and indices, not weights."""
    elements: Counter[str] = Counter()
    for tensor in _tensors(model.graph):
        for label, types in (("float", _FLOATS), ("half", _HALF_FLOATS), ("int8", _SMALL_INTEGERS)):
            if tensor.data_type in types:
                elements[label] += math.prod(tensor.dims)
    return elements


def _precision(operators: set[str], weights: Counter[str]) -> str:
    if operators & _DYNAMIC_INT8:
        return "int8-dynamic"
    if operators & _STATIC_INT8:
        # Without a QuantizeLinear only weights are stored in int8, activations stay float.
        return "int8" if operators - {"DequantizeLinear"} & _STATIC_INT8 else "int8-dynamic"
    return "fp16" if weights["half"] > weights["float"] else "fp32"


def _bounds(graph: onnx.GraphProto) -> dict[str, int]:
    """For each integer input that selects rows of a table: how many rows there are."""
    tables = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    origin = {entry.name: entry.name for entry in graph.input if entry.name not in tables}
    bounds: dict[str, int] = {}
    for node in graph.node:  # in topological order, so one pass follows every path
        source = origin.get(node.input[0]) if node.input else None
        if node.op_type in _VALUE_KEEPING and source:
            origin[node.output[0]] = source
        elif (
            node.op_type in ("DequantizeLinear", "Cast", "Identity")
            and node.input[:1]
            and node.input[0] in tables
        ):
            tables[node.output[0]] = tables[node.input[0]]
        elif node.op_type == "Gather" and node.input[0] in tables and node.input[1] in origin:
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            rows, name = tables[node.input[0]][axis], origin[node.input[1]]
            bounds[name] = min(rows, bounds.get(name, rows))
    return bounds


def _invalid(path: Path, why: str) -> InvalidModel:
    return InvalidModel(
        f"{path.name} ({path.stat().st_size} bytes) is not a usable ONNX model: {why}",
        reason="invalid_model",
        remedy="Export the model again and check that the file was copied completely",
    )


def _custom_operator(name: str, domain: str) -> InvalidModel:
    return InvalidModel(
        f"operator {name!r} of domain {domain or 'ai.onnx'!r} is not one that onnxruntime has",
        reason="custom_op",
        remedy="Export the model with standard operators",
    )
