"""ONNX sources to what onnxruntime runs: fp32 simplified or optimised, fp16, and two forms of int8.

The converters are imported where they are used, so that the table of paths costs nothing to import.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from convert.converters.onnx_graphs import drop_unused_domains, is_large, preprocessed, save_graph, to_half
from convert.converters.onnx_int8 import ONNXRUNTIME_INT8, to_static_int8
from convert.converters.onnx_opset import check_opset, prepared_graph, with_opset
from convert.job import UNCHANGED, Job, Way

#: Below it quantised operators lack types that the quantiser uses.
_LEAST_DYNAMIC_OPSET = 13


def _simplify(job: Job) -> None:
    _save_as_artifact(job, prepared_graph(job, simplify=True))


def _copy(job: Job) -> None:
    graph = prepared_graph(job, simplify=False)
    if graph != job.source.path:
        _save_as_artifact(job, graph)
        return
    with job.log.step("onnx", "the file as it is"):
        for file in job.source.files:
            # A data file keeps the name, folder included, that the graph has for it.
            target = job.output if file is job.source.files[0] else job.output.parent / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, target)


def _save_as_artifact(job: Job, graph: Path) -> None:
    if is_large(job):
        # Its data file is named in it.
        shutil.copyfile(graph.with_name(f"{graph.name}.data"), job.output.with_name(f"{graph.name}.data"))
    shutil.copyfile(graph, job.output)
    check_opset(job)


def _half(job: Job) -> None:
    to_half(job, prepared_graph(job, simplify=True))


def _half_unsimplified(job: Job) -> None:
    to_half(job, prepared_graph(job, simplify=False))


def _static(job: Job) -> None:
    to_static_int8(job, prepared_graph(job, simplify=True), ONNXRUNTIME_INT8)


def _static_unsimplified(job: Job) -> None:
    to_static_int8(job, prepared_graph(job, simplify=False), ONNXRUNTIME_INT8)


def _dynamic(job: Job) -> None:
    _to_dynamic(job, prepared_graph(job, simplify=True))


def _dynamic_unsimplified(job: Job) -> None:
    _to_dynamic(job, prepared_graph(job, simplify=False))


def _to_dynamic(job: Job, graph: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    has = job.opset or job.source.opset
    if job.opset is None and has is not None and has < _LEAST_DYNAMIC_OPSET:
        graph = with_opset(job, graph, _LEAST_DYNAMIC_OPSET)
    model = preprocessed(job, graph)
    with job.log.step("onnxruntime", "quantize_dynamic: u8 weights"):
        # Signed weights make ConvInteger three to six times slower (MobileNetV2: 42.8 ms against 10.2 ms).
        quantize_dynamic(
            model, job.output, weight_type=QuantType.QUInt8, use_external_data_format=is_large(job)
        )
    drop_unused_domains(job.output)
    check_opset(job)


def _optimise(job: Job) -> None:
    _to_optimised(job, prepared_graph(job, simplify=True))


def _optimise_unsimplified(job: Job) -> None:
    graph = prepared_graph(job, simplify=False)
    if len(job.source.files) > 1:
        # onnxruntime would leave the weights where they are and name that file in the graph it writes.
        import onnx

        whole = job.folder / "whole.onnx"
        save_graph(onnx.load(graph), whole, job)
        graph = whole
    _to_optimised(job, graph)


def _to_optimised(job: Job, graph: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One level more would lay the weights out for this computer's processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(job.output)
    if is_large(job):
        external = "session.optimized_model_external_initializers_file_name"
        options.add_session_config_entry(external, f"{job.output.name}.data")
    with job.log.step("onnxruntime", "graph optimisations up to level extended"):
        onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    drop_unused_domains(job.output)
    check_opset(job)


_QDQ = (
    "onnxruntime.quantization {onnxruntime} (QDQ, u8 activations, s8 weights per channel, float32 outputs, "
    "ranges nearest to fp32)"
)
_DYNAMIC = "onnxruntime.quantization {onnxruntime} (dynamic, u8 weights)"
FLOAT16 = "onnxruntime.transformers.float16 {onnxruntime} (float32 inputs and outputs)"
_OPTIMISED = "onnxruntime {onnxruntime} (graph optimisations, level extended; for onnxruntime only)"

SIMPLIFIED = Way(_simplify, "onnxslim {onnxslim}")
AS_IT_IS = Way(_copy, UNCHANGED)

#: For each precision the ways to it, best first.
ONNX_TO_ONNXRUNTIME: dict[str, tuple[Way, ...]] = {
    "fp32": (SIMPLIFIED, AS_IT_IS),
    "fp16": (
        Way(_half, f"onnxslim {{onnxslim}}, {FLOAT16}"),
        Way(_half_unsimplified, FLOAT16),
    ),
    "int8": (
        Way(_static, f"onnxslim {{onnxslim}}, {_QDQ}", needs_calibration=True),
        Way(_static_unsimplified, _QDQ, needs_calibration=True),
    ),
    "int8-dynamic": (
        Way(_dynamic, f"onnxslim {{onnxslim}}, {_DYNAMIC}"),
        Way(_dynamic_unsimplified, _DYNAMIC),
    ),
}

#: The graph as onnxruntime would make it while loading: fused operators of its own, for no other runtime.
ONNX_OPTIMISED: dict[str, tuple[Way, ...]] = {
    "fp32": (
        Way(_optimise, f"onnxslim {{onnxslim}}, {_OPTIMISED}"),
        Way(_optimise_unsimplified, _OPTIMISED),
    ),
}
