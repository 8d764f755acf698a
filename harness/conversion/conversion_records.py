"""What conversion.json holds of a source and of an artifact; every value plain JSON, absent is null."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from convert.conversion import Artifact
from convert.data.shapes import resolve_shapes
from convert.interface import TensorMap
from convert.proofs.verification import OutputAgreement
from convert.sources.inspection import ModelInfo, TensorInfo
from harness.conversion.conversions import Made, reason_of
from harness.conversion.wanted import ConversionOptions, Wanted
from harness.errors import BenchError, CaseError

Shape = tuple[int, ...]


def source_record(model: str, info: ModelInfo) -> dict[str, Any]:
    """A source as it was read."""
    return {
        "model": model,
        "kind": info.kind,
        "name": info.source.name if info.source else info.path.name,
        "sha256": info.sha256,
        "files": [{"name": f.name, "bytes": f.bytes, "sha256": f.sha256} for f in info.files],
        "opset": info.opset,
        "parameters": info.parameters,
        "precision": info.precision,
        "inputs": [_tensor(tensor) for tensor in info.inputs],
        "outputs": [_tensor(tensor) for tensor in info.outputs],
    }


def artifact_record(
    model: str, made: Made, options: ConversionOptions, files: Sequence[Mapping[str, Any]], key: str
) -> dict[str, Any]:
    """An artifact whose `files` (path, bytes, sha256; the main one first) lie in the output folder."""
    artifact = made.artifact
    peaks = [step.peak_memory_bytes for step in artifact.steps if step.peak_memory_bytes is not None]
    return {
        **_named(model, made.wanted),
        "status": "ok",
        "failure": None,
        "source": made.info.sha256,
        "path": files[0]["path"],
        "sha256": artifact.sha256,
        "bytes": artifact.bytes,
        "files": list(files),
        "converter": artifact.converter,
        "steps": [asdict(step) for step in artifact.steps],
        "verification": [_agreement(agreement) for agreement in artifact.agreement],
        "opset": artifact.info.opset,
        "inputs": _mapped(artifact.info.inputs, artifact.inputs),
        "outputs": _mapped(artifact.info.outputs, artifact.outputs),
        "optimization_profile": _profile(made, options) if made.wanted.target == "tensorrt" else None,
        "calibration": asdict(artifact.calibration) if artifact.calibration else None,
        "options": _options(made, options),
        "warnings": list(artifact.warnings),
        "runtimes": None if made.runtimes is None else [asdict(check) for check in made.runtimes],
        "from_cache": artifact.from_cache,
        "seconds": round(made.seconds, 3),
        "peak_memory_bytes": max(peaks, default=None),
        "key": key,
    }


def failed_record(model: str, wanted: Wanted, error: BenchError, seconds: float) -> dict[str, Any]:
    """An artifact that could not be made."""
    return {
        **_named(model, wanted),
        "status": "failed",
        "failure": failure_record(error),
        "path": None,
        "seconds": round(seconds, 3),
    }


def failure_record(error: BenchError) -> dict[str, Any]:
    """A failure: class and reason are stable words for programs, message and remedy are for people."""
    return {
        "class": error.failure_class if isinstance(error, CaseError) else "usage",
        "reason": reason_of(error),
        "message": error.message,
        "remedy": error.remedy,
    }


def _named(model: str, wanted: Wanted) -> dict[str, Any]:
    return {"model": model, "target": wanted.word, "precision": wanted.precision, "io": wanted.io}


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "quantization": (
            {"scale": tensor.quantization[0], "zero_point": tensor.quantization[1]}
            if tensor.quantization
            else None
        ),
    }


def _mapped(tensors: Sequence[TensorInfo], maps: Sequence[TensorMap]) -> list[dict[str, Any]]:
    """Tensors with what they are in the source: artifact = source.transpose(permutation)."""
    origin = {entry.name: entry for entry in maps}
    return [
        {
            **_tensor(tensor),
            "source": origin[tensor.name].source,
            "permutation": list(origin[tensor.name].permutation or ()) or None,
        }
        for tensor in tensors
    ]


def _agreement(agreement: OutputAgreement) -> dict[str, Any]:
    # JSON has no infinity; an output that is not finite has no largest error.
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(agreement).items()
    }


def _options(made: Made, options: ConversionOptions) -> dict[str, Any]:
    return {
        "batch": options.batch,
        "dynamic_batch": list(options.dynamic_batch) or None,
        "opset": options.opset,
        "tolerance": options.tolerance,
        "shapes": {name: list(shape) for name, shape in made.shapes.items()},
    }


def _profile(made: Made, options: ConversionOptions) -> dict[str, dict[str, list[int]]]:
    """Shapes for TensorRT's optimisation profile: at the least, the usual and the largest batch."""
    concrete = _in_artifact_terms(made.artifact, made.shapes)
    profile: dict[str, dict[str, list[int]]] = {name: {} for name in concrete}
    for end, batch in zip(("min", "opt", "max"), options.batches, strict=True):
        for name, shape in _at_batch(made.artifact.info, concrete, batch).items():
            profile[name][end] = list(shape)
    return profile


def _in_artifact_terms(artifact: Artifact, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {
        entry.name: tuple(shapes[entry.source][axis] for axis in entry.permutation)
        if entry.permutation
        else shapes[entry.source]
        for entry in artifact.inputs
    }


def _at_batch(info: ModelInfo, concrete: Mapping[str, Shape], batch: int) -> Mapping[str, Shape]:
    """The shapes at that batch size, or as they are where every one of them is fixed."""
    if all(isinstance(size, int) for tensor in info.inputs for size in tensor.shape):
        return concrete
    return resolve_shapes(info, concrete, batch).shapes
