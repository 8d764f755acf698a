"""Traces a TFLite graph. Runs in the worker process only: it imports ai_edge_litert."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from convert.proofs.fingerprint import take_fingerprint
from convert.proofs.traces import (
    DEFAULT_LIMITS,
    Arrays,
    Operation,
    TracedTensor,
    TraceLimits,
    depending_on,
    merged,
    titled,
    too_large,
    unique,
)
from convert.sources.tflite_file import operators_of

#: Quantised activations; wider integers are indices, shapes and accumulators.
_STEPS = {"int8", "uint8", "int16"}


def trace_tflite(path: Path, feed: Arrays, limits: TraceLimits = DEFAULT_LIMITS) -> list[TracedTensor]:
    """All float and quantised tensors of a TFLite graph that depend on `feed` (complete inputs by name).

    Names are the signature's or the tensors' own. Runs LiteRT's own kernels without a delegate, which
    would keep its tensors to itself. Raises ConversionFailed `trace_too_large`, and what LiteRT raises.
    """
    interpreter, inputs = _interpreter(path, feed, limits)
    model = schema.Model.GetRootAs(path.read_bytes())
    operations = list(_operations(model))
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    interpreter.invoke()
    keys = {_key(index): index for index in range(model.Subgraphs(0).TensorsLength())}
    prints = {}
    for key in depending_on(operations, [_key(index) for index in inputs]):
        values = _real_values(interpreter, details[keys[key]])
        if values is not None:
            prints[key] = take_fingerprint(values)
    outputs = [_key(detail["index"]) for detail in interpreter.get_output_details()]
    stand_ins = {
        operation.outputs[0]: operation.inputs[0]
        for operation in operations
        if operation.operator in ("QUANTIZE", "DEQUANTIZE") and operation.inputs
    }
    found = merged(operations, prints, outputs, stand_ins)
    names = unique({key: str(details[index]["name"]) for key, index in keys.items()})
    return [replace(tensor, layer=_last_part(tensor.name)) for tensor in titled(found, names)]


def _interpreter(path: Path, feed: Arrays, limits: TraceLimits) -> tuple[Any, list[int]]:
    """An interpreter that has been fed, and the indices of the tensors it was fed with."""
    with warnings.catch_warnings():
        # It warns that keeping all tensors is for debugging, which this is.
        warnings.simplefilter("ignore")
        interpreter: Any = Interpreter(
            model_path=str(path),
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    places = _inputs(interpreter)
    for name, array in feed.items():
        interpreter.resize_tensor_input(places[name], array.shape)
    interpreter.allocate_tensors()
    held = sum(
        math.prod(map(int, detail["shape"])) * np.dtype(detail["dtype"]).itemsize
        for detail in interpreter.get_tensor_details()
    )
    if held > limits.memory:
        raise too_large(path, f"{held / 1e6:,.0f} MB to keep all its tensors", limits)
    for name, array in feed.items():
        interpreter.set_tensor(places[name], array)
    return interpreter, [places[name] for name in feed]


def _inputs(interpreter: Any) -> dict[str, int]:
    """Tensor index of each input by its tensor's name, and by the signature's if there is just one."""
    places = {detail["name"]: int(detail["index"]) for detail in interpreter.get_input_details()}
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        for name, detail in runner.get_input_details().items():
            places[name] = int(detail["index"])
    return places


def _operations(model: Any) -> Iterator[Operation]:
    for name, operator in operators_of(model, model.Subgraphs(0)):
        outputs = [_key(operator.Outputs(i)) for i in range(operator.OutputsLength())]
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        # -1 is an optional input that is not there.
        yield Operation(name, outputs[0], tuple(_key(i) for i in inputs if i >= 0), tuple(outputs))


def _last_part(name: str) -> str:
    """Converters join the places in the source that became one operator; the last one began it."""
    parts = [part for part in name.split(";") if part and not part.isdigit()]
    return parts[-1] if parts else name


def _key(index: int) -> str:
    return f"tensor {int(index)}"


def _real_values(interpreter: Any, detail: Mapping[str, Any]) -> NDArray[np.generic] | None:
    """The numbers a tensor stands for; None for one that holds no activations."""
    dtype = np.dtype(detail["dtype"])
    if dtype.kind == "f":
        values: NDArray[np.generic] = interpreter.get_tensor(detail["index"])
        return values
    scales, zero_points = (detail["quantization_parameters"][key] for key in ("scales", "zero_points"))
    if dtype.name not in _STEPS or len(scales) != 1:
        return None
    steps = interpreter.get_tensor(detail["index"]).astype(np.float32)
    real: NDArray[np.generic] = (steps - np.float32(zero_points[0])) * np.float32(scales[0])
    return real
