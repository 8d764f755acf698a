"""ONNX networks for the ways to TFLite, and what comes out there in the source's own layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from convert.proofs.execution import run_model
from convert.sources.inspection import info_from_inspection
from convert.sources.model_file import inspect_file
from tests.convert.models import save, value
from tests.convert.tools.tool_runs import Arrays, Made


def random_weights(name: str, *shape: int) -> onnx.TensorProto:
    seed = sum(map(ord, name))
    fan_in = int(np.prod(shape[1:])) or 1
    values = np.random.RandomState(seed).standard_normal(shape) / np.sqrt(fan_in)
    return numpy_helper.from_array(values.astype(np.float32), name)


def mobilenet_like(path: Path, height: int | str = 48, width: int | str = 80, *, resize: bool = True) -> Path:
    """images/x (N, 3, H, W) -> /head/mask.0 (N, 5, H, W) and logits:0 (N, 7), opset 17, as exporters name.

    An inverted residual block with hard-swish and squeeze-and-excite, made larger by a resize or by a
    transposed convolution, and a classifier.
    """
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    enlarged = helper.make_node("Resize", ["block", "", "twice"], ["resized"], **how)
    if not resize:
        enlarged = helper.make_node("ConvTranspose", ["block", "up"], ["resized"], strides=[2, 2])
    nodes = [
        helper.make_node("Conv", ["images/x", "stem"], ["c0"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c0", "scale", "bias", "mean", "variance"], ["n0"]),
        helper.make_node("HardSwish", ["n0"], ["h0"]),
        helper.make_node("Conv", ["h0", "depthwise"], ["d0"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("GlobalAveragePool", ["d0"], ["pooled"]),
        helper.make_node("Conv", ["pooled", "squeeze"], ["s0"]),
        helper.make_node("Relu", ["s0"], ["s1"]),
        helper.make_node("Conv", ["s1", "excite"], ["s2"]),
        helper.make_node("HardSigmoid", ["s2"], ["gate"], alpha=1 / 6, beta=0.5),
        helper.make_node("Mul", ["d0", "gate"], ["gated"]),
        helper.make_node("Add", ["gated", "h0"], ["block"]),
        enlarged,
        helper.make_node("Conv", ["resized", "head"], ["/head/mask.0"]),
        helper.make_node("GlobalAveragePool", ["block"], ["features"]),
        helper.make_node("Flatten", ["features"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense"], ["logits:0"]),
    ]
    random = np.random.RandomState(1)
    constants = [
        random_weights("stem", 8, 3, 3, 3),
        random_weights("depthwise", 8, 1, 3, 3),
        random_weights("squeeze", 4, 8, 1, 1),
        random_weights("excite", 8, 4, 1, 1),
        random_weights("head", 5, 8, 1, 1),
        random_weights("dense", 8, 7),
        *([] if resize else [random_weights("up", 8, 8, 2, 2)]),
        *([numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")] if resize else []),
        *(
            numpy_helper.from_array(random.uniform(0.5, 1.5, 8).astype(np.float32), name)
            for name in ("scale", "bias", "mean", "variance")
        ),
    ]
    outputs = [value("/head/mask.0", ["N", 5, height, width]), value("logits:0", ["N", 7])]
    return save(path, nodes, [value("images/x", ["N", 3, height, width])], outputs, constants)


def answers_of_onnx(path: Path, inputs: Arrays) -> Arrays:
    return run_model(info_from_inspection(inspect_file(path), path), inputs)


def last_axis_first(array: NDArray[np.generic], like: NDArray[np.generic]) -> NDArray[np.generic]:
    """(examples, N, H, W, C) as (examples, N, C, H, W) where `like` is so."""
    return array if array.shape == like.shape else np.moveaxis(array, -1, 2)


def difference(made: Made, source: Path, inputs: Arrays) -> float:
    """Largest difference of any output by name, inputs given as channels last."""
    expected = answers_of_onnx(source, inputs)
    channels_last = {
        name: np.ascontiguousarray(np.moveaxis(array, 2, -1)) if array.ndim == 5 else array
        for name, array in inputs.items()
    }
    found = run_model(made.info, channels_last)
    assert set(found) == set(expected)
    return max(
        float(np.abs(last_axis_first(found[name], expected[name]) - expected[name]).max())
        for name in expected
    )


def noise(name: str, *shape: int) -> Arrays:
    return {name: np.random.RandomState(4).standard_normal((3, *shape)).astype(np.float32)}
