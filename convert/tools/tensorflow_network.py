"""Keras files and SavedModels as one thing: a TensorFlow function of named tensors to named tensors.

The reference, the inspection and every converter use that same function, so names agree everywhere.
In a tool's process of the tensorflow toolchain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from convert.errors import ConversionFailed, InvalidModel
from convert.sources.source import Source
from convert.tools.keras_file import check_keras_file, load_keras_model

Shape = tuple[int | None, ...]

_SIGNATURE = "serving_default"
_NOT_OF_A_NAME = re.compile(r"\W+", re.ASCII)
#: Operators that are not work: values, names, calls of functions whose operators are counted themselves.
_PLUMBING = {
    "Const", "Identity", "IdentityN", "NoOp", "Placeholder", "ReadVariableOp", "VarHandleOp",
    "PartitionedCall", "StatefulPartitionedCall", "_Arg", "_Retval",
}  # fmt: skip


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
    if source.kind == "keras":
        # Before TensorFlow is: what is wrong with a file is told at once.
        check_keras_file(source.path, trust_code=source.trust_pickle)
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
            f"{network.name} does not take inputs {described}: {first_line(error)}",
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
            f"{path.name} is not a usable SavedModel: {type(error).__name__}: {first_line(error)}",
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
            Tensor(name, original, known_shape(specs[original].shape), specs[original].dtype.name)
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


def known_shape(shape: Any) -> Shape | None:
    """A tf.TensorShape as a tuple; None where not even the number of dimensions is known."""
    return None if shape.rank is None else tuple(shape.as_list())


def first_line(error: BaseException) -> str:
    """What an error says, without the trace TensorFlow puts behind it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
