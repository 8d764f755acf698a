"""Keras files and SavedModels as one thing: a TensorFlow function of named tensors to named tensors.

The reference, the inspection and every converter use that same function, so names agree everywhere.
In a tool's process of the tensorflow toolchain.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.arrays import load_arrays, save_arrays
from convert.errors import ConversionFailed, DataError, InvalidModel
from convert.source import Source, source_from_json
from convert.tools.keras_file import load_keras_model

Shape = tuple[int | None, ...]

_SIGNATURE = "serving_default"
_NOT_OF_A_NAME = re.compile(r"\W+", re.ASCII)
#: Operators that are not work: values, names, calls of functions whose operators are counted themselves.
_PLUMBING = {
    "Const", "Identity", "IdentityN", "NoOp", "Placeholder", "ReadVariableOp", "VarHandleOp",
    "PartitionedCall", "StatefulPartitionedCall", "_Arg", "_Retval",
}  # fmt: skip
_PYTHON_OPERATORS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction"}
_FILE_OPERATORS = {"ReadFile", "WriteFile", "MatchingFiles", "SaveV2", "RestoreV2"}


@dataclass(frozen=True)
class Tensor:
    """One input: `name` as it is used here, `original` as the file has it; shape None where it is unknown."""

    name: str
    original: str
    shape: Shape | None
    dtype: str


@dataclass(frozen=True)
class Network:
    """A loaded model."""

    name: str
    inputs: tuple[Tensor, ...]
    #: Named tensors -> named tensors.
    call: Callable[..., dict[str, Any]]
    #: What owns the variables, for saving.
    owner: Any
    variables: tuple[Any, ...]
    #: Layer type -> count; None where only operators are known.
    layers: dict[str, int] | None
    #: For integer inputs that select rows of a table: the number of rows.
    bounds: dict[str, int]


def load_network(source: Source) -> Network:
    """The model of a Keras file or SavedModel folder; raises InvalidModel."""
    assert source.path is not None
    _one_thread()
    if source.kind == "keras":
        return _keras_network(source.path, load_keras_model(source.path, trust_code=source.trust_pickle))
    return _saved_network(source.path)


def tensorflow_package() -> str:
    """The name TensorFlow is installed by: its wheels for x86-64 Linux without CUDA have one of their own."""
    return next(name for name in ("tensorflow-cpu", "tensorflow") if any(Distribution.discover(name=name)))


def input_specs(network: Network, shapes: Mapping[str, Sequence[int | None] | None]) -> list[Any]:
    """A tf.TensorSpec for each input in the network's order; None in a shape stays open.

    Raises ConversionFailed `inputs_differ` where `shapes` are of other inputs.
    """
    import tensorflow as tf

    names = [tensor.name for tensor in network.inputs]
    if set(names) != set(shapes):
        raise ConversionFailed(
            f"{network.name} has the inputs {', '.join(names)}, given were {', '.join(shapes)}",
            reason="inputs_differ",
        )
    return [tf.TensorSpec(shapes[t.name], t.dtype, name=t.name) for t in network.inputs]


def concrete_function(network: Network, shapes: Mapping[str, Sequence[int | None] | None]) -> Any:
    """The tf.function traced for inputs of these shapes, by name; None in a shape stays open.

    Its outputs are a dict. Raises ConversionFailed `execution_failed` for shapes the model does not take.
    """
    import tensorflow as tf

    specs = {spec.name: spec for spec in input_specs(network, shapes)}
    try:
        return tf.function(network.call, autograph=False).get_concrete_function(**specs)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        described = ", ".join(f"{name!r} {spec.shape}" for name, spec in specs.items())
        raise ConversionFailed(
            f"{network.name} does not take inputs {described}: {_first_line(error)}",
            reason="execution_failed",
            remedy="Check the shapes (--shape)",
        ) from error


def function_operators(function: Any) -> dict[str, list[str]]:
    """Operator type -> names of its nodes, in a traced function and all it calls."""
    graph = function.graph.as_graph_def()
    found: dict[str, list[str]] = {}
    for nodes in (graph.node, *(inner.node_def for inner in graph.library.function)):
        for node in nodes:
            if node.op not in _PLUMBING:
                found.setdefault(node.op, []).append(node.name)
    return found


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
            f"{network.name} does not run on this computer: {_first_line(error)}", reason="execution_failed"
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


def plain_names(originals: Sequence[str], fallback: str) -> list[str]:
    """Names of letters, digits and _ that differ from each other; `fallback` where nothing else is left."""
    names: list[str] = []
    for original in originals:
        name = _NOT_OF_A_NAME.sub("_", original).strip("_") or fallback
        if name[0].isdigit():
            name = f"{fallback}_{name}"
        free, number = name, 0
        while free in names:
            number += 1
            free = f"{name}_{number}"
        names.append(free)
    return names


def _one_thread() -> None:
    """Sums in the same order on every computer of a kind."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _keras_network(path: Path, model: Any) -> Network:
    import keras

    tensors = model.inputs
    unusual = [tensor.name for tensor in tensors if tensor.sparse or getattr(tensor, "ragged", False)]
    if unusual:
        raise InvalidModel(
            f"{path.name} takes sparse or ragged inputs: {', '.join(unusual)}",
            reason="non_tensor_input",
            remedy="Save the model with dense inputs",
        )
    originals = [tensor.name for tensor in tensors]
    names = plain_names(originals, "input")
    structure = None if isinstance(model, keras.Sequential) else model.input
    fallback = getattr(model, "output_names", None) or [model.layers[-1].name]

    def call(**inputs: Any) -> dict[str, Any]:
        flat = [inputs[name] for name in names]
        packed = flat[0] if structure is None else keras.tree.pack_sequence_as(structure, flat)
        return _named_outputs(model(packed, training=False), fallback)

    return Network(
        name=path.name,
        inputs=tuple(
            Tensor(name, original, tuple(tensor.shape), tensor.dtype)
            for name, original, tensor in zip(names, originals, tensors, strict=True)
        ),
        call=call,
        owner=model,
        variables=tuple(model.weights),
        layers=dict(Counter(type(layer).__name__ for layer in _leaf_layers(model))),
        bounds=_embedding_bounds(model, dict(zip(originals, names, strict=True))),
    )


