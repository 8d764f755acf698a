"""The table of paths: what each target is made from, and the ways to each of its precisions, best first."""

from __future__ import annotations

from dataclasses import dataclass

from convert.base import Format, has_base
from convert.converters.to_onnxruntime import ONNX_OPTIMISED, ONNX_TO_ONNXRUNTIME
from convert.converters.to_tensorrt import ONNX_TO_TENSORRT
from convert.converters.to_tflite import TFLITE_TO_TFLITE
from convert.errors import ConversionFailed
from convert.job import Way
from convert.sources.inspection import ModelInfo
from convert.sources.source import SourceKind


@dataclass(frozen=True)
class ToolWay:
    """A way that a tool of a toolchain goes, from the source itself or from its base."""

    task: str
    toolchain: str
    description: str
    needs_calibration: bool = False
    from_base: bool = False
    #: The suffix of what it writes, where that is not the format's; such a file only its toolchain can run,
    #: by the task `reference`.
    suffix: str | None = None
    reference: str | None = None


#: What a target's artifacts are made from.
FORMAT_OF: dict[str, Format] = {
    "onnxruntime": "onnx",
    "onnx-optimized": "onnx",
    "tensorrt": "onnx",
    "tflite": "tflite",
    "openvino": "onnx",
}

#: Target -> precision -> ways from a base of the target's format. A new target is one file and one row.
WAYS: dict[str, dict[str, tuple[Way, ...]]] = {
    "onnxruntime": ONNX_TO_ONNXRUNTIME,
    "onnx-optimized": ONNX_OPTIMISED,
    "tensorrt": ONNX_TO_TENSORRT,
    "tflite": TFLITE_TO_TFLITE,
    # by a tool alone
    "openvino": {"fp32": (), "fp16": ()},
}


def _tflite_converter(words: str, *, calibrated: bool = False) -> tuple[ToolWay, ...]:
    return (ToolWay("tensorflow to tflite", "tensorflow", f"tf.lite.TFLiteConverter ({words})", calibrated),)


_TFLITE_CONVERTER = {
    "fp16": _tflite_converter("float16 weights"),
    "int8": _tflite_converter("full integer, representative dataset", calibrated=True),
    "int8-dynamic": _tflite_converter("dynamic range"),
}

_OPENVINO = ToolWay(
    "onnx to openvino",
    "openvino",
    "openvino.convert_model",
    from_base=True,
    suffix=".xml",
    reference="openvino reference",
)
#: Target -> tools that make it from the base, whatever the source.
BASE_TOOLS: dict[str, tuple[ToolWay, ...]] = {"openvino": (_OPENVINO,)}

#: (source kind, target) -> precision -> tools that make it from the source, tried before the ways.
TOOL_WAYS: dict[tuple[SourceKind, str], dict[str, tuple[ToolWay, ...]]] = {
    ("keras", "tflite"): _TFLITE_CONVERTER,
    ("savedmodel", "tflite"): _TFLITE_CONVERTER,
}


def find_ways(info: ModelInfo, target: str, precision: str) -> tuple[Way, ...]:
    """The ways from the base of a source to a target, best first; raises ConversionFailed if there is none.

    `no_path` for an unknown target, precision or combination, `already_quantized` for a source that is not
    fp32 and wanted as anything but what it is.
    """
    if target not in WAYS or not has_base(info.kind, FORMAT_OF[target]):
        raise ConversionFailed(
            f"{info.path.name}: this version does not convert {info.kind} to {target}",
            reason="no_path",
            remedy=f"Targets are {', '.join(WAYS)}",
        )
    table = WAYS[target]
    if precision not in table:
        raise ConversionFailed(
            f"{precision!r} is not a precision of {target}",
            reason="no_path",
            remedy=f"Choose one of {', '.join(table)}",
        )
    if info.precision == "fp32":
        return table[precision]
    if info.precision == precision and table["fp32"] and info.kind == FORMAT_OF[target]:
        # A file that has the precision already runs untouched; that is the last way to fp32.
        return table["fp32"][-1:]
    raise ConversionFailed(
        f"{info.path.name} is {info.precision} already, and {precision} for {target} cannot be made from it",
        reason="already_quantized",
        remedy=f"Run it as {info.precision}, or give the fp32 model it was made from",
    )


def find_tools(info: ModelInfo, target: str, precision: str) -> tuple[ToolWay, ...]:
    """The tools that make the artifact, tried before the ways."""
    if target in BASE_TOOLS:
        return BASE_TOOLS[target]
    kind = info.kind
    return () if kind == "openvino" else TOOL_WAYS.get((kind, target), {}).get(precision, ())
