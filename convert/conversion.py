"""From a source model to an artifact: the request, the cache, the answer.

A conversion that is in the cache imports no converter and no runtime.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from convert.base import DEFAULT_TOLERANCE, BaseRequest, Format, base_identity
from convert.cache import cache_key, kept, read_entry
from convert.calibration import Calibration
from convert.data.datasets import Examples
from convert.errors import ConversionFailed
from convert.interface import TensorMap, maps_from_json
from convert.making import make_artifact
from convert.paths import FORMAT_OF, find_tools, find_ways
from convert.processes.toolchain import toolchain_key
from convert.proofs.verification import OutputAgreement
from convert.sources.inspection import ModelFile, ModelInfo, info_from_json
from convert.steps import Step
from convert.workshop import Workshop

#: Raised whenever the same tools would now make another artifact, or entries hold something else.
CONVERSION_VERSION = 7
_PACKAGES = {
    "onnx": ("onnx", "onnxruntime", "onnxslim"),
    "tflite": ("ai-edge-litert", "ai-edge-quantizer"),
}

Target = Literal["onnxruntime", "onnx-optimized", "tensorrt", "tflite", "openvino"]
Precision = Literal["fp32", "fp16", "int8", "int8-dynamic"]
Io = Literal["float", "int8", "uint8"]


@dataclass(frozen=True)
class ConversionRequest:
    """What to make. `shapes` are the source's, for calibration and verification.

    Their batch size stays where the target's format fixes it (see needs_fixed_batch), else it is 1.
    """

    info: ModelInfo
    target: Target
    precision: Precision
    shapes: dict[str, tuple[int, ...]]
    calibration: Examples | None = None
    allow_random_calibration: bool = False
    #: Types at the ends of an int8 TFLite model; no other artifact has a choice.
    io: Io = "float"
    #: The ONNX opset to end with; None: what the exporter or the source has.
    opset: int | None = None
    #: Batch sizes an exported ONNX model has to take; () keeps the one of `shapes`.
    dynamic_batch: tuple[int, ...] = ()
    #: Only by way of this format, where there are several ways to the base.
    via: Format | None = None
    #: Largest difference between a source and its base, see base.DEFAULT_TOLERANCE.
    tolerance: float = DEFAULT_TOLERANCE

    def base(self) -> BaseRequest:
        """What the artifact is made from."""
        format_ = FORMAT_OF[self.target]
        # Where the way ends in that format anyhow, every way leads through it.
        via = None if format_ == self.via else self.via
        return BaseRequest(
            self.info, format_, self.shapes, self.opset, self.dynamic_batch, self.tolerance, via
        )


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
    #: With the source's own outputs, by the source's names.
    agreement: tuple[OutputAgreement, ...]
    #: What the ranges of static int8 come from.
    calibration: Calibration | None
    warnings: tuple[str, ...]
    from_cache: bool
    #: How its inputs and outputs lie against the source's.
    inputs: tuple[TensorMap, ...]
    outputs: tuple[TensorMap, ...]


def needs_fixed_batch(info: ModelInfo, target: str) -> bool:
    """Whether the artifact takes the batch size it was converted for and no other."""
    return info.kind != FORMAT_OF[target]


def convert(request: ConversionRequest, workshop: Workshop) -> Artifact:
    """The artifact, from the cache or made now in child processes, verified against its source.

    Raises ConversionFailed: no_path, already_quantized, calibration_required, conversion_failed,
    verification_failed, what a toolchain or the base can, or what ended a child. Failures are not cached.
    """
    tools = find_tools(request.info, request.target, request.precision)
    ways = find_ways(request.info, request.target, request.precision)
    calibrated = any(way.needs_calibration for way in ways)
    _check_options(request, calibrated)
    content = _content(request, calibrated)
    content["tools"] = [[tool.task, toolchain_key(tool.toolchain)] for tool in tools]
    key = cache_key(content)
    made = False

    def make(folder: Path) -> dict[str, Any]:
        nonlocal made
        made = True
        return make_artifact(request, tools, workshop, folder, calibrated=calibrated)

    artifact = kept(workshop.cache, "artifacts", key, lambda entry: _read(entry, request), make)
    return replace(artifact, from_cache=not made)


def _check_options(request: ConversionRequest, calibrated: bool) -> None:
    if calibrated and request.calibration is None and not request.allow_random_calibration:
        raise ConversionFailed(
            f"int8 of {request.info.path.name} needs calibration data, and none were given",
            reason="calibration_required",
            remedy="Give typical inputs with --calibration (100 or more), "
            "or --allow-random-calibration to measure speed alone",
        )
    if request.io != "float" and (request.target, request.precision) != ("tflite", "int8"):
        raise ConversionFailed(
            f"{request.precision} for {request.target} has no {request.io} inputs and outputs",
            reason="no_path",
            remedy="--io int8 and uint8 are for int8 with tflite; leave it out for the others",
        )
    if request.dynamic_batch and FORMAT_OF[request.target] != "onnx":
        raise ConversionFailed(
            f"{request.target} models have one batch size",
            reason="batch_fixed",
            remedy="Give --batch for the one to convert for, in place of --dynamic-batch",
        )


def _content(request: ConversionRequest, calibrated: bool) -> dict[str, Any]:
    """Everything the artifact and its entry depend on."""
    return {
        "version": CONVERSION_VERSION,
        "source": request.info.sha256,
        "base": base_identity(request.base()),
        "target": request.target,
        "precision": request.precision,
        "shapes": {name: list(shape) for name, shape in request.shapes.items()},
        # Also where it is not calibrated with: the examples are what it is verified on.
        "calibration": request.calibration.sha256 if request.calibration else None,
        "random_calibration": calibrated and request.calibration is None,
        "io": request.io,
        "opset": request.opset,
        "packages": _versions(FORMAT_OF[request.target]),
    }


def _versions(format_: str) -> dict[str, str]:
    try:
        return {package: version(package) for package in _PACKAGES[format_]}
    except PackageNotFoundError as error:
        raise ConversionFailed(
            f"the package {error.name} is not installed",
            reason="tool_missing",
            remedy=f"Install it: pip install {error.name}",
        ) from error


def _read(entry: Path, request: ConversionRequest) -> Artifact | None:
    """The artifact of an entry, None if any of its files is missing or cut."""
    content = read_entry(entry)
    if content is None:
        return None
    info = info_from_json(content["info"], entry / content["file"])
    if not info.is_whole():
        return None
    calibration = content["calibration"]
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
        calibration=Calibration(**calibration) if calibration else None,
        warnings=tuple(content["warnings"]),
        from_cache=True,
        inputs=maps_from_json(content["inputs"]),
        outputs=maps_from_json(content["outputs"]),
    )
