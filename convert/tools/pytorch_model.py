"""Inspects and runs PyTorch models: the worker's tasks in the torch toolchain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.data.arrays import load_arrays, save_arrays, stacked_outputs
from convert.errors import DataError, InvalidModel
from convert.sources.source import Source, source_from_json
from convert.tools.exchange import InputShape
from convert.tools.pytorch_calls import (
    Parameters,
    dtype_name,
    flatten_outputs,
    parameters_of,
    positional,
    run,
)
from convert.tools.pytorch_loading import load_module

Module = Any
Tensor = Any

#: What a graph holds beside its operators.
_NO_OPERATORS = {
    "prim::Constant",
    "prim::GetAttr",
    "prim::SetAttr",
    "prim::ListConstruct",
    "prim::TupleConstruct",
}


@dataclass(frozen=True)
class Prepared:
    """A loaded model with one set of inputs for it."""

    source: Source
    module: Module
    inputs: dict[str, Tensor]

    @property
    def examples(self) -> tuple[Tensor, ...]:
        """The inputs by their place."""
        return tuple(self.inputs.values())

    def positional(self) -> Module:
        """The module as exporters take it: tensors in, a flat tuple of tensors out."""
        return positional(self.module, list(self.inputs))


def prepare(source: Source, inputs: Sequence[InputShape]) -> Prepared:
    """The model with seeded inputs of the given shapes; raises InvalidModel."""
    import torch

    module, _ = load_module(source)
    tensors = {one.name: _seeded(one.shape, getattr(torch, one.dtype)) for one in inputs}
    return Prepared(source, module, tensors)


def inspection(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: what request["source"] holds, as inspection.info_from_inspection reads it."""
    source = source_from_json(request["source"])
    module, examples = load_module(source)
    inputs = _inputs(source, module, examples, request["shapes"])
    outputs = run(module, inputs)
    return {
        "kind": source.kind,
        "external_data": {},
        "inputs": [_tensor(name, tensor) for name, tensor in inputs.items()],
        "outputs": [_tensor(name, tensor) for name, tensor in outputs.items()],
        "opset": None,
        "operators": dict(Counter(_operators(source, module)).most_common()),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "bounds": {},
        "precision": "fp32",
    }


def reference(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: outputs (examples, *shape) for inputs (examples, *shape), on one thread."""
    import torch

    torch.set_num_threads(1)
    module, _ = load_module(source_from_json(request["source"]))
    arrays = load_arrays(Path(request["inputs"]), request["names"])
    feeds = _feeds(request["info"], arrays)
    examples = len(next(iter(feeds.values())))
    answers = [_answer(module, {name: array[i] for name, array in feeds.items()}) for i in range(examples)]
    outputs = {name: stacked_outputs(name, [answer[name] for answer in answers]) for name in answers[0]}
    return {"names": save_arrays(Path(request["outputs"]), outputs)}


def trace(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: what every layer answers to the first example, in the order of execution.

    Layers are the modules without modules of their own, and the operators of an exported program.
    TorchScript runs out of Python's sight: it has none.
    """
    import torch

    torch.set_num_threads(1)
    source = source_from_json(request["source"])
    module, _ = load_module(source)
    arrays = load_arrays(Path(request["inputs"]), request["names"])
    inputs = {name: torch.from_numpy(array[0]) for name, array in _feeds(request["info"], arrays).items()}
    seen = _program_layers(module, inputs) if source.kind == "pt2" else _module_layers(module, inputs)
    return {
        "tensors": [{"name": name, "operator": operator} for name, operator, _ in seen],
        "names": save_arrays(Path(request["outputs"]), {name: array for name, _, array in seen}),
    }


def _tensor(name: str, tensor: Tensor) -> dict[str, Any]:
    return {
        "name": name,
        "aliases": [],
        "shape": list(tensor.shape),
        "dtype": dtype_name(tensor),
        "quantization": None,
    }


def _inputs(
    source: Source, module: Module, examples: tuple[Tensor, ...] | None, shapes: Mapping[str, Sequence[int]]
) -> dict[str, Tensor]:
    """One tensor for every input, of the wanted shape, else of the example's."""
    import torch

    parameters = parameters_of(module)
    names = _input_names(source, parameters, examples, shapes)
    given = dict(zip(names, examples or (), strict=False))
    lacking = [name for name in names if name not in given and name not in shapes]
    if lacking or not names:
        raise _shape_needed(source, lacking or list(parameters.optional) or ["input_0"])
    inputs = {}
    for name in names:
        example = given.get(name)
        shape = tuple(shapes.get(name, () if example is None else example.shape))
        if example is not None and tuple(example.shape) == shape:
            inputs[name] = example
        else:
            inputs[name] = _seeded(shape, torch.float32 if example is None else example.dtype)
    return inputs


def _input_names(
    source: Source,
    parameters: Parameters,
    examples: tuple[Tensor, ...] | None,
    shapes: Mapping[str, Sequence[int]],
) -> list[str]:
    """Parameters without a default, and those with one that an example or a shape is given for."""
    if parameters.variadic:
        return [f"input_{i}" for i in range(len(examples))] if examples else list(shapes)
    order = [*parameters.required, *parameters.optional]
    if examples is not None and len(examples) > len(order):
        raise InvalidModel(
            f"{source.name} comes with {len(examples)} example inputs, but its forward() takes {len(order)}",
            reason="factory_no_module",
            remedy="Return as many example inputs as forward() has parameters",
        )
    unknown = sorted(set(shapes) - set(order))
    if unknown:
        raise DataError(
            f"a shape was given for {', '.join(map(repr, unknown))}, but forward() of {source.name} takes "
            + ", ".join(map(repr, order)),
            reason="unknown_input",
            remedy="Use one of these names in --shape",
        )
    count = max(len(parameters.required), len(examples or ()))
    return order[:count] + [name for name in order[count:] if name in shapes]


def _shape_needed(source: Source, names: Sequence[str]) -> DataError:
    return DataError(
        f"{source.name} does not tell the shapes of {', '.join(map(repr, names))}",
        reason="shape_needed",
        remedy="Give them, for example: "
        + " ".join(f"--shape {name}=1,3,224,224" for name in names)
        + ("" if source.factory is None else ", or let the factory return (module, (example input, ...))"),
    )


def _seeded(shape: Sequence[int], dtype: Any) -> Tensor:
    """Normal numbers, the same every time; zeros where only numbers of a table may be meant."""
    import torch

    if not dtype.is_floating_point:
        return torch.zeros(tuple(shape), dtype=dtype)
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(0)).to(dtype)


