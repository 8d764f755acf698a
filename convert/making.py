"""Makes one artifact: its base first, then the tools and the ways to its precision, each result verified."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.base import Base, base_model, shapes_through, source_of
from convert.calibration import Calibration, calibration_samples
from convert.data.arrays import save_arrays
from convert.data.check_inputs import check_inputs, other_shapes
from convert.data.sample_inputs import seeded_inputs
from convert.errors import ConvertError
from convert.interface import Arrays, maps_to_json, to_artifact
from convert.job import UNCHANGED
from convert.paths import ToolWay, find_ways
from convert.proofs.reference import reference_outputs
from convert.sources.inspection import ModelInfo, info_to_json
from convert.sources.source import source_to_json
from convert.workshop import Workshop

if TYPE_CHECKING:
    from convert.conversion import ConversionRequest

_WIDE_EXAMPLES = 2


def make_artifact(
    request: ConversionRequest,
    tools: Sequence[ToolWay],
    workshop: Workshop,
    folder: Path,
    *,
    calibrated: bool,
) -> dict[str, Any]:
    """Fills the entry's folder; returns the entry's content.

    A base that no way leads on from is given up for the next best one. Raises ConversionFailed if nothing
    will do: the failure with the best base, which is the one meant for this source.
    """
    making = _Making(request, tools, workshop, folder, calibrated)
    base = base_model(request.base(), workshop)
    first: ConvertError | None = None
    while True:
        try:
            return making.from_base(base)
        except ConvertError as error:
            first = first or error
            if base.next_route is None:
                raise first from error
            making.warnings.append(f"from {base.converter}: {error.message}")
        try:
            base = base_model(replace(request.base(), skip=base.next_route), workshop)
        except ConvertError as error:
            raise first from error


class _Making:
    """One artifact while it is made: what is shared by all attempts."""

    def __init__(
        self,
        request: ConversionRequest,
        tools: Sequence[ToolWay],
        workshop: Workshop,
        folder: Path,
        calibrated: bool,
    ) -> None:
        self.request = request
        self.tools = tools
        self.workshop = workshop
        self.folder = folder
        self.warnings: list[str] = []
        self.samples: Arrays | None = None
        self.calibration: Calibration | None = None
        if calibrated:
            self.samples, self.calibration, self.warnings = calibration_samples(
                request.info, request.shapes, request.calibration
            )

    def from_base(self, base: Base) -> dict[str, Any]:
        """The entry's content."""
        with tempfile.TemporaryDirectory(prefix="exchange-", dir=self.folder) as exchange:
            place = Path(exchange)
            content = self._content(base, place)
            reply = self._made(base, content, place)
        source_names = {entry.name: entry.source for entry in base.outputs}
        for output in reply["agreement"]:
            output["name"] = source_names.get(output["name"], output["name"])
        return {
            **reply,
            "inputs": maps_to_json(base.inputs),
            "outputs": maps_to_json(base.outputs),
            "calibration": asdict(self.calibration) if self.calibration else None,
            "warnings": [*self.warnings, *reply["warnings"]],
        }

    def _made(self, base: Base, content: dict[str, Any], place: Path) -> dict[str, Any]:
        """By a tool that starts at the source, else by a way from `base`; of two calibrated ones the nearer.

        Tools that calibrate take ranges as they like: of MobileNetV2's photos TFLiteConverter's int8 knows 16
        of 20, that with the nearest ranges 17.
        """
        ways = find_ways(self.request.info, self.request.target, self.request.precision)
        by_tool = self._by_tools(base, content, place, last_resort=not ways)
        if by_tool is None:
            return self._by_ways(base, content)
        if self.samples is None or not ways:
            return by_tool
        try:
            by_way = self._by_ways(base, content)
        except ConvertError as error:
            self.warnings.append(f"from {base.converter}: {error.message}")
            return by_tool
        nearer, other = sorted((by_tool, by_way), key=_decibels, reverse=True)
        shutil.rmtree(self.folder / Path(other["file"]).parts[0])
        figures = f"{_decibels(nearer):.1f} dB; {_decibels(other):.1f} by {other['converter']}"
        nearer["steps"][-1]["detail"] += f", {figures}"
        return nearer

    def _content(self, base: Base, place: Path) -> dict[str, Any]:
        """What the child that verifies and converts is told; arrays in the base's names and layout."""
        request = self.request
        checks = check_inputs(request.info, request.shapes, request.calibration)
        reference, wide = None, None
        if request.info.kind != base.info.kind:
            answers = reference_outputs(request.info, checks, self.workshop)
            reference = _saved(place / "reference.npz", to_artifact(answers, base.outputs))
        elif other := other_shapes(request.info, request.shapes):
            wide = _saved(place / "wide.npz", seeded_inputs(request.info, other, _WIDE_EXAMPLES))
        samples = None
        if self.samples is not None:
            samples = _saved(place / "calibration.npz", to_artifact(self.samples, base.inputs))
        return {
            "source": str(base.info.path),
            "info": info_to_json(base.info),
            "target": request.target,
            "precision": request.precision,
            "io": request.io,
            "opset": request.opset,
            "folder": str(self.folder),
            "calibration": samples,
            "checks": _saved(place / "checks.npz", to_artifact(checks, base.inputs)),
            "reference": reference,
            "wide": wide,
        }

    def _by_ways(self, base: Base, content: dict[str, Any]) -> dict[str, Any]:
        reply = self.workshop.run("conversion", content)
        tools = [base.converter, reply["converter"]]
        if base.converter and reply["converter"] == UNCHANGED:
            tools.pop()
        return {
            **reply,
            "converter": ", ".join(part for part in tools if part),
            "steps": [*(asdict(step) for step in base.steps), *reply["steps"]],
            "warnings": [*base.warnings, *reply["warnings"]],
        }

    def _by_tools(
        self, base: Base, content: dict[str, Any], place: Path, *, last_resort: bool
    ) -> dict[str, Any] | None:
        """None if there are no such tools, or all of them failed and they are not the last resort."""
        for tool in self.tools:
            try:
                return self._by_tool(tool, base, content, place)
            except ConvertError as error:
                if last_resort and tool is self.tools[-1]:
                    raise
                self.warnings.append(f"{tool.description} failed: {error.message}")
                shutil.rmtree(self.folder / "by-tool", ignore_errors=True)
        return None

    def _by_tool(self, tool: ToolWay, base: Base, content: dict[str, Any], place: Path) -> dict[str, Any]:
        """Made by a tool, and verified like everything else."""
        start = base.info if tool.from_base else self.request.info
        source = source_of(start)
        output = self.folder / "by-tool" / f"model{tool.suffix or '.' + content['info']['kind']}"
        output.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place) as work:
            asked = {
                "source": source_to_json(source),
                "inputs": _concrete(start, self._shapes(base) if tool.from_base else self.request.shapes),
                "outputs": [tensor.name for tensor in start.outputs],
                "output": str(output),
                "work": work,
                "precision": self.request.precision,
                "io": self.request.io,
                "calibration": None if self.samples is None else _saved(place / "samples.npz", self.samples),
            }
            made = self.workshop.run(tool.task, asked, toolchain=tool.toolchain, python=source.python)
        task = {**content, "made": str(output)}
        if tool.reference is not None:
            task["answers"] = self._answers(tool, output, content, place)
        verified = self.workshop.run("verification", task)
        versions = dict.fromkeys(f"{step['tool']} {step['version']}" for step in made["steps"])
        described = f"{tool.description} [{', '.join(versions)}]"
        if tool.from_base:
            described = ", ".join(part for part in (base.converter, described) if part)
            made["steps"] = [*(asdict(step) for step in base.steps), *made["steps"]]
        return {
            **verified,
            "converter": described,
            "steps": [*made["steps"], *verified["steps"]],
            "warnings": [*made["warnings"], *verified["warnings"]],
        }

    def _answers(self, tool: ToolWay, output: Path, content: dict[str, Any], place: Path) -> list[Any]:
        """What a model that only its toolchain can run answers to the checks."""
        answers = place / "answers.npz"
        file, names = content["checks"]
        asked = {"model": str(output), "inputs": file, "names": names, "outputs": str(answers)}
        reply = self.workshop.run(str(tool.reference), asked, toolchain=tool.toolchain)
        return [str(answers), reply["names"]]

    def _shapes(self, base: Base) -> dict[str, tuple[int, ...]]:
        """The request's shapes in the base's names and layout."""
        return shapes_through(self.request.shapes, base.inputs)


def _decibels(reply: Mapping[str, Any]) -> float:
    """Signal to noise of the output that is farthest from fp32."""
    known = [output["sqnr_db"] for output in reply["agreement"] if output["sqnr_db"] is not None]
    return min(known, default=math.inf)


def _concrete(info: ModelInfo, shapes: Mapping[str, tuple[int, ...]]) -> list[dict[str, Any]]:
    return [
        {"name": tensor.name, "shape": list(shapes[tensor.name]), "dtype": tensor.dtype}
        for tensor in info.inputs
    ]


def _saved(file: Path, arrays: Arrays) -> list[Any]:
    return [str(file), save_arrays(file, arrays)]
