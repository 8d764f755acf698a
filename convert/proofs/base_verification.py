"""Proves a base against its source's own outputs. A task of the worker process, in this environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from convert.data.arrays import load_arrays
from convert.errors import ConversionFailed
from convert.interface import Arrays, maps_to_json, to_artifact, to_source
from convert.proofs.execution import run_model
from convert.proofs.layouts import Reading, best_reading
from convert.proofs.verification import compare_outputs, figures, find_fault
from convert.sources.inspection import ModelInfo, info_from_inspection, info_to_json
from convert.sources.model_file import inspect_file
from convert.steps import StepLog

_RUNTIME_PACKAGE = {"onnx": "onnxruntime", "tflite": "ai-edge-litert"}


def verify_base(request: dict[str, Any]) -> dict[str, Any]:
    """The made model at request["path"] inspected, its interface mapped, its outputs compared.

    Raises ConversionFailed `interface_changed` or `verification_failed`, InvalidModel if it does not load.
    """
    path = Path(request["path"])
    info = info_from_inspection(inspect_file(path), path)
    checks, reference = _arrays(request["checks"]), _arrays(request["reference"])
    log = StepLog()
    with log.step(_RUNTIME_PACKAGE[info.kind], "verification against the source"):
        reading = best_reading(info, checks, reference)
        _check(reading, reference, request["tolerance"])
        for batch in sorted(set(request["dynamic_batch"]) - {1}):
            _check_batch(info, reading, checks, reference, batch, request["tolerance"])
    if request["opset"] is not None and info.kind == "onnx" and info.opset != request["opset"]:
        log.warnings.append(
            f"opset {request['opset']} was asked for, the model could be made at {info.opset}"
        )
    return {
        "info": info_to_json(info),
        "inputs": maps_to_json(reading.inputs),
        "outputs": maps_to_json(reading.outputs),
        "steps": [asdict(step) for step in log.steps],
        "agreement": [asdict(output) for output in reading.agreement],
        "warnings": log.warnings,
    }


def _check(reading: Reading, reference: Arrays, tolerance: float) -> None:
    fault = find_fault(reading.agreement, "fp32")
    if fault:
        raise ConversionFailed(fault, reason="verification_failed")
    for output in reading.agreement:
        values = np.abs(reference[output.name].astype(np.float64))
        scale = max(1.0, float(values[np.isfinite(values)].max(initial=0.0)))
        if output.equal_share is None and output.max_abs_error > tolerance * scale:
            raise ConversionFailed(
                f"output {output.name!r} differs from the source by more than {tolerance:g} of its "
                f"largest value {scale:.4g} ({figures(output)})",
                reason="verification_failed",
                remedy="Widen --tolerance if that is good enough",
            )


def _check_batch(
    info: ModelInfo, reading: Reading, checks: Arrays, reference: Arrays, batch: int, tolerance: float
) -> None:
    """The outputs of a batch have to be those of its examples one by one."""
    rows = np.arange(batch) % len(next(iter(checks.values())))
    if any(array.shape[1:2] != (1,) for array in (*checks.values(), *reference.values())):
        return
    batched = {name: array[rows].reshape(1, batch, *array.shape[2:]) for name, array in checks.items()}
    answers = to_source(run_model(info, to_artifact(batched, reading.inputs)), reading.outputs)
    wanted = {name: array[rows].reshape(1, batch, *array.shape[2:]) for name, array in reference.items()}
    agreement = compare_outputs(wanted, answers)
    try:
        _check(Reading(reading.inputs, reading.outputs, agreement, answers), wanted, tolerance)
    except ConversionFailed as error:
        raise ConversionFailed(
            f"at batch size {batch} {error.message}", reason=error.reason, remedy=error.remedy
        ) from error


def _arrays(named: Sequence[Any]) -> Arrays:
    file, names = named
    return load_arrays(Path(file), names)
