"""Takes quantisation off the outputs of a quantised ONNX graph, whose ranges calibration cannot know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from convert.converters.onnx_graphs import every_node

if TYPE_CHECKING:
    import onnx


def keep_outputs_float(path: Path) -> None:
    """Each graph output comes from the layer itself instead of through QuantizeLinear and DequantizeLinear.

    Layers inside of the graph that read the same tensor still read it quantised.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    freed = [output.name for output in model.graph.output if _free(model.graph, output.name)]
    if freed:
        onnx.save(model, path)


def _free(graph: onnx.GraphProto, output: str) -> bool:
    """Whether `output` was quantised and now is not."""
    producers = {name: node for node in graph.node for name in node.output}
    dequantize = producers.get(output)
    quantize = _input_of(dequantize, "DequantizeLinear", producers)
    layer = _input_of(quantize, "QuantizeLinear", producers)
    if dequantize is None or quantize is None or layer is None:
        return False
    plain = quantize.input[0]
    if any(plain == entry.name for entry in graph.output):
        return False
    _rename(graph, output, inner := f"{output}_dequantized")
    _rename(graph, plain, output)
    for node, result in ((dequantize, inner), (quantize, quantize.output[0])):
        if not _readers(graph)[result]:
            graph.node.remove(node)
    _drop_constants(graph, {*quantize.input[1:], *dequantize.input[1:]})
    return True


def _input_of(
    node: onnx.NodeProto | None, operator: str, producers: Mapping[str, onnx.NodeProto]
) -> onnx.NodeProto | None:
    """What makes the first input of `node`, if that is such an operator."""
    return producers.get(node.input[0]) if node is not None and node.op_type == operator else None


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Renames a tensor wherever a node makes or reads it; the graph's own outputs keep their names."""
    for node in every_node(graph):
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new
    for entry in [entry for entry in graph.value_info if entry.name == old]:
        graph.value_info.remove(entry)


def _readers(graph: onnx.GraphProto) -> Counter[str]:
    return Counter(name for node in every_node(graph) for name in node.input)


def _drop_constants(graph: onnx.GraphProto, names: set[str]) -> None:
    """Scales and zero points nobody reads any more; runtimes warn of each of them."""
    readers = _readers(graph)
    for tensor in [t for t in graph.initializer if t.name in names and not readers[t.name]]:
        graph.initializer.remove(tensor)
