"""Names and shapes of an ONNX model changed, and kept true through branches and loop bodies.

In a tool's process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def nodes(graph: Any) -> Iterator[Any]:
    """All nodes of a GraphProto, those of branches and loop bodies included."""
    for node in graph.node:
        yield node
        for inner in _inner_graphs(node):
            yield from nodes(inner)


def rename_values(graph: Any, names: Mapping[str, str]) -> None:
    """Gives values new names, new by old, wherever they occur.

    An inner graph may use a value of the outer one, and names are unique over all of them.
    """
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _inner_graphs(node):
            rename_values(inner, names)


def set_input_shapes(model: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    """Makes the inputs' shapes concrete, and what follows from open ones known again."""
    import onnx

    was_open = False
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, shapes.get(value.name, ()), strict=False):
            was_open = was_open or dim.dim_value != size
            dim.dim_value = size
    if was_open:
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        model.CopyFrom(onnx.shape_inference.infer_shapes(model))


def _inner_graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g
