"""From any source to a base: the same network at fp32 as .onnx or .tflite, proven against its framework.

All precisions of a target are made from its base. A base is in the cache like any artifact; a route that
goes through another format uses that one's base, so every hop is verified on its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from convert.cache import cache_key, kept, read_entry
from convert.data.arrays import save_arrays
from convert.data.sample_inputs import seeded_inputs
from convert.errors import ConversionFailed, ConvertError
from convert.interface import TensorMap, composed, identity, maps_from_json
from convert.processes.toolchain import toolchain_key
from convert.proofs.base_divergence import explain_base
from convert.proofs.reference import reference_outputs
from convert.proofs.verification import OutputAgreement
from convert.sources.inspection import ModelInfo, info_from_json
from convert.sources.source import RUNTIME_KINDS, Source, source_to_json
from convert.steps import Step
from convert.workshop import Workshop

Format = Literal["onnx", "tflite"]

#: Raised whenever the same tools would now make another base, or entries hold something else.
_BASE_VERSION = 2
#: Largest difference that fp32 may make, relative to the largest value of an output that exceeds 1.
DEFAULT_TOLERANCE = 1e-5
_CHECK_EXAMPLES = 4


@dataclass(frozen=True)
class Route:
    """One way to a base: a tool in its toolchain, on the source or on the source's base in `through`."""

    task: str
    toolchain: str
    description: str
    through: Format | None = None


_LITERT_TORCH = Route("pytorch to tflite", "torch", "litert-torch")
_TORCHSCRIPT = Route("pytorch to onnx (TorchScript)", "torch", "torch.onnx (TorchScript exporter)")
_DYNAMO = Route("pytorch to onnx (dynamo)", "torch", "torch.onnx (dynamo exporter)")
_ONNX2TF = Route("onnx to tflite", "onnx2tf", "onnx2tf (flatbuffer_direct)")
_ONNX2TF_TENSORFLOW = Route("onnx to tflite (TensorFlow)", "onnx2tf-tensorflow", "onnx2tf (tf_converter)")
_ONNX2TORCH = Route("onnx to tflite (PyTorch)", "torch", "onnx2torch, litert-torch")
_TFLITE_CONVERTER = Route("tensorflow to tflite", "tensorflow", "tf.lite.TFLiteConverter")
_TF2ONNX = Route("tensorflow to onnx", "tensorflow", "tf2onnx")
_TFLITE_TF2ONNX = Route("tflite to onnx", "tensorflow", "tf2onnx")
_THROUGH_ONNX = (
    replace(_ONNX2TF, through="onnx"),
    replace(_ONNX2TF_TENSORFLOW, through="onnx"),
)

#: (source kind, format) -> routes, best first.
ROUTES: dict[tuple[str, str], tuple[Route, ...]] = {
    ("pytorch", "onnx"): (_TORCHSCRIPT, _DYNAMO),
    ("torchscript", "onnx"): (_TORCHSCRIPT,),
    ("pt2", "onnx"): (_DYNAMO, _TORCHSCRIPT),
    ("pytorch", "tflite"): (_LITERT_TORCH, *_THROUGH_ONNX),
    ("torchscript", "tflite"): _THROUGH_ONNX,
    ("pt2", "tflite"): (_LITERT_TORCH, *_THROUGH_ONNX),
    ("keras", "tflite"): (_TFLITE_CONVERTER,),
    ("savedmodel", "tflite"): (_TFLITE_CONVERTER,),
    ("keras", "onnx"): (_TF2ONNX,),
    ("savedmodel", "onnx"): (_TF2ONNX,),
    ("onnx", "tflite"): (_ONNX2TF, _ONNX2TF_TENSORFLOW, _ONNX2TORCH),
    ("tflite", "onnx"): (_TFLITE_TF2ONNX,),
}


@dataclass(frozen=True)
class BaseRequest:
    """What to make. `shapes` are concrete, in the source's layout, at the batch size to convert for."""

    info: ModelInfo
    format: Format
    shapes: dict[str, tuple[int, ...]]
    opset: int | None = None
    #: Batch sizes that the base has to take; () keeps the one of `shapes`.
    dynamic_batch: tuple[int, ...] = ()
    tolerance: float = DEFAULT_TOLERANCE
    #: Only routes through this format; None: the best that works.
    via: Format | None = None
    #: How many of the best routes to leave out, because what they make does not serve.
    skip: int = 0


