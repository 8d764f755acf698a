"""Makes one artifact: its base first, then the tools and the ways to its precision, each result verified."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.arrays import save_arrays
from convert.base import Base, base_model
from convert.calibration import calibration_samples
from convert.check_inputs import check_inputs, other_shapes
from convert.errors import ConvertError
from convert.inspection import ModelInfo, info_to_json
from convert.interface import Arrays, maps_to_json, to_artifact
from convert.reference import reference_outputs
from convert.sample_inputs import seeded_inputs
from convert.source import source_to_json
from convert.workshop import Workshop

if TYPE_CHECKING:
    from convert.conversion import ConversionRequest
    from convert.paths import ToolWay

_WIDE_EXAMPLES = 2


def make_artifact(
    request: ConversionRequest,
    tools: Sequence[ToolWay],
    workshop: Workshop,
    folder: Path,
    *,
    calibrated: bool,
) -> dict[str, Any]:
    """Fills the entry's folder; returns the entry's content. Raises ConversionFailed if nothing will do."""
    base = base_model(request.base(), workshop)
    samples, described, warnings = None, None, list[str]()
    if calibrated:
        samples, described, warnings = calibration_samples(request.info, request.shapes, request.calibration)
    with tempfile.TemporaryDirectory(prefix="exchange-", dir=folder) as exchange:
        place = Path(exchange)
        content = _content(request, base, workshop, place, folder)
        if samples is not None:
            content["calibration"] = _saved(place / "calibration.npz", to_artifact(samples, base.inputs))
        reply = None
        for tool in tools:
            try:
                reply = _by_tool(tool, request, samples, content, workshop, place)
                break
            except ConvertError as error:
                warnings.append(f"{tool.description} failed: {error.message}")
        if reply is None:
            reply = workshop.run("conversion", content)
            reply["converter"] = ", ".join(part for part in (base.converter, reply["converter"]) if part)
            reply["steps"] = [*(asdict(step) for step in base.steps), *reply["steps"]]
            warnings += base.warnings
    source_names = {entry.name: entry.source for entry in base.outputs}
    for output in reply["agreement"]:
        output["name"] = source_names.get(output["name"], output["name"])
    return {
        **reply,
        "inputs": maps_to_json(base.inputs),
        "outputs": maps_to_json(base.outputs),
        "calibration": asdict(described) if described else None,
        "warnings": [*warnings, *reply["warnings"]],
    }


def _content(
    request: ConversionRequest, base: Base, workshop: Workshop, place: Path, folder: Path
) -> dict[str, Any]:
    """What the child that verifies and converts is told; arrays in the base's names and layout."""
    checks = check_inputs(request.info, request.shapes, request.calibration)
    reference, wide = None, None
    if request.info.kind != base.info.kind:
        answers = reference_outputs(request.info, checks, workshop)
        reference = _saved(place / "reference.npz", to_artifact(answers, base.outputs))
    elif other := other_shapes(request.info, request.shapes):
        wide = _saved(place / "wide.npz", seeded_inputs(request.info, other, _WIDE_EXAMPLES))
    return {
        "source": str(base.info.path),
        "info": info_to_json(base.info),
        "target": request.target,
        "precision": request.precision,
        "io": request.io,
        "opset": request.opset,
        "folder": str(folder),
        "calibration": None,
        "checks": _saved(place / "checks.npz", to_artifact(checks, base.inputs)),
        "reference": reference,
        "wide": wide,
    }


def _by_tool(
    tool: ToolWay,
    request: ConversionRequest,
    samples: Arrays | None,
    content: dict[str, Any],
    workshop: Workshop,
    place: Path,
) -> dict[str, Any]:
    """The entry's content, made by a tool from the source itself and verified like everything else."""
    info = request.info
    output = Path(content["folder"], "result", f"model.{_format(content)}")
    output.parent.mkdir(exist_ok=True)
    assert info.source is not None
    with tempfile.TemporaryDirectory(dir=place) as work:
        asked = {
            "source": source_to_json(info.source),
            "inputs": _concrete(info, request),
            "outputs": [tensor.name for tensor in info.outputs],
            "output": str(output),
            "work": work,
            "precision": request.precision,
            "io": request.io,
            "calibration": _saved(place / "samples.npz", samples) if samples is not None else None,
        }
        made = workshop.run(tool.task, asked, toolchain=tool.toolchain, python=info.source.python)
    verified = workshop.run("verification", {**content, "made": str(output)})
    versions = dict.fromkeys(f"{step['tool']} {step['version']}" for step in made["steps"])
    return {
        **verified,
        "converter": f"{tool.description} [{', '.join(versions)}]",
        "steps": [*made["steps"], *verified["steps"]],
        "warnings": [*made["warnings"], *verified["warnings"]],
    }


def _concrete(info: ModelInfo, request: ConversionRequest) -> list[dict[str, Any]]:
    return [
        {"name": tensor.name, "shape": list(request.shapes[tensor.name]), "dtype": tensor.dtype}
        for tensor in info.inputs
    ]


def _format(content: dict[str, Any]) -> str:
    return str(content["info"]["kind"])


def _saved(file: Path, arrays: Arrays) -> list[Any]:
    return [str(file), save_arrays(file, arrays)]
