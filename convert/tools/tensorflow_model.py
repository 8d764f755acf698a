"""What Keras files and SavedModels hold, and what they answer.

In a tool's process of the tensorflow toolchain.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.data.arrays import load_arrays, save_arrays
from convert.errors import ConversionFailed, DataError, InvalidModel
from convert.sources.source import source_from_json
from convert.tools.tensorflow_network import (
    Network,
    Shape,
    Tensor,
    concrete_function,
    first_line,
    function_operators,
    known_shape,
    load_network,
)

_PYTHON_OPERATORS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction"}
_FILE_OPERATORS = {"ReadFile", "WriteFile", "MatchingFiles", "SaveV2", "RestoreV2"}


def inspection(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: what request["source"] holds, as inspection.info_from_json reads it.

    request["shapes"]: shapes of inputs that the file leaves open, by name.
    """
    source = source_from_json(request["source"])
    network = load_network(source)
    shapes = _wanted_shapes(network, request.get("shapes") or {})
    function = concrete_function(network, shapes)
    operators = function_operators(function)
    if source.kind == "savedmodel":
        _refuse_operators(network.name, operators, trusted=source.trust_pickle)
    counts = network.layers or {name: len(nodes) for name, nodes in operators.items()}
    return {
        "kind": source.kind,
        "external_data": {},
        "inputs": [
            _described(t.name, shapes[t.name] or (), t.dtype, [t.original] if t.original != t.name else [])
            for t in network.inputs
        ],
        "outputs": [
            _described(name, _rank_known(network, name, spec.shape), spec.dtype.name, [])
            for name, spec in function.structured_outputs.items()
        ],
        "opset": None,
        "operators": dict(Counter(counts).most_common()),
        "parameters": sum(math.prod(variable.shape) for variable in network.variables),
        "bounds": network.bounds,
        "precision": _precision(network.variables),
    }


def reference(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: outputs of request["source"], example by example, written to request["outputs"]."""
    network = load_network(source_from_json(request["source"]))
    arrays = load_arrays(Path(request["inputs"]), request["names"])
    feeds = {tensor.name: _given(arrays, tensor, network.name) for tensor in network.inputs}
    answers = run_network(network, feeds)
    return {"names": save_arrays(Path(request["outputs"]), answers)}


def run_network(network: Network, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """Outputs (examples, *shape) of inputs (examples, *shape), by name."""
    import tensorflow as tf

    function = concrete_function(network, {name: array.shape[1:] for name, array in feeds.items()})
    examples = len(next(iter(feeds.values())))
    try:
        answers = [
            {
                name: np.asarray(value)
                for name, value in function(
                    **{name: tf.constant(array[i]) for name, array in feeds.items()}
                ).items()
            }
            for i in range(examples)
        ]
    except tf.errors.OpError as error:
        raise ConversionFailed(
            f"{network.name} does not run on this computer: {first_line(error)}", reason="execution_failed"
        ) from error
    stacked: dict[str, NDArray[np.generic]] = {}
    for name in answers[0]:
        shapes = sorted({answer[name].shape for answer in answers})
        if len(shapes) > 1:
            raise InvalidModel(
                f"output {name!r} changes its shape with the values of the input: "
                + ", ".join(map(str, shapes)),
                reason="variable_output",
                remedy="Export the model with outputs of a fixed size (detections: a fixed number, padded)",
            )
        stacked[name] = np.stack([answer[name] for answer in answers])
    return stacked


def _wanted_shapes(network: Network, given: Mapping[str, Sequence[int]]) -> dict[str, Shape | None]:
    """The shapes the file tells, those of unknown rank as the user gives them."""
    shapes: dict[str, Shape | None] = {}
    for tensor in network.inputs:
        shape = tensor.shape
        if shape is None:
            wanted = given.get(tensor.name, given.get(tensor.original))
            if wanted is None:
                raise DataError(
                    f"input {tensor.name!r} of {network.name} has no known number of dimensions",
                    reason="shape_needed",
                    remedy=f"Give it: --shape {tensor.name}=1,224,224,3",
                )
            shape = tuple(wanted)
        shapes[tensor.name] = shape
    return shapes


def _rank_known(network: Network, name: str, shape: Any) -> Shape:
    known = known_shape(shape)
    if known is None:
        raise InvalidModel(
            f"output {name!r} of {network.name} has no known number of dimensions",
            reason="variable_output",
            remedy="Export the model with tensors of known shape",
        )
    return known


def _refuse_operators(name: str, operators: Mapping[str, list[str]], *, trusted: bool) -> None:
    """Raises InvalidModel for operators whose code is elsewhere, and for those that touch files."""
    python = sorted(_PYTHON_OPERATORS & set(operators))
    if python:
        raise InvalidModel(
            f"{name} calls a Python function ({python[0]}, node {operators[python[0]][0]}), "
            "which a SavedModel does not hold",
            reason="custom_op",
            remedy="Write it with TensorFlow operations (no tf.py_function, tf.numpy_function)",
        )
    files = sorted(_FILE_OPERATORS & set(operators))
    if files and not trusted:
        raise InvalidModel(
            f"{name} reads or writes files when it runs ({', '.join(files)})",
            reason="code_untrusted",
            remedy="Give --trust-pickle if you know where the model comes from",
        )


def _precision(variables: Sequence[Any]) -> str:
    """fp16 where most weights are stored so."""
    half = full = 0
    for variable in variables:
        kind, count = str(variable.dtype), math.prod(variable.shape)
        half += count if "float16" in kind else 0
        full += count if "float32" in kind or "float64" in kind else 0
    return "fp16" if half > full else "fp32"


def _described(name: str, shape: Shape, dtype: str, aliases: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "aliases": aliases,
        "shape": list(shape),
        "dtype": "str" if dtype == "string" else dtype,
        "quantization": None,
    }


def _given(arrays: Mapping[str, NDArray[np.generic]], tensor: Tensor, model: str) -> NDArray[np.generic]:
    for name in (tensor.name, tensor.original):
        if name in arrays:
            return np.asarray(arrays[name], dtype=np.dtype(tensor.dtype))
    raise ConversionFailed(
        f"{model} has the input {tensor.name!r}, given were {', '.join(map(repr, arrays))}",
        reason="inputs_differ",
    )