def _operators(source: Source, module: Module) -> Iterator[str]:
    if source.kind == "torchscript":
        yield from _graph_operators(module.inlined_graph)
    elif source.kind == "pt2":
        for node in module.graph.nodes:
            if node.op == "call_function":
                yield str(node.target).removesuffix(".default")
    else:
        yield from (type(layer).__name__ for _, layer in _layers(module))


def _graph_operators(block: Any) -> Iterator[str]:
    """Kinds of all nodes of a TorchScript graph, those in branches and loops included."""
    for node in block.nodes():
        if node.kind() not in _NO_OPERATORS:
            yield node.kind().removeprefix("aten::")
        for inner in node.blocks():
            yield from _graph_operators(inner)


def _layers(module: Module) -> Iterator[tuple[str, Module]]:
    """Modules without modules of their own, by their dotted names."""
    for name, layer in module.named_modules():
        if next(layer.children(), None) is None:
            yield name or type(layer).__name__, layer


def _feeds(
    info: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    """Arrays in the order and type of the model's inputs."""
    lacking = [tensor["name"] for tensor in info["inputs"] if tensor["name"] not in arrays]
    if lacking:
        raise DataError(
            f"the model has the input {lacking[0]!r}, given were {', '.join(map(repr, arrays))}",
            reason="inputs_differ",
        )
    return {
        # A copy where it is needed: torch warns of arrays that cannot be written to.
        tensor["name"]: np.require(arrays[tensor["name"]], np.dtype(tensor["dtype"]), ["C", "W"])
        for tensor in info["inputs"]
    }


def _answer(module: Module, feed: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    import torch

    outputs = run(module, {name: torch.from_numpy(np.asarray(array)) for name, array in feed.items()})
    # A copy: what is answered may be an input, or a buffer the module writes to again.
    return {name: tensor.detach().numpy().copy() for name, tensor in outputs.items()}


Seen = list[tuple[str, str, NDArray[np.generic]]]


def _module_layers(module: Module, inputs: Mapping[str, Tensor]) -> Seen:
    import torch

    seen: Seen = []
    names: Counter[str] = Counter()

    def watch(name: str, operator: str) -> Any:
        def hook(_module: Module, _inputs: object, outputs: object) -> None:
            names[name] += 1
            label = name if names[name] == 1 else f"{name}#{names[name]}"
            first = _first_tensor(outputs)
            if first is not None:
                # A copy now: a ReLU that works in place overwrites what came before it.
                seen.append((label, operator, first.detach().numpy().copy()))

        return hook

    if not isinstance(module, torch.jit.ScriptModule):
        for name, layer in _layers(module):
            layer.register_forward_hook(watch(name, type(layer).__name__))
    run(module, inputs)
    return seen


def _program_layers(program: Module, inputs: Mapping[str, Tensor]) -> Seen:
    import torch

    seen: Seen = []

    class Watching(torch.fx.Interpreter):  # type: ignore[misc]
        """Keeps what every operator answers."""

        def run_node(self, node: Any) -> Any:
            answer = super().run_node(node)
            first = _first_tensor(answer) if node.op == "call_function" else None
            if first is not None:
                operator = str(node.target).removesuffix(".default")
                seen.append((node.name, operator, first.detach().numpy().copy()))
            return answer

    with torch.no_grad():
        Watching(program).run(*inputs.values())
    return seen


def _first_tensor(outputs: object) -> Tensor | None:
    try:
        return next(iter(flatten_outputs(outputs).values()))
    except InvalidModel:
        return None
