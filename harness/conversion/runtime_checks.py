"""What the runtimes an artifact is for make of it; none of them can fail a conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convert.conversion import Artifact, ConversionRequest
from convert.data.check_inputs import check_inputs
from convert.interface import as_fed, to_artifact
from convert.processes.toolchain import find_toolchain
from convert.proofs.compatibility import CheckedArtifact, RuntimeCheck, check_compatibility
from convert.proofs.reference import reference_outputs
from convert.sources.inspection import ModelInfo
from convert.workshop import Workshop

#: The toolchain in which a runtime is asked.
TOOLCHAIN_OF_RUNTIME = {"tflite-runtime": "tflite-runtime", "tensorrt-rtx": "tensorrt-parser"}


def check_runtimes(
    artifact: Artifact, request: ConversionRequest, batches: Sequence[int], workshop: Workshop
) -> tuple[RuntimeCheck, ...]:
    """The answers of the runtimes that artifacts of this target are for.

    `batches` are least, usual and largest. Raises ConvertError if the artifact no longer runs here.
    """
    if artifact.target in ("onnxruntime", "onnx-optimized"):
        its_version = version("onnxruntime")
        return (RuntimeCheck("onnxruntime", its_version, "agrees", "verified as it was made"),)
    if artifact.target == "openvino":
        tool = next(step for step in artifact.steps if step.tool == "openvino")
        return (RuntimeCheck("openvino", tool.version, "agrees", "verified as it was made"),)
    if artifact.target == "tflite":
        checks = check_inputs(request.info, request.shapes, request.calibration)
        inputs = as_fed(to_artifact(checks, artifact.inputs), artifact.info.inputs)
        # Its own answers on this host, which were verified: what other runtimes add is seen by itself.
        expected = reference_outputs(artifact.info, inputs, workshop)
    else:
        inputs, expected = {}, {}
    least, usual, most = batches
    checked = CheckedArtifact(
        file=artifact.files[0].path,
        sha256=artifact.sha256,
        target=artifact.target,
        precision=artifact.precision,
        inputs=inputs,
        expected=expected,
        quantization={t.name: t.quantization for t in artifact.info.outputs if t.quantization is not None},
        batches=(least, usual, most),
    )
    return check_compatibility(checked, workshop)


def ask_tensorrt(info: ModelInfo, workshop: Workshop) -> RuntimeCheck | None:
    """What TensorRT's parser says to an ONNX file as it is; None where its toolchain was not made."""
    if find_toolchain("tensorrt-parser", workshop.toolchains) is None:
        return None
    checked = CheckedArtifact(info.path, info.sha256, "tensorrt", info.precision, {}, {})
    (answer,) = check_compatibility(checked, workshop)
    return answer


def is_settled(runtimes: Sequence[Mapping[str, Any]] | None, toolchains: Path) -> bool:
    """Whether asking again would tell nothing new: all were asked that can be."""
    return runtimes is not None and not any(
        check["status"] == "not_checked"
        and (name := TOOLCHAIN_OF_RUNTIME.get(check["runtime"])) is not None
        and find_toolchain(name, toolchains) is not None
        for check in runtimes
    )
