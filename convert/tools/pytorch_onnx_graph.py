"""What is done to an exported ONNX graph: names as they were asked for, the opset, the checker, one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import ConversionFailed
from convert.tools.exchange import InputShape
from convert.tools.pytorch_calls import first_line

#: A protobuf holds at most 2 GiB.
MOST_INLINE_BYTES = 1_900_000_000
#: The reason of a ConversionFailed: the exporter saw no tensor reach an output.
NO_INPUTS = "constant_graph"


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs as they are to be, in the model's order."""

    inputs: tuple[InputShape, ...]
    outputs: tuple[str, ...]
    #: Whether the first axis of every input is open.
    dynamic_batch: bool = False

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs."""
        return [one.name for one in self.inputs]


def opset_of(path: Path) -> int:
    """Version of the standard operators in the file."""
    import onnx

    return _opset(onnx.load(path, load_external_data=False))


def finish(
    raw: Path,
    output: Path,
    interface: Interface,
    wanted_opset: int | None,
    warnings: list[str],
    most_inline_bytes: int = MOST_INLINE_BYTES,
) -> int:
    """Writes `output` from the exporter's file and says its opset.

    The checker has passed it, its inputs and outputs have the names of `interface`, and weights of more
    than `most_inline_bytes` lie beside it in OUTPUT.data. Raises ConversionFailed.
    """
    import onnx

    model = onnx.load(raw)
    _leave_defaults_out(model.graph)
    if wanted_opset is not None and _opset(model) != wanted_opset:
        model = _converted(model, wanted_opset)
    name_interface(model, interface, warnings)
    large = model.ByteSize() > most_inline_bytes
    onnx.save(
        model,
        output,
        save_as_external_data=large,
        all_tensors_to_one_file=True,
        location=f"{output.name}.data" if large else None,
    )
    try:
        onnx.checker.check_model(str(output), full_check=True)
    except Exception as error:  # the checker's errors share no class with those of shape inference
        raise ConversionFailed(
            f"the exported graph is not valid ONNX: {first_line(error)}", reason="conversion_failed"
        ) from error
    return _opset(model)


def _opset(model: Any) -> int:
    return max(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _leave_defaults_out(graph: Any) -> None:
    """Defaults of opset 18 that the dynamo exporter spells out; ONNX's converter leaves them in 17."""
    for node in graph.node:
        kept = [one for one in node.attribute if one.name != "noop_with_empty_axes" or one.i]
        if len(kept) != len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(kept)


def _converted(model: Any, wanted: int) -> Any:
    """The model at another opset; as it was where ONNX's own converter cannot make it a valid one."""
    import onnx
    from onnx import version_converter

    if model.ByteSize() > MOST_INLINE_BYTES:
        return model
    try:
        converted = version_converter.convert_version(model, wanted)
        onnx.checker.check_model(converted, full_check=True)
    except Exception:  # noqa: BLE001 - without an adapter the file keeps its opset, and the caller says so
        return model
    return converted


def name_interface(model: Any, interface: Interface, warnings: list[str]) -> None:
    """Gives the graph's inputs and outputs, by their place, the wanted names.

    An output that is an input, or another output too, becomes a node of its own. An input that the exporter
    dropped, because nothing depends on it, is put back. Raises ConversionFailed `interface_changed`.
    """
    graph = model.graph
    if len(graph.output) != len(interface.outputs):
        raise _changed("outputs", [entry.name for entry in graph.output], interface.outputs)
    _put_inputs_back(graph, interface, warnings)
    names: dict[str, str] = {}
    taken = _all_names(graph)
    for entry, name in zip(graph.input, interface.input_names, strict=True):
        names[entry.name] = name
    _own_nodes_for_outputs(graph, taken)
    for entry, name in zip(graph.output, interface.outputs, strict=True):
        names[entry.name] = name
    # What has a wanted name already, without being meant, gets out of its way.
    for name in taken & (set(names.values()) - names.keys()):
        names[name] = _free(f"{name}_inner", taken)
    _rename(graph, names)


def _put_inputs_back(graph: Any, interface: Interface, warnings: list[str]) -> None:
    """Inputs again as many as were wanted, in their order."""
    present = {entry.name: entry for entry in graph.input}
    if len(present) == len(interface.inputs):
        return
    if not set(present) <= set(interface.input_names):
        raise _changed("inputs", list(present), interface.input_names)
    if not present:
        raise ConversionFailed(
            "the exported graph depends on none of its inputs: what the model does was taken for a constant",
            reason=NO_INPUTS,
            remedy="Write forward() with torch functions only: what numpy or Python computes is in no graph",
        )
    complete = []
    for one in interface.inputs:
        if one.name not in present:
            warnings.append(f"nothing in the exported graph depends on the input {one.name!r}")
        complete.append(present.get(one.name) or _input(one, interface.dynamic_batch))
    del graph.input[:]
    graph.input.extend(complete)


def _input(one: InputShape, dynamic_batch: bool) -> Any:
    import numpy as np
    from onnx import helper

    shape: list[int | str] = list(one.shape)
    if dynamic_batch and shape:
        shape[0] = "batch"
    return helper.make_tensor_value_info(
        one.name, helper.np_dtype_to_tensor_dtype(np.dtype(one.dtype)), shape
    )


def _own_nodes_for_outputs(graph: Any, taken: set[str]) -> None:
    """Puts an Identity before each output that is an input, a weight or another output as well."""
    from onnx import helper

    used = {entry.name for entry in graph.input} | {entry.name for entry in graph.initializer}
    for entry in graph.output:
        if entry.name in used:
            own = _free(f"{entry.name}_output", taken)
            graph.node.append(helper.make_node("Identity", [entry.name], [own]))
            entry.name = own
        used.add(entry.name)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _all_names(graph: Any) -> set[str]:
    names = {entry.name for entry in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        names.update(node.input, node.output)
        for inner in _inner_graphs(node):
            names |= _all_names(inner)
    return names


def _inner_graphs(node: Any) -> list[Any]:
    """Branches and loop bodies; they see the names of the graph around them."""
    return [
        inner
        for attribute in node.attribute
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else []))
    ]


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Replaces all names at once, so that two may change places."""
    for entry in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        entry.name = names.get(entry.name, entry.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _inner_graphs(node):
            _rename(inner, names)


def _changed(what: str, found: Sequence[str], wanted: Sequence[str]) -> ConversionFailed:
    return ConversionFailed(
        f"the exporter made the {what} {', '.join(found)} of {', '.join(wanted)}", reason="interface_changed"
    )
