"""Whether an artifact also works in runtimes that this computer does not have, each in its toolchain.

A file that loads may still answer garbage: tflite-runtime 2.14 computes zeros for a layer that newer
runtimes compute right, without an error. So outputs are compared wherever the runtime can be run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from convert.cache import cache_key, find_entry, make_entry, read_entry
from convert.data.arrays import arrays_sha256, load_arrays, save_arrays
from convert.errors import ConvertError
from convert.held_folders import held_folder, scratch_folder
from convert.processes.toolchain import toolchain_key
from convert.proofs.verification import compare_outputs, figures, find_fault
from convert.workshop import Workshop

#: Raised when what is checked or kept changes.
_COMPATIBILITY_VERSION = 1
#: These say that the runtime was asked and could not; anything else that it could not be asked.
_REFUSALS = ("runtime_refused", "crashed")

Arrays = Mapping[str, NDArray[np.generic]]
Status = Literal["agrees", "disagrees", "refused", "not_checked"]


@dataclass(frozen=True)
class CheckedArtifact:
    """An artifact that agrees with its source on this host, and what it was fed and answered there."""

    #: Data files lie beside it.
    file: Path
    sha256: str
    target: str
    precision: str
    #: (examples, *shape) by the artifact's names, in the file's order, types and layout.
    inputs: Arrays
    #: (examples, *shape) by the artifact's names, as the file gives them or as the numbers they stand for.
    expected: Arrays
    #: Scale and zero point of quantised outputs.
    quantization: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    #: Least, usual and largest batch of an artifact whose batch is open.
    batches: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class RuntimeCheck:
    """What one runtime makes of an artifact."""

    runtime: str
    #: None where the runtime could not be asked.
    version: str | None
    status: Status
    #: Figures, or the runtime's own words.
    detail: str


def check_compatibility(artifact: CheckedArtifact, workshop: Workshop) -> tuple[RuntimeCheck, ...]:
    """What each runtime of the artifact's target makes of it; kept in the cache. Raises no ConvertError."""
    if artifact.target == "tflite":
        here = RuntimeCheck("ai-edge-litert", version("ai-edge-litert"), "agrees", "verified as it was made")
        return here, _kept("tflite-runtime", artifact, workshop, _run_by_tflite_runtime)
    if artifact.target == "tensorrt":
        return (_kept("tensorrt-parser", artifact, workshop, _build_by_tensorrt),)
    return ()


def _kept(
    toolchain: str,
    artifact: CheckedArtifact,
    workshop: Workshop,
    check: Callable[[CheckedArtifact, Workshop, Path], RuntimeCheck],
) -> RuntimeCheck:
    key = cache_key(
        {
            "version": _COMPATIBILITY_VERSION,
            "artifact": artifact.sha256,
            "precision": artifact.precision,
            "inputs": arrays_sha256(artifact.inputs),
            "expected": arrays_sha256(artifact.expected),
            "quantization": {name: list(scale) for name, scale in artifact.quantization.items()},
            "batches": artifact.batches,
            "toolchain": toolchain_key(toolchain),
        }
    )
    entry = find_entry(workshop.cache, "compatibility", key)
    content = read_entry(entry) if entry else None
    if content is not None:
        return RuntimeCheck(**content)
    with held_folder(scratch_folder(), "edgebench-check-") as place:
        found = check(artifact, workshop, place)
    if found.status != "not_checked":
        make_entry(workshop.cache, "compatibility", key, lambda _: asdict(found), replace=entry is not None)
    return found


def _run_by_tflite_runtime(artifact: CheckedArtifact, workshop: Workshop, place: Path) -> RuntimeCheck:
    runtime = "tflite-runtime"
    request = {
        "model": str(artifact.file),
        "inputs": str(place / "inputs.npz"),
        "names": save_arrays(place / "inputs.npz", artifact.inputs),
        "outputs": str(place / "outputs.npz"),
    }
    try:
        reply = workshop.run("tflite-runtime check", request, toolchain=runtime)
    except ConvertError as error:
        return _unwilling(runtime, error)
    answered: Arrays = load_arrays(place / "outputs.npz", reply["names"])
    return _judged(runtime, reply["version"], artifact, answered)


def _judged(runtime: str, its_version: str, artifact: CheckedArtifact, answered: Arrays) -> RuntimeCheck:
    """The verdict by the bounds that every artifact is verified by."""
    try:
        agreements = compare_outputs(artifact.expected, answered, quantization=artifact.quantization)
    except ConvertError as error:
        return RuntimeCheck(runtime, its_version, "disagrees", error.message)
    fault = find_fault(agreements, artifact.precision)
    if fault:
        return RuntimeCheck(runtime, its_version, "disagrees", fault)
    worst = min(agreements, key=lambda agreement: 1.0 if agreement.cosine is None else agreement.cosine)
    return RuntimeCheck(runtime, its_version, "agrees", f"output {worst.name!r}: {figures(worst)}")


def _build_by_tensorrt(artifact: CheckedArtifact, workshop: Workshop, _place: Path) -> RuntimeCheck:
    runtime = "tensorrt-rtx"
    request: dict[str, Any] = {"model": str(artifact.file), "profile": artifact.batches}
    try:
        reply = workshop.run("tensorrt parser check", request, toolchain="tensorrt-parser")
    except ConvertError as error:
        return _unwilling(runtime, error)
    built = f"parsed into {reply['layers']} layers, built into {reply['engine_bytes'] / 1e6:.1f} MB"
    return RuntimeCheck(runtime, reply["version"], "agrees", built)


def _unwilling(runtime: str, error: ConvertError) -> RuntimeCheck:
    status: Status = "refused" if error.reason in _REFUSALS else "not_checked"
    return RuntimeCheck(runtime, None, status, error.message)
