"""fp32 TFLite sources to the other precisions, by ai-edge-quantizer.

The quantizer is imported where it is used, so that the table of paths costs nothing to import.
"""

from __future__ import annotations

import shutil
from typing import Any

from convert.errors import ConversionFailed
from convert.job import UNCHANGED, Job, Way

_PACKAGE = "ai-edge-quantizer"
_EVERYWHERE = ".*"
#: The name given to the signature of a file that has none, as TensorFlow names the only one.
_SIGNATURE = "serving_default"


def _copy(job: Job) -> None:
    with job.log.step("ai-edge-litert", "the file as it is"):
        shutil.copyfile(job.source.path, job.output)


def _half(job: Job) -> None:
    from ai_edge_quantizer import qtyping, quantizer

    half = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
    )
    with job.log.step(_PACKAGE, "float16 weights"):
        tool = quantizer.Quantizer(str(job.source.path))
        tool.update_quantization_recipe(
            _EVERYWHERE, qtyping.TFLOperationName.ALL_SUPPORTED, half, algorithm_key="float_casting"
        )
        _write(tool, job)


def _dynamic(job: Job) -> None:
    from ai_edge_quantizer import qtyping, quantizer, recipe

    with job.log.step(_PACKAGE, "dynamic range, s8 weights per channel, fully connected per tensor"):
        tool = quantizer.Quantizer(str(job.source.path), recipe.dynamic_wi8_afp32())
        # tflite-runtime 2.14 answers a per-channel FULLY_CONNECTED of a dynamic model with zeros and no
        # error, because the operator's version is not raised.
        tool.add_dynamic_config(
            _EVERYWHERE,
            qtyping.TFLOperationName.FULLY_CONNECTED,
            num_bits=8,
            granularity=qtyping.QuantGranularity.TENSORWISE,
        )
        _write(tool, job)


def _static(job: Job) -> None:
    from convert.converters.tflite_int8 import quantize_nearest

    content, signature = _with_signature(job)
    samples = list(job.calibration_samples())
    with job.log.step(_PACKAGE, f"calibrate, quantise, and compare with fp32 on {len(samples)} samples"):
        made = quantize_nearest(content, signature, samples)
    with job.log.step(_PACKAGE, f"s8 activations and weights per channel; ranges by {made.choice}"):
        job.output.write_bytes(made.content)
    if job.io == "float":
        return
    from convert.converters.tflite_interface import with_integer_interface

    with job.log.step("ai-edge-litert", f"{job.io} in and out"):
        # The quantizer's own integer ends are int8 only, and it keeps data where no other tool finds them.
        integer = with_integer_interface(made.content, "uint8" if job.io == "uint8" else "int8")
        job.output.write_bytes(integer)


def _write(tool: Any, job: Job, statistics: Any = None) -> None:
    result = tool.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    job.output.write_bytes(result.quantized_model)


def _with_signature(job: Job) -> tuple[bytearray, str]:
    """The file's content and the key of its signature; the quantizer calibrates through signatures only."""
    import flatbuffers  # type: ignore[import-untyped]
    from ai_edge_litert import schema_py_generated as schema

    content = bytearray(job.source.path.read_bytes())
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    signatures = model.signatureDefs or []
    if len(signatures) > 1:
        raise ConversionFailed(
            f"{job.source.path.name} has {len(signatures)} signatures, calibration works with one",
            reason="several_signatures",
            remedy="Export the model with the signature to measure only",
        )
    if signatures:
        key = signatures[0].signatureKey
        return content, key.decode("utf-8") if isinstance(key, bytes) else str(key)
    graph = model.subgraphs[0]
    signature: Any = schema.SignatureDefT()
    signature.signatureKey = _SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [_entry(schema, graph, index) for index in graph.inputs]
    signature.outputs = [_entry(schema, graph, index) for index in graph.outputs]
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytearray(builder.Output()), _SIGNATURE


def _entry(schema: Any, graph: Any, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = graph.tensors[index].name
    entry.tensorIndex = index
    return entry


AS_IT_IS = Way(_copy, UNCHANGED)

#: For each precision the ways to it, best first.
TFLITE_TO_TFLITE: dict[str, tuple[Way, ...]] = {
    "fp32": (AS_IT_IS,),
    "fp16": (Way(_half, "ai-edge-quantizer {ai-edge-quantizer} (float16 weights)"),),
    "int8": (
        Way(
            _static,
            "ai-edge-quantizer {ai-edge-quantizer} (s8 activations and weights per channel)",
            needs_calibration=True,
        ),
    ),
    "int8-dynamic": (
        Way(
            _dynamic,
            "ai-edge-quantizer {ai-edge-quantizer} (dynamic range, s8 weights, fully connected per tensor)",
        ),
    ),
}
