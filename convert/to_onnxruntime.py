"""ONNX sources to what onnxruntime runs: simplified fp32, fp16, and two forms of int8.

The converters are imported where they are used, so that the table of paths costs nothing to import.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convert.job import Arrays, Job, Way

#: A protobuf message ends at 2 GiB; larger models keep their weights in a file beside them.
_LARGEST_SINGLE_FILE = 1_900_000_000
#: Per-channel quantisation needs QuantizeLinear-13.
_LEAST_QDQ_OPSET = 13


def _copy(job: Job) -> None:
    with job.log.step("onnx", "the file as it is"):
        for file in job.source.files:
            target = job.output if file is job.source.files[0] else job.output.parent / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, target)


def _simplify(job: Job) -> None:
    _simplified(job, job.output)


def _simplified(job: Job, target: Path) -> Path:
    import onnxslim

    with job.log.step("onnxslim", "simplify"):
        _save(onnxslim.slim(str(job.source.path)), target, job)
    return target


def _half(job: Job) -> None:
    _to_half(job, _simplified(job, job.folder / "simplified.onnx"))


def _half_unsimplified(job: Job) -> None:
    _to_half(job, job.source.path)


def _to_half(job: Job, prepared: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with job.log.step("onnxruntime", "float16 weights and operators, float32 inputs and outputs"):
        # The application keeps its float32 interface; the casts are part of what is timed.
        model = convert_float_to_float16(onnx.load(prepared), keep_io_types=True)
        _save(model, job.output, job)


def _static(job: Job) -> None:
    _to_static(job, _simplified(job, job.folder / "simplified.onnx"))


def _static_unsimplified(job: Job) -> None:
    _to_static(job, job.source.path)


def _to_static(job: Job, prepared: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = _preprocessed(job, _upgraded(job, prepared))
    with job.log.step("onnxruntime", "quantize_static: QDQ, u8 activations, s8 weights per channel, min-max"):
        quantize_static(
            model,
            job.output,
            _Samples(job.calibration_samples()),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=_is_large(job),
        )
    _drop_unused_domains(job.output)


def _dynamic(job: Job) -> None:
    _to_dynamic(job, _simplified(job, job.folder / "simplified.onnx"))


def _dynamic_unsimplified(job: Job) -> None:
    _to_dynamic(job, job.source.path)


def _to_dynamic(job: Job, prepared: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = _preprocessed(job, _upgraded(job, prepared))
    with job.log.step("onnxruntime", "quantize_dynamic: u8 weights"):
        # Signed weights make ConvInteger three to six times slower (MobileNetV2: 42.8 ms against 10.2 ms).
        quantize_dynamic(
            model, job.output, weight_type=QuantType.QUInt8, use_external_data_format=_is_large(job)
        )
    _drop_unused_domains(job.output)


def _preprocessed(job: Job, model: Path) -> Path:
    """Shapes inferred and constants folded, without which many tensors are left in float."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    target = job.folder / "preprocessed.onnx"
    with job.log.step("onnxruntime", "quant_pre_process"):
        large = _is_large(job)
        try:
            quant_pre_process(model, target, save_as_external_data=large, all_tensors_to_one_file=large)
        except Exception as error:  # noqa: BLE001 - it raises bare Exception, and there is another way
            # Symbolic inference gives up on some operators that the plain one passes over.
            job.log.warnings.append(f"shapes were inferred without symbols: {_first_line(error)}")
            quant_pre_process(
                model,
                target,
                skip_symbolic_shape=True,
                save_as_external_data=large,
                all_tensors_to_one_file=large,
            )
    return target


def _upgraded(job: Job, prepared: Path) -> Path:
    """The model at an opset that has per-channel quantisation."""
    if job.source.opset is None or job.source.opset >= _LEAST_QDQ_OPSET:
        return prepared
    import onnx
    from onnx import version_converter

    with job.log.step("onnx", f"opset {job.source.opset} to {_LEAST_QDQ_OPSET}"):
        model = version_converter.convert_version(onnx.load(prepared), _LEAST_QDQ_OPSET)
        target = job.folder / "upgraded.onnx"
        _save(model, target, job)
    return target


class _Samples:
    """Calibration samples as onnxruntime reads them: one by one, then None."""

    def __init__(self, samples: Iterator[Arrays]) -> None:
        self._samples = samples

    def get_next(self) -> Arrays | None:
        return next(self._samples, None)


def _is_large(job: Job) -> bool:
    return sum(file.bytes for file in job.source.files) > _LARGEST_SINGLE_FILE


def _save(model: Any, target: Path, job: Job) -> None:
    import onnx

    external = _is_large(job)
    onnx.save(
        model, target, save_as_external_data=external, location=f"{target.name}.data" if external else None
    )


def _drop_unused_domains(path: Path) -> None:
    """Take away operator sets that no node uses.

    The quantiser declares those of its own onnxruntime, and an older one on a board then refuses the file.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    used = {"" if domain == "ai.onnx" else domain for domain in _domains(model.graph)}
    used |= {domain for function in model.functions for domain in _domains(function)}
    kept = [imported for imported in model.opset_import if imported.domain in used | {"", "ai.onnx"}]
    if len(kept) < len(model.opset_import):
        del model.opset_import[:]
        model.opset_import.extend(kept)
        onnx.save(model, path)


def _domains(graph: Any) -> Iterator[str]:
    """Domains of all nodes, those of loops' and branches' bodies included."""
    for node in graph.node:
        yield node.domain
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _domains(body)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


_QDQ = "onnxruntime.quantization {onnxruntime} (QDQ, u8 activations, s8 weights per channel, min-max)"
_DYNAMIC = "onnxruntime.quantization {onnxruntime} (dynamic, u8 weights)"
_FLOAT16 = "onnxruntime.transformers.float16 {onnxruntime} (float32 inputs and outputs)"

AS_IT_IS = Way(_copy, "the source file as it is")

#: For each precision the ways to it, best first.
ONNX_TO_ONNXRUNTIME: dict[str, tuple[Way, ...]] = {
    "fp32": (Way(_simplify, "onnxslim {onnxslim}"), AS_IT_IS),
    "fp16": (
        Way(_half, f"onnxslim {{onnxslim}}, {_FLOAT16}"),
        Way(_half_unsimplified, _FLOAT16),
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
