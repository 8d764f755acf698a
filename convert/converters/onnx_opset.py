"""An ONNX graph at another opset.

onnx's own version converter has no way down for the commonest operators: Add, Mul and Relu of opset 14
differ from those of 13 by the type bfloat16 alone, and still "No Adapter From Version $14 for Add". Going
down, operators that are spelled the same in both opsets are therefore kept from the converter and only the
others are given to it. That the result computes the same is verified afterwards like any conversion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.converters.onnx_graphs import every_node, first_line, graph_opset, save_graph, simplified
from convert.errors import ConversionFailed
from convert.job import Job

if TYPE_CHECKING:
    import onnx

#: Operators of another domain are passed over by the converter.
_HIDDEN = "edgebench.hidden"
_OPERATOR = re.compile(r"No Previous Version of (\w+)|No Adapter From Version \$\d+ for (\w+)")
_STANDARD = ("", "ai.onnx")


def prepared_graph(job: Job, *, simplify: bool) -> Path:
    """The fp32 graph to work on, at the opset that is wanted: simplified, or as the source has it."""
    graph = simplified(job, job.folder / "simplified.onnx") if simplify else job.source.path
    return graph if job.opset is None else with_opset(job, graph, job.opset)


def with_opset(job: Job, graph: Path, opset: int) -> Path:
    """`graph` at this opset; itself if it has it. Raises ConversionFailed `opset_unavailable`."""
    import onnx

    has = graph_opset(onnx.load(graph, load_external_data=False))
    if has == opset:
        return graph
    with job.log.step("onnx", f"opset {has} to {opset}"):
        target = job.folder / f"opset{opset}.onnx"
        save_graph(at_opset(onnx.load(graph), opset), target, job)
    return target


def check_opset(job: Job) -> None:
    """Whether the artifact has the opset that was asked for: quantisers raise it when they need to."""
    import onnx

    if job.opset is None:
        return
    has = graph_opset(onnx.load(job.output, load_external_data=False))
    if has != job.opset:
        raise ConversionFailed(
            f"{job.source.path.name} was wanted at opset {job.opset} and came out at {has}",
            reason="opset_unavailable",
            remedy=f"Leave --opset out or ask for {has}",
        )


def at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """`model`, weights in memory, with its standard operators at `opset`; it may be changed itself.

    Raises ConversionFailed `opset_unavailable`, naming the operator that is in the way.
    """
    import onnx
    from onnx import version_converter

    before = graph_opset(model)
    if opset < before:
        _hide(model, before, opset)
    try:
        converted = version_converter.convert_version(model, opset)
        _unhide(converted)
        onnx.checker.check_model(converted, full_check=True)
    except Exception as error:  # RuntimeError, ConvertError, ValidationError, InferenceError: no common base
        raise _unavailable(before, opset, error) from error
    return converted


def _hide(model: onnx.ModelProto, before: int, after: int) -> None:
    import onnx

    for node in every_node(model.graph):
        if node.domain in _STANDARD and _spelled_the_same(node, before, after):
            node.domain = _HIDDEN
    model.opset_import.append(onnx.helper.make_opsetid(_HIDDEN, 1))


def _unhide(model: onnx.ModelProto) -> None:
    for node in every_node(model.graph):
        if node.domain == _HIDDEN:
            node.domain = ""
    kept = [entry for entry in model.opset_import if entry.domain != _HIDDEN]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _spelled_the_same(node: onnx.NodeProto, before: int, after: int) -> bool:
    """Whether the node, as it is, is one of the older opset too: same inputs, attributes and defaults."""
    newer, older = _schema(node.op_type, before), _schema(node.op_type, after)
    if newer is None or older is None:
        return False
    if newer.since_version == older.since_version:
        return True
    defaults = {name: _default(attribute) for name, attribute in newer.attributes.items()}
    return (
        all(name in defaults and defaults[name] == _default(a) for name, a in older.attributes.items())
        and all(attribute.name in older.attributes for attribute in node.attribute)
        and _names(newer.inputs, node.input) == _names(older.inputs, node.input)
        and older.min_input <= len(node.input) <= older.max_input
        and older.min_output <= len(node.output) <= older.max_output
    )


def _schema(operator: str, opset: int) -> Any:
    from onnx import defs

    try:
        return defs.get_schema(operator, opset, "")
    except defs.SchemaError:
        return None


def _default(attribute: Any) -> tuple[Any, ...]:
    return attribute.type, attribute.required, attribute.default_value.SerializeToString()


def _names(parameters: Iterable[Any], used: Iterable[str]) -> list[str]:
    return [parameter.name for parameter, _ in zip(parameters, used, strict=False)]


def _unavailable(before: int, opset: int, error: Exception) -> ConversionFailed:
    found = _OPERATOR.search(str(error))
    if found:
        why = f"operator {found[1] or found[2]} cannot be expressed in opset {opset}"
    else:
        why = first_line(error)
    return ConversionFailed(
        f"the graph cannot be brought from opset {before} to {opset}: {why}",
        reason="opset_unavailable",
        remedy=f"Export the model at opset {opset} in the first place, or leave --opset out",
    )