@dataclass(frozen=True)
class Base:
    """A model in the wanted format that agrees with its source."""

    info: ModelInfo
    inputs: tuple[TensorMap, ...]
    outputs: tuple[TensorMap, ...]
    #: The tools in one line; None where the source has the format itself.
    converter: str | None
    steps: tuple[Step, ...]
    agreement: tuple[OutputAgreement, ...]
    warnings: tuple[str, ...]
    #: BaseRequest.skip for the next best base; None: there is none.
    next_route: int | None = None


def has_base(kind: str, format_: str) -> bool:
    """Whether there is a way from this kind of source to the format."""
    return kind == format_ or (kind, format_) in ROUTES


def base_model(request: BaseRequest, workshop: Workshop) -> Base:
    """The base, from the cache or made now by the first route whose result agrees.

    Raises ConversionFailed (`no_path`, or of the last route that failed: `conversion_failed`,
    `unsupported_operator`, `verification_failed`, ...) and what making a toolchain can.
    """
    info = request.info
    if info.kind == request.format:
        return Base(info, identity(info.inputs), identity(info.outputs), None, (), (), ())
    routes = _routes(request)
    key = cache_key(_content(request, routes))
    return kept(workshop.cache, "bases", key, _read, lambda folder: _make(request, routes, workshop, folder))


def base_identity(request: BaseRequest) -> dict[str, Any] | None:
    """What a base depends on, for keys of what is made from it; None if it is the source itself."""
    if request.info.kind == request.format:
        return None
    return _content(request, _routes(request))


def _routes(request: BaseRequest) -> tuple[Route, ...]:
    routes = ROUTES.get((request.info.kind, request.format), ())
    if request.via is not None:
        routes = tuple(route for route in routes if route.through == request.via)
    routes = routes[request.skip :]
    if not routes:
        raise ConversionFailed(
            f"{request.info.path.name}: there is no way from {request.info.kind} to {request.format}"
            + (f" via {request.via}" if request.via else ""),
            reason="no_path",
        )
    return routes


def _content(request: BaseRequest, routes: tuple[Route, ...]) -> dict[str, Any]:
    python = request.info.source and request.info.source.python
    return {
        "version": _BASE_VERSION,
        "source": request.info.sha256,
        "format": request.format,
        "shapes": {name: list(shape) for name, shape in request.shapes.items()},
        "opset": request.opset,
        "dynamic_batch": list(request.dynamic_batch),
        "tolerance": request.tolerance,
        "routes": [[route.task, toolchain_key(route.toolchain), route.through] for route in routes],
        "python": str(python) if python else None,
    }


def _make(
    request: BaseRequest, routes: tuple[Route, ...], workshop: Workshop, folder: Path
) -> dict[str, Any]:
    """Fills the entry by the first route that works; returns the entry's content."""
    failures: list[ConvertError] = []
    warnings: list[str] = []
    for number, route in enumerate(routes):
        try:
            content = _attempt(request, route, workshop, folder / f"route-{number}")
        except ConvertError as error:
            failures.append(error)
            warnings.append(f"{route.description} failed: {error.message}")
            shutil.rmtree(folder / f"route-{number}", ignore_errors=True)
            continue
        content["warnings"] = [*warnings, *content["warnings"]]
        content["next_route"] = request.skip + number + 1 if number + 1 < len(routes) else None
        return content
    raise _all_failed(request, failures)


