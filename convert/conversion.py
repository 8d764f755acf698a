"""From a source model to an artifact: the table of paths, the cache, the worker that walks a path.

A conversion that is in the cache imports no converter and no runtime.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from convert.arrays import save_arrays
from convert.cache import cache_key, find_entry, make_entry, read_entry
from convert.check_inputs import check_inputs, complete_inputs
from convert.child import run_child
from convert.datasets import Examples
from convert.errors import ConversionFailed
from convert.inspection import ModelFile, ModelInfo, info_from_json, info_to_json
from convert.job import Way
from convert.sample_inputs import seeded_inputs
from convert.steps import Step
from convert.to_onnxruntime import ONNX_TO_ONNXRUNTIME
from convert.to_tflite import TFLITE_TO_TFLITE
from convert.verification import OutputAgreement

#: (source, target) -> precision -> ways, best first. A new converter is one file and one row.
PATHS: dict[tuple[str, str], dict[str, tuple[Way, ...]]] = {
    ("onnx", "onnxruntime"): ONNX_TO_ONNXRUNTIME,
    ("tflite", "tflite"): TFLITE_TO_TFLITE,
}

#: Raised whenever the same tools would now make another artifact, or entries hold something else.
_CONVERSION_VERSION = 2
_PACKAGES = {
    "onnx": ("onnx", "onnxruntime", "onnxslim"),
    "tflite": ("ai-edge-litert", "ai-edge-quantizer"),
}
#: Fewer samples than this leave the ranges of activations to chance.
_ENOUGH_SAMPLES = 100
_RANDOM_SAMPLES = 32
#: More add minutes and move the ranges little; they are taken evenly from all.
_MOST_SAMPLES = 1000

Precision = Literal["fp32", "fp16", "int8", "int8-dynamic"]


@dataclass(frozen=True)
class ConversionRequest:
    """What to make. `shapes` are those of batch 1, for calibration and verification."""

    info: ModelInfo
    target: Literal["onnxruntime", "tflite"]
    precision: Precision
    shapes: dict[str, tuple[int, ...]]
    calibration: Examples | None = None
    allow_random_calibration: bool = False


@dataclass(frozen=True)
class Artifact:
    """A converted model that agrees with its source on this host."""

    #: Main file first.
    files: tuple[ModelFile, ...]
    info: ModelInfo
    sha256: str
    bytes: int
    target: str
    precision: str
    #: The tools and their settings in one line.
    converter: str
    steps: tuple[Step, ...]
    agreement: tuple[OutputAgreement, ...]
    #: What the ranges of static int8 come from.
    calibration: str | None
    warnings: tuple[str, ...]
    from_cache: bool


def convert(request: ConversionRequest, cache: Path) -> Artifact:
    """The artifact, from `cache` or made now in a child process, verified against its source.

    Raises ConversionFailed: no_path, already_quantized, calibration_required, conversion_failed,
    verification_failed, or what ended the child. Failures are not cached.
    """
    ways = find_ways(request.info, request.target, request.precision)
    calibrated = any(way.needs_calibration for way in ways)
    if calibrated:
        _check_calibration(request)
    key = cache_key(_content(request, calibrated))
    entry = find_entry(cache, "artifacts", key)
    artifact = _read(entry, request, from_cache=True) if entry else None
    if artifact is not None:
        return artifact
    made = make_entry(
        cache, "artifacts", key, lambda folder: _make(request, folder, calibrated), replace=entry is not None
    )
    artifact = _read(made, request, from_cache=False)
    if artifact is None:
        raise ConversionFailed(
            f"{made} cannot be read back", reason="cache_damaged", remedy=f"Remove {cache}"
        )
    return artifact


def find_ways(info: ModelInfo, target: str, precision: str) -> tuple[Way, ...]:
    """The ways from a source to a target, best first; raises ConversionFailed if there is none."""
    table = PATHS.get((info.kind, target))
    if table is None:
        sources = ", ".join(f".{source}" for source, runtime in PATHS if runtime == target)
        raise ConversionFailed(
            f"{info.path.name}: this version does not convert .{info.kind} to {target}",
            reason="no_path",
            remedy=f"For {target} give a source of {sources or 'another kind'}",
        )
    if precision not in table:
        raise ConversionFailed(
            f"{precision!r} is not a precision of {target}",
            reason="no_path",
            remedy=f"Choose one of {', '.join(table)}",
        )
    if info.precision == "fp32":
        return table[precision]
    if info.precision == precision:
        # A file that has the precision already runs untouched; that is the last way to fp32.
        return table["fp32"][-1:]
    raise ConversionFailed(
        f"{info.path.name} is {info.precision} already, and {precision} cannot be made from it",
        reason="already_quantized",
        remedy=f"Run it as {info.precision}, or give the fp32 model it was made from",
    )


def _check_calibration(request: ConversionRequest) -> None:
    if request.calibration is None and not request.allow_random_calibration:
        raise ConversionFailed(
            f"int8 of {request.info.path.name} needs calibration data, and none were given",
            reason="calibration_required",
            remedy="Give typical inputs with --calibration (100 or more), "
            "or --allow-random-calibration to measure speed alone",
        )


def _content(request: ConversionRequest, calibrated: bool) -> dict[str, Any]:
    """Everything the artifact and its entry depend on."""
    return {
        "version": _CONVERSION_VERSION,
        "source": request.info.sha256,
        "target": request.target,
        "precision": request.precision,
        "shapes": {name: list(shape) for name, shape in request.shapes.items()},
        # Also where it is not calibrated with: the examples are what it is verified on.
        "calibration": request.calibration.sha256 if request.calibration else None,
        "random_calibration": calibrated and request.calibration is None,
        "packages": _versions(request.info.kind),
    }


def _versions(kind: str) -> dict[str, str]:
    try:
        return {package: version(package) for package in _PACKAGES[kind]}
    except PackageNotFoundError as error:
        raise ConversionFailed(
            f"the package {error.name} is not installed",
            reason="tool_missing",
            remedy=f"Install it: pip install {error.name}",
        ) from error


def _make(request: ConversionRequest, folder: Path, calibrated: bool) -> dict[str, Any]:
    """Fills the entry's folder by the worker; returns the entry's content."""
    samples, described, warnings = _calibration(request) if calibrated else (None, None, [])
    checks = check_inputs(request.info, request.shapes, request.calibration)
    with tempfile.TemporaryDirectory(prefix="exchange-", dir=folder) as exchange:
        calibration_file, checks_file = Path(exchange, "calibration.npz"), Path(exchange, "checks.npz")
        content = {
            "source": str(request.info.path),
            "info": info_to_json(request.info),
            "target": request.target,
            "precision": request.precision,
            "folder": str(folder),
            "calibration": [str(calibration_file), save_arrays(calibration_file, samples)]
            if samples
            else None,
            "checks": [str(checks_file), save_arrays(checks_file, checks)],
        }
        reply = run_child("conversion", content, error=ConversionFailed)
    return {**reply, "calibration": described, "warnings": [*warnings, *reply["warnings"]]}


def _calibration(request: ConversionRequest) -> tuple[dict[str, NDArray[np.generic]], str, list[str]]:
    """Complete inputs to calibrate with, where they come from, and what to know about them."""
    examples = request.calibration
    if examples is None:
        samples = seeded_inputs(request.info, request.shapes, _RANDOM_SAMPLES)
        warning = "calibrated on random numbers: speed and size are real, outputs and accuracy are not"
        return samples, f"{_RANDOM_SAMPLES} random samples, minmax", [warning]
    batch = next(iter(request.shapes.values()), (1,))[:1] if examples.stacked else ()
    count = min(_MOST_SAMPLES, examples.examples // (batch[0] if batch else 1)) or 1
    described = f"{count} samples of {examples.source}, sha256 {examples.sha256[:12]}, minmax"
    warnings = []
    if examples.examples < _ENOUGH_SAMPLES:
        warnings.append(
            f"calibrated on {examples.examples} samples of {examples.source}; "
            f"below {_ENOUGH_SAMPLES} the ranges of activations are left to chance"
        )
    return complete_inputs(examples, request.shapes, count), described, warnings


def _read(entry: Path, request: ConversionRequest, *, from_cache: bool) -> Artifact | None:
    """The artifact of an entry, None if any of its files is missing or cut."""
    content = read_entry(entry)
    if content is None:
        return None
    info = info_from_json(content["info"], entry / content["file"])
    for file in info.files:
        if not file.path.is_file() or file.path.stat().st_size != file.bytes:
            return None
    return Artifact(
        files=info.files,
        info=info,
        sha256=info.sha256,
        bytes=sum(file.bytes for file in info.files),
        target=request.target,
        precision=request.precision,
        converter=content["converter"],
        steps=tuple(Step(**step) for step in content["steps"]),
        agreement=tuple(OutputAgreement(**agreement) for agreement in content["agreement"]),
        calibration=content["calibration"],
        warnings=tuple(content["warnings"]),
        from_cache=from_cache,
    )
