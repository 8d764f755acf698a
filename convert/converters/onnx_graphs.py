"""What the ways to ONNX artifacts share: reading, simplifying, casting and saving graphs.

A source may keep its weights in files beside it. Everything made here holds them in itself, unless it is
larger than a protobuf message can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.job import Job

if TYPE_CHECKING:
    import onnx

#: A protobuf message ends at 2 GiB; larger models keep their weights in a file beside them.
_LARGEST_SINGLE_FILE = 1_900_000_000
_STANDARD = frozenset({"", "ai.onnx"})


def simplified(job: Job, target: Path) -> Path:
    """The source with its constants folded and its shapes inferred, saved as `target`."""
    import onnxslim

    with job.log.step("onnxslim", "simplify"):
        save_graph(onnxslim.slim(str(job.source.path)), target, job)
    return target


def graph_opset(model: onnx.ModelProto) -> int:
    """Version of the standard operators; 1 where none is declared."""
    return max((entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=1)


def to_half(job: Job, graph: Path) -> None:
    """The float16 form of `graph` as the artifact, with inputs and outputs as they were."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with job.log.step("onnxruntime", "float16 weights and operators, float32 inputs and outputs"):
        # The application keeps its float32 interface; the casts are part of what is timed.
        model = convert_float_to_float16(onnx.load(graph), keep_io_types=True)
        save_graph(model, job.output, job)
    drop_unused_domains(job.output)


def preprocessed(job: Job, graph: Path) -> Path:
    """Shapes inferred and constants folded, without which a quantiser leaves many tensors in float."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    target = job.folder / "preprocessed.onnx"
    large = is_large(job)
    with job.log.step("onnxruntime", "quant_pre_process"):
        try:
            quant_pre_process(graph, target, save_as_external_data=large, all_tensors_to_one_file=large)
        except Exception as error:  # noqa: BLE001 - it raises bare Exception, and there is another way
            # Symbolic inference gives up on some operators that the plain one passes over.
            job.log.warnings.append(f"shapes were inferred without symbols: {first_line(error)}")
            quant_pre_process(
                graph,
                target,
                skip_symbolic_shape=True,
                save_as_external_data=large,
                all_tensors_to_one_file=large,
            )
    return target


def is_large(job: Job) -> bool:
    """Whether weights have to lie in a file of their own."""
    return sum(file.bytes for file in job.source.files) > _LARGEST_SINGLE_FILE


def save_graph(model: onnx.ModelProto, target: Path, job: Job) -> None:
    """Writes a model whose weights are in memory."""
    import onnx

    external = is_large(job)
    onnx.save(
        model, target, save_as_external_data=external, location=f"{target.name}.data" if external else None
    )


def drop_unused_domains(path: Path) -> None:
    """Take away operator sets that no node uses.

    Converters declare those of their own onnxruntime, and an older one on a board then refuses the file.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    used = used_domains(model)
    kept = [imported for imported in model.opset_import if imported.domain in used | _STANDARD]
    if len(kept) < len(model.opset_import):
        del model.opset_import[:]
        model.opset_import.extend(kept)
        onnx.save(model, path)


def used_domains(model: onnx.ModelProto) -> set[str]:
    """Domains of the operators, the standard one by its empty name."""
    used = {node.domain for node in every_node(model.graph)}
    used |= {node.domain for function in model.functions for node in every_node(function)}
    return {"" if domain in _STANDARD else domain for domain in used}


def every_node(graph: Any) -> Iterator[onnx.NodeProto]:
    """All nodes of a graph or function, those of loops' and branches' bodies included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from every_node(body)


def first_line(error: Exception) -> str:
    """An error in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
