"""Placeholder until its owner writes it (minutes)."""

from __future__ import annotations

from convert.job import Way
from convert.to_onnxruntime import ONNX_TO_ONNXRUNTIME

ONNX_TO_TENSORRT: dict[str, tuple[Way, ...]] = {"fp32": ONNX_TO_ONNXRUNTIME["fp32"]}
ONNX_OPTIMISED: dict[str, tuple[Way, ...]] = {"fp32": ONNX_TO_ONNXRUNTIME["fp32"]}