def _attempt(request: BaseRequest, route: Route, workshop: Workshop, folder: Path) -> dict[str, Any]:
    start = Base(
        request.info, identity(request.info.inputs), identity(request.info.outputs), None, (), (), ()
    )
    if route.through is not None:
        start = base_model(replace(request, format=route.through, via=None, skip=0), workshop)
    shapes = shapes_through(request.shapes, start.inputs)
    checks = seeded_inputs(start.info, shapes, _CHECK_EXAMPLES)
    reference = reference_outputs(start.info, checks, workshop)
    folder.mkdir()
    with tempfile.TemporaryDirectory(prefix="work-", dir=folder) as work:
        output = folder / f"model.{request.format}"
        asked = {
            "source": source_to_json(source_of(start.info)),
            "inputs": [
                {"name": tensor.name, "shape": list(shapes[tensor.name]), "dtype": tensor.dtype}
                for tensor in start.info.inputs
            ],
            "outputs": list(reference),
            "output": str(output),
            "work": work,
            "opset": request.opset,
            "dynamic_batch": bool(request.dynamic_batch),
        }
        python = start.info.source.python if start.info.source and route.toolchain == "torch" else None
        made = workshop.run(route.task, asked, toolchain=route.toolchain, python=python)
        given, answers = Path(work, "given.npz"), Path(work, "answers.npz")
        try:
            verdict = workshop.run(
                "base verification",
                {
                    "path": str(output),
                    "checks": [str(given), save_arrays(given, checks)],
                    "reference": [str(answers), save_arrays(answers, reference)],
                    "tolerance": request.tolerance,
                    "dynamic_batch": list(request.dynamic_batch),
                    "opset": request.opset,
                },
            )
        except ConversionFailed as error:
            if error.reason != "verification_failed":
                raise
            where = explain_base(start.info, output, checks, reference, workshop)
            message = f"{error.message}; {where}" if where else error.message
            raise ConversionFailed(message, reason=error.reason, remedy=error.remedy) from error
    hop_inputs, hop_outputs = maps_from_json(verdict["inputs"]), maps_from_json(verdict["outputs"])
    return {
        "file": str(output.relative_to(folder.parent)),
        "info": verdict["info"],
        "inputs": [asdict(entry) for entry in composed(start.inputs, hop_inputs)],
        "outputs": [asdict(entry) for entry in composed(start.outputs, hop_outputs)],
        "converter": ", ".join(part for part in (start.converter, _described(route, made)) if part),
        "steps": [asdict(step) for step in start.steps] + made["steps"] + verdict["steps"],
        "agreement": verdict["agreement"],
        "warnings": [*start.warnings, *made["warnings"], *verdict["warnings"]],
    }


def shapes_through(
    shapes: Mapping[str, tuple[int, ...]], maps: Sequence[TensorMap]
) -> dict[str, tuple[int, ...]]:
    """Shapes of a source's inputs in the names and layout of what was made from it."""
    return {
        entry.name: tuple(shapes[entry.source][axis] for axis in entry.permutation)
        if entry.permutation
        else shapes[entry.source]
        for entry in maps
    }


def source_of(info: ModelInfo) -> Source:
    """How a tool reads a model, also one that was made on the way."""
    if info.source is not None:
        return info.source
    assert info.kind in RUNTIME_KINDS
    return Source("tflite" if info.kind == "tflite" else "onnx", info.path)


def _described(route: Route, made: Mapping[str, Any]) -> str:
    versions = dict.fromkeys(f"{step['tool']} {step['version']}" for step in made["steps"])
    return f"{route.description} [{', '.join(versions)}]" if versions else route.description


def _all_failed(request: BaseRequest, failures: list[ConvertError]) -> ConversionFailed:
    reasons = "; ".join(dict.fromkeys(failure.message for failure in failures))
    # The first route is the one meant for this source: why it failed is what the user can act on.
    return ConversionFailed(
        f"{request.info.path.name} could not be made into {request.format}: {reasons}",
        reason=failures[0].reason,
        remedy=failures[0].remedy or failures[-1].remedy,
    )


def _read(entry: Path) -> Base | None:
    """The base of an entry, None if any of its files is missing or cut."""
    content = read_entry(entry)
    if content is None:
        return None
    info = info_from_json(content["info"], entry / content["file"])
    if not info.is_whole():
        return None
    return Base(
        info=info,
        inputs=maps_from_json(content["inputs"]),
        outputs=maps_from_json(content["outputs"]),
        converter=content["converter"],
        steps=tuple(Step(**step) for step in content["steps"]),
        agreement=tuple(OutputAgreement(**agreement) for agreement in content["agreement"]),
        warnings=tuple(content["warnings"]),
        next_route=content["next_route"],
    )
