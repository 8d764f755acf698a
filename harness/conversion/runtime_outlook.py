"""What each runtime will say to a model: loads it, takes what can be made of it, or neither and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from convert.base import ROUTES
from convert.errors import ConvertError
from convert.paths import FORMAT_OF, WAYS, find_ways
from convert.sources.inspection import ModelInfo
from convert.workshop import Workshop
from harness.conversion.runtime_checks import ask_tensorrt

#: Runtimes, and the target that is made for each.
RUNTIMES = ("onnxruntime", "tflite", "tensorrt")
#: What loads a kind of file as it is, on this host.
_LOADS = {"onnx": "onnxruntime", "tflite": "tflite"}

_NOT_ASKED = "its parser was not asked; bench convert --prepare tensorrt-parser makes that possible"


@dataclass(frozen=True)
class Outlook:
    """One runtime's answer."""

    runtime: str
    verdict: Literal["loads", "by conversion", "not"]
    #: In words: what stands in the way, or what is not known.
    detail: str | None
    #: Precisions that can be made for it.
    precisions: tuple[str, ...]
    #: Tools that bring the model to the runtime's format, best first; none where it has it.
    routes: tuple[str, ...]


def outlooks(info: ModelInfo, workshop: Workshop) -> tuple[Outlook, ...]:
    """Every runtime's answer: from the tables of paths, and of TensorRT's parser where it is there."""
    return tuple(_outlook(info, runtime, workshop) for runtime in RUNTIMES)


def _outlook(info: ModelInfo, runtime: str, workshop: Workshop) -> Outlook:
    precisions, obstacle = _makeable(info, runtime)
    if _LOADS.get(info.kind) == runtime:
        return Outlook(runtime, "loads", None, precisions, ())
    if not precisions:
        return Outlook(runtime, "not", obstacle, (), ())
    if runtime == "tensorrt" and info.kind == "onnx":
        return _by_parser(info, precisions, workshop)
    routes = tuple(
        f"{route.description}, through {route.through}" if route.through else route.description
        for route in ROUTES.get((info.kind, FORMAT_OF[runtime]), ())
    )
    return Outlook(runtime, "by conversion", None, precisions, routes)


def _makeable(info: ModelInfo, target: str) -> tuple[tuple[str, ...], str | None]:
    """Precisions that can be made, and what stands in the way of the first that cannot."""
    precisions, obstacle = [], None
    for precision in WAYS[target]:
        try:
            find_ways(info, target, precision)
            precisions.append(precision)
        except ConvertError as error:
            obstacle = obstacle or str(error)
    return tuple(precisions), obstacle


def _by_parser(info: ModelInfo, precisions: tuple[str, ...], workshop: Workshop) -> Outlook:
    """TensorRT's own answer to an ONNX file."""
    answer = ask_tensorrt(info, workshop)
    if answer is None:
        return Outlook("tensorrt", "by conversion", _NOT_ASKED, precisions, ())
    if answer.status == "agrees":
        words = f"{answer.runtime} {answer.version}: {answer.detail}"
        return Outlook("tensorrt", "loads", words, precisions, ())
    if answer.status == "refused" and info.precision != "fp32":
        # What is quantised already could only be handed on as it is.
        return Outlook("tensorrt", "not", answer.detail, (), ())
    return Outlook("tensorrt", "by conversion", f"as it is, {answer.detail}", precisions, ())