def _saved_network(path: Path) -> Network:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
    except MemoryError:
        raise
    except Exception as error:  # damage shows as any class, by where it lies
        raise InvalidModel(
            f"{path.name} is not a usable SavedModel: {type(error).__name__}: {_first_line(error)}",
            reason="invalid_model",
            remedy="Export the model again and check that the folder was copied completely",
        ) from error
    signature = _signature(path, loaded.signatures)
    specs: dict[str, Any] = signature.structured_input_signature[1]
    # A SavedModel keeps no order.
    originals = sorted(specs, key=_by_number)
    names = plain_names(originals, "input")

    def call(**inputs: Any) -> dict[str, Any]:
        answer = signature(**{o: inputs[name] for o, name in zip(originals, names, strict=True)})
        return _named_outputs({name: answer[name] for name in sorted(answer, key=_by_number)}, [])

    return Network(
        name=path.name,
        inputs=tuple(
            Tensor(name, original, _shape(specs[original].shape), specs[original].dtype.name)
            for name, original in zip(names, originals, strict=True)
        ),
        call=call,
        owner=loaded,
        variables=tuple(signature.variables),
        layers=None,
        bounds={},
    )


def _by_number(name: str) -> list[str | int]:
    """Sorts output_10 after output_9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _signature(path: Path, signatures: Mapping[str, Any]) -> Any:
    """The signature to serve; the only one if none is called serving_default."""
    if _SIGNATURE in signatures:
        return signatures[_SIGNATURE]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    if signatures:
        raise InvalidModel(
            f"{path.name} has the signatures {', '.join(sorted(signatures))} and no {_SIGNATURE!r}",
            reason="several_signatures",
            remedy=f"Export it with the one to use as {_SIGNATURE!r}",
        )
    raise InvalidModel(
        f"{path.name} has no signature, so there is nothing to call",
        reason="no_signature",
        remedy=f"Export it with model.export(folder), or with signatures={{{_SIGNATURE!r}: function}}",
    )


def _named_outputs(answer: Any, fallback: Sequence[str]) -> dict[str, Any]:
    """Outputs by name: the model's own keys, else the names of the layers they come from."""
    import keras
    import tensorflow as tf

    if isinstance(answer, Mapping):
        originals = [str(key) for key in answer]
        tensors = list(answer.values())
    else:
        tensors = keras.tree.flatten(answer)
        originals = list(fallback) if len(fallback) == len(tensors) else list(fallback[:1]) * len(tensors)
    if not all(isinstance(tensor, tf.Tensor) for tensor in tensors):
        raise InvalidModel(
            f"the model gives {', '.join(type(tensor).__name__ for tensor in tensors)}, not tensors",
            reason="non_tensor_output",
            remedy="Export it with outputs that are tensors, in a dict or a list",
        )
    # An identity each: an output may be an input as it is, or another output too.
    names = plain_names(originals, "output")
    return {name: tf.identity(tensor) for name, tensor in zip(names, tensors, strict=True)}


def _leaf_layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from _leaf_layers(layer)
        elif type(layer).__name__ != "InputLayer":
            yield layer


def _embedding_bounds(model: Any, names: Mapping[str, str]) -> dict[str, int]:
    """Rows of the tables that an input selects from directly."""
    import keras

    bounds: dict[str, int] = {}
    for layer in model.layers:
        tensor = layer.input if isinstance(layer, keras.layers.Embedding) else None
        name = names.get(getattr(tensor, "name", ""))
        if name is not None:
            bounds[name] = min(int(layer.input_dim), bounds.get(name, int(layer.input_dim)))
    return bounds


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
    known = _shape(shape)
    if known is None:
        raise InvalidModel(
            f"output {name!r} of {network.name} has no known number of dimensions",
            reason="variable_output",
            remedy="Export the model with tensors of known shape",
        )
    return known


def _shape(shape: Any) -> Shape | None:
    return None if shape.rank is None else tuple(shape.as_list())


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


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
