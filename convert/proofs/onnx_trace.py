"""Traces an ONNX graph. Runs in the worker process only: it imports onnx and onnxruntime."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from convert.proofs.fingerprint import take_fingerprint
from convert.proofs.traces import (
    DEFAULT_LIMITS,
    Arrays,
    Operation,
    TracedTensor,
    TraceLimits,
    depending_on,
    in_order,
    merged,
    titled,
    too_large,
)

_SHAPE_SUFFIX = "/shape_for_edgebench"
#: What onnxruntime's quantizer appends to the name of a graph output before it is quantised.
_QUANTIZER_SUFFIX = "_QuantizeLinear_Input"
_FLOATS = {"tensor(float)", "tensor(double)", "tensor(float16)"}


def trace_onnx(path: Path, feed: Arrays, limits: TraceLimits = DEFAULT_LIMITS) -> list[TracedTensor]:
    """All float tensors of an ONNX graph that depend on the values of `feed` (complete inputs by name).

    The graph runs as it is written, without onnxruntime's optimisations, several times with a part of
    the tensors as its outputs. Raises ConversionFailed `trace_too_large`, and what onnxruntime raises.
    """
    ends_at = time.monotonic() + limits.seconds
    # Weights in files beside the model stay there; onnxruntime is told their folder.
    model = onnx.load(path, load_external_data=False)
    operations = in_order([_operation(node) for node in model.graph.node])
    outputs = [output.name for output in model.graph.output]
    names = [name for name in depending_on(operations, feed) if name not in feed]
    wanted = _float_tensors(model, path.parent, names)
    started = time.monotonic()
    sizes = _bytes_of(model, path.parent, feed, wanted)
    run_s = time.monotonic() - started
    batches = list(_batched(sizes, limits.memory))
    if started + run_s * (len(batches) + 1) > ends_at:
        raise too_large(path, f"{len(batches)} runs of {run_s:.0f} s to see all its tensors", limits)
    prints = {name: take_fingerprint(array) for name, array in feed.items() if array.dtype.kind == "f"}
    for batch in batches:
        if time.monotonic() > ends_at:
            raise too_large(path, f"more than {limits.seconds:.0f} s to see all its tensors", limits)
        session = _session(model, path.parent, batch)
        answers = session.run(batch, dict(feed))
        while batch:  # a tensor is let go as soon as it has been looked at
            prints[batch.pop()] = take_fingerprint(answers.pop())
    found = merged(operations, prints, outputs, _stand_ins(operations))
    return titled(found, {name: name.removesuffix(_QUANTIZER_SUFFIX) for name in prints})


def _operation(node: Any) -> Operation:
    captured = [name for graph in _bodies(node) for name in _names_used(graph)]
    return Operation(
        operator=node.op_type,
        layer=node.name,
        inputs=tuple(dict.fromkeys(name for name in (*node.input, *captured) if name)),
        outputs=tuple(name for name in node.output if name),
    )


def _bodies(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g


def _names_used(graph: Any) -> Iterator[str]:
    """Names that a branch or loop body reads, from outside too."""
    for node in graph.node:
        yield from node.input
        for body in _bodies(node):
            yield from _names_used(body)
    yield from (output.name for output in graph.output)


def _stand_ins(operations: Sequence[Operation]) -> dict[str, str]:
    """Output of each DequantizeLinear -> what the QuantizeLinear before it was given."""
    quantized = {op.outputs[0]: op.inputs[0] for op in operations if op.operator == "QuantizeLinear"}
    return {
        op.outputs[0]: quantized[op.inputs[0]]
        for op in operations
        if op.operator == "DequantizeLinear" and op.inputs[0] in quantized
    }


def _session(model: Any, folder: Path, outputs: Sequence[str]) -> Any:
    """A session of `model` with these outputs in place of its own; onnxruntime works out their types."""
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder.resolve())
    )
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _float_tensors(model: Any, folder: Path, names: Sequence[str]) -> list[str]:
    session = _session(model, folder, names)
    return [output.name for output in session.get_outputs() if output.type in _FLOATS]


def _bytes_of(model: Any, folder: Path, feed: Arrays, names: Sequence[str]) -> dict[str, int]:
    """Size of each tensor as float32, from a run that gives nothing but shapes."""
    nodes = len(model.graph.node)
    shapes = [f"{name}{_SHAPE_SUFFIX}" for name in names]
    model.graph.node.extend(
        onnx.helper.make_node("Shape", [name], [shape]) for name, shape in zip(names, shapes, strict=True)
    )
    found = _session(model, folder, shapes).run(shapes, dict(feed))
    del model.graph.node[nodes:]
    return {name: 4 * math.prod(map(int, shape)) for name, shape in zip(names, found, strict=True)}


def _batched(sizes: Mapping[str, int], memory: int) -> Iterator[list[str]]:
    """Names in parts that take a quarter of `memory` each, or hold a single larger tensor.

    The graph itself and the sorting of a tensor need the rest.
    """
    batch: list[str] = []
    held = 0
    for name, size in sizes.items():
        if batch and held + size > memory // 4:
            yield batch
            batch, held = [], 0
        batch.append(name)
        held += size
    if batch:
        yield batch
