"""What a board's runtime really takes: which artifact serves a case there, or why none does.

Decided by what the runtime said of itself when it was proven on the board, never by the kind of board.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from device_agents.protocol import RuntimeStatus
from harness.board_options import BoardOptions
from harness.errors import PrecisionUnsupported
from reports.record import Case

#: The newest opset of each onnxruntime (its compatibility table), from the first version that has it.
_ONNXRUNTIME_OPSETS = (
    ((1, 8), 14),
    ((1, 10), 15),
    ((1, 11), 16),
    ((1, 12), 17),
    ((1, 14), 18),
    ((1, 15), 19),
    ((1, 17), 20),
    ((1, 18), 21),
)
_OLDEST_ONNXRUNTIME_OPSET = 13

#: From here on the ceiling is above what exporters give, and nothing is asked of them.
_AMPLE_ONNXRUNTIME = (1, 21)


@dataclass(frozen=True)
class ArtifactForm:
    """The artifact a case needs on its board. `precision` is the file's, which an engine may lower."""

    precision: str
    #: The newest ONNX opset the runtime reads; None: no bound worth naming.
    max_opset: int | None = None
    #: Whether the board calibrates and has to be given the examples.
    calibrates_on_board: bool = False
    #: What the job has to be told of it.
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        """What tells forms apart."""
        return self.precision, self.max_opset, self.calibrates_on_board, tuple(sorted(self.options.items()))


def negotiate(case: Case, status: RuntimeStatus, options: BoardOptions) -> ArtifactForm:
    """The form for a case on a board whose runtime is `status`; raises PrecisionUnsupported."""
    settle = _RUNTIMES.get(case.runtime)
    return settle(case, status, options) if settle else ArtifactForm(case.precision)


def _onnxruntime(case: Case, status: RuntimeStatus, _options: BoardOptions) -> ArtifactForm:
    found = re.match(r"(\d{1,4})\.(\d{1,4})", status.version or "")
    if found is None:
        return ArtifactForm(case.precision)
    version = (int(found[1]), int(found[2]))
    if version >= _AMPLE_ONNXRUNTIME:
        return ArtifactForm(case.precision)
    known = [opset for since, opset in _ONNXRUNTIME_OPSETS if version >= since]
    return ArtifactForm(case.precision, known[-1] if known else _OLDEST_ONNXRUNTIME_OPSET)


def _tensorrt(case: Case, status: RuntimeStatus, options: BoardOptions) -> ArtifactForm:
    details = status.details
    opset = re.match(r"\d{1,4}", details.get("max_opset", ""))
    ceiling = int(opset[0]) if opset else None
    capability = details.get("compute_capability", "unknown")
    hardware = f"{details.get('gpu', 'its GPU')} (compute capability {capability})"
    if details.get(case.precision) == "no":
        raise PrecisionUnsupported(
            f"{case.device}: {hardware} has no {case.precision}; TensorRT would run fp32 in its place",
            "measure fp16 there" if case.precision == "int8" else "measure fp32 there",
        )
    by_flag = details.get("precision_by") == "flag"
    if case.precision == "fp32":
        return ArtifactForm("fp32", ceiling, options={"precision_by": "flag" if by_flag else "graph"})
    if case.precision == "fp16":
        if by_flag:
            return ArtifactForm("fp32", ceiling, options={"precision_by": "flag"})
        return ArtifactForm("fp16", ceiling, options={"precision_by": "graph"})
    if case.precision == "int8":
        return _tensorrt_int8(case, status, options, ceiling)
    raise PrecisionUnsupported(
        f"{case.device}: TensorRT has no {case.precision}: it quantises activations ahead of time only",
        "measure int8 there",
    )


def _tensorrt_int8(
    case: Case, status: RuntimeStatus, options: BoardOptions, ceiling: int | None
) -> ArtifactForm:
    if options.int8_by == "qdq":
        return ArtifactForm("int8", ceiling, options={"precision_by": "graph"})
    if status.details.get("calibrator") == "no":
        raise PrecisionUnsupported(
            f"{case.device}: TensorRT {status.version} has no int8 calibrator any more",
            "leave --int8-by out: the graph carries the ranges then",
        )
    return ArtifactForm("fp32", ceiling, calibrates_on_board=True, options={"precision_by": "calibrator"})


_RUNTIMES: dict[str, Callable[[Case, RuntimeStatus, BoardOptions], ArtifactForm]] = {
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
}
