"""What each runtime will say to a model: loads it, takes what can be made of it, or neither and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from convert.base import ROUTES
from convert.errors import ConvertError
from convert.inspection import ModelInfo
from convert.paths import FORMAT_OF, WAYS, find_ways

#: Runtimes, and the target that is made for each.
RUNTIMES = ("onnxruntime", "tflite", "tensorrt")
#: What loads a kind of file as it is, on this host.
_LOADS = {"onnx": "onnxruntime", "tflite": "tflite"}


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


def outlooks(info: ModelInfo) -> tuple[Outlook, ...]:
    """Every runtime's answer, from the tables of paths alone."""
    return tuple(_outlook(info, runtime) for runtime in RUNTIMES)


def _outlook(info: ModelInfo, runtime: str) -> Outlook:
    precisions, obstacle = [], None
    for precision in WAYS[runtime]:
        try:
            find_ways(info, runtime, precision)
            precisions.append(precision)
        except ConvertError as error:
            obstacle = obstacle or str(error)
    routes = tuple(
        f"{route.description}, through {route.through}" if route.through else route.description
        for route in ROUTES.get((info.kind, FORMAT_OF[runtime]), ())
    )
    if _LOADS.get(info.kind) == runtime:
        return Outlook(runtime, "loads", None, tuple(precisions), ())
    if precisions:
        return Outlook(runtime, "by conversion", None, tuple(precisions), routes)
    return Outlook(runtime, "not", obstacle, (), ())
