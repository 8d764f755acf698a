"""One conversion in the worker process: walk the ways until one makes an artifact that agrees."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convert.arrays import load_arrays
from convert.conversion import find_ways
from convert.errors import ConversionFailed, ConvertError
from convert.execution import run_model
from convert.inspection import ModelInfo, info_from_inspection, info_from_json, info_to_json
from convert.job import Arrays, Job, Way
from convert.steps import StepLog
from convert.verification import OutputAgreement, compare_outputs, find_doubt, find_fault

_MAIN_FILE = {"onnxruntime": "model.onnx", "tflite": "model.tflite"}
_RUNTIME_PACKAGE = {"onnxruntime": "onnxruntime", "tflite": "ai-edge-litert"}


def make_artifact(request: dict[str, Any]) -> dict[str, Any]:
    """The content of the artifact's cache entry; its files lie in request["folder"]."""
    source = info_from_json(request["info"], Path(request["source"]))
    target, precision = request["target"], request["precision"]
    checks = _arrays(request["checks"])
    calibration = _arrays(request["calibration"]) if request["calibration"] else None
    log = StepLog()
    with log.step("onnxruntime" if source.kind == "onnx" else "ai-edge-litert", "fp32 reference"):
        reference = run_model(source, checks)
    failures: list[ConvertError] = []
    for way in find_ways(source, target, precision):
        folder = Path(request["folder"])
        work, result = folder / "work", folder / "result"
        for place in (work, result):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        job = Job(source, work, result / _MAIN_FILE[target], calibration, log)
        try:
            info, agreement = _attempt(way, job, target, precision, checks, reference)
        except ConvertError as error:
            failures.append(error)
            log.warnings.append(f"{_described(way)} failed: {error.message}")
            continue
        shutil.rmtree(work)
        doubt = find_doubt(agreement, precision)
        return {
            "file": str(job.output.relative_to(folder)),
            "info": info_to_json(info),
            "converter": _described(way),
            "steps": [asdict(step) for step in log.steps],
            "agreement": [asdict(output) for output in agreement],
            "warnings": [*log.warnings, *([doubt] if doubt else [])],
        }
    raise _all_failed(source, target, precision, failures)


def _attempt(
    way: Way, job: Job, target: str, precision: str, checks: Arrays, reference: Arrays
) -> tuple[ModelInfo, tuple[OutputAgreement, ...]]:
    """The artifact of one way and how it agrees; raises ConvertError if it does not."""
    from convert.model_file import inspect_file

    try:
        way.make(job)
    except ConvertError:
        raise
    except Exception as error:  # converters raise what they like; the next way is tried
        raise ConversionFailed(f"{type(error).__name__}: {error}", reason="conversion_failed") from error
    info = info_from_inspection(inspect_file(job.output), job.output)
    _check_interface(job.source, info)
    _check_precision(job.source, info, precision)
    with job.log.step(_RUNTIME_PACKAGE[target], "verification"):
        outputs = run_model(info, checks)
    aliases = {output.name: output.aliases for output in job.source.outputs}
    scales = {output.name: output.quantization for output in job.source.outputs if output.quantization}
    agreement = compare_outputs(reference, outputs, aliases, scales)
    fault = find_fault(agreement, precision)
    if fault:
        raise ConversionFailed(fault, reason="verification_failed")
    return info, agreement


def _check_interface(source: ModelInfo, made: ModelInfo) -> None:
    """An artifact takes and gives what its source does, under the same names."""
    for side, before, after in (
        ("inputs", source.inputs, made.inputs),
        ("outputs", source.outputs, made.outputs),
    ):
        expected = sorted((tensor.name, len(tensor.shape), tensor.dtype) for tensor in before)
        found = sorted((tensor.name, len(tensor.shape), tensor.dtype) for tensor in after)
        if expected != found:
            raise ConversionFailed(
                f"the {side} changed from {expected} to {found}", reason="verification_failed"
            )


def _check_precision(source: ModelInfo, made: ModelInfo, precision: str) -> None:
    """Quantizers pass over what they do not know; a file that is still fp32 must not be sold as int8.

    Without weights to tell by, unchanged operators tell that nothing was converted.
    """
    untouched = not source.parameters and made.operators == source.operators
    if made.precision == "fp32" != precision and (source.parameters or untouched):
        raise ConversionFailed(
            f"the result is still fp32: hardly any weight of {source.path.name} could be made {precision}",
            reason="precision_not_reached",
            remedy=f"Its operators are {', '.join(source.operators)}; measure it in fp32",
        )


def _arrays(saved: list[Any]) -> Arrays:
    file, names = saved
    return load_arrays(Path(file), names)


def _described(way: Way) -> str:
    """The way's description with the versions of the packages it names."""
    text = way.description
    for package in ("onnxslim", "onnxruntime", "ai-edge-quantizer"):
        if f"{{{package}}}" in text:
            text = text.replace(f"{{{package}}}", version(package))
    return text


def _all_failed(
    source: ModelInfo, target: str, precision: str, failures: list[ConvertError]
) -> ConversionFailed:
    last = failures[-1]
    reasons = "; ".join(dict.fromkeys(failure.message for failure in failures))
    return ConversionFailed(
        f"{source.path.name} could not be made into {precision} for {target}: {reasons}",
        reason=last.reason,
        remedy=last.remedy or "Choose another precision, or give a model that has it already",
    )
