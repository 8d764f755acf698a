"""What a command line says of how boards measure, beyond the cases themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

PerformanceModeName = Literal["keep", "max"]
Int8By = Literal["qdq", "calibrator"]


@dataclass(frozen=True)
class BoardOptions:
    """Settings of boards and runtimes that hold for a whole run."""

    #: `max` raises clocks and power for each job and restores them after it.
    performance_mode: PerformanceModeName = "keep"
    #: How long a board may cool before it starts, seconds for each case.
    cool_down_s: float = 120.0
    #: onnxruntime: execution providers, best first.
    providers: tuple[str, ...] = ()
    #: tflite: a delegate's name or its library on the board, and key=value,.. for it.
    delegate: str | None = None
    delegate_options: str | None = None
    #: TensorRT: int8 ranges from the graph or from a calibrator on the board.
    int8_by: Int8By = "qdq"
    dla_core: int | None = None
    workspace_mib: int | None = None
    #: Least, usual and largest batch size one engine is built for; None: the case's own.
    batch_profile: tuple[int, int, int] | None = None
    optimization_level: int | None = None
    #: The vendor's tool that measures the same engine again.
    via: Literal["trtexec"] | None = None

    def for_runtime(self, runtime: str) -> dict[str, str]:
        """A job's options; each runtime's file in device_agents/runtimes says what they mean."""
        settings = _OF_RUNTIME.get(runtime)
        return settings(self) if settings else {}

    def identity(self) -> dict[str, Any]:
        """What tells runs with other settings apart; plain JSON values."""
        return asdict(self)


def _of_onnxruntime(options: BoardOptions) -> dict[str, str]:
    return {"providers": ",".join(options.providers)} if options.providers else {}


def _of_tflite(options: BoardOptions) -> dict[str, str]:
    return _given({"delegate": options.delegate, "delegate_options": options.delegate_options})


def _of_tensorrt(options: BoardOptions) -> dict[str, str]:
    profile = options.batch_profile
    return _given(
        {
            "dla_core": options.dla_core,
            "workspace_mib": options.workspace_mib,
            "batch_profile": ",".join(map(str, profile)) if profile else None,
            "optimization_level": options.optimization_level,
            "via": options.via,
        }
    )


def _given(values: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


_OF_RUNTIME: dict[str, Callable[[BoardOptions], dict[str, str]]] = {
    "onnxruntime": _of_onnxruntime,
    "tflite": _of_tflite,
    "tensorrt": _of_tensorrt,
}
