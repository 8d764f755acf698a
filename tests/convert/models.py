"""Tiny models, each made for one behaviour."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convert.sources.inspection import ModelInfo, TensorInfo

DIGITS = Path(__file__).resolve().parents[2] / "profiles" / "models" / "digits"
FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
Shape = list[int | str | None]


def value(name: str, shape: Shape, dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def weights(name: str, *shape: int, dtype: str = "float32") -> onnx.TensorProto:
    random = np.random.RandomState(0)
    return numpy_helper.from_array(random.standard_normal(shape).astype(dtype), name)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    initializers: list[onnx.TensorProto] | None = None,
    *,
    opset: int = 17,
    domains: tuple[str, ...] = (),
) -> Path:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializer=initializers or [])
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def convolution(path: Path, batch: int | str | None = "N", opset: int = 17, dtype: str = "float32") -> Path:
    """X (batch, 3, 8, 8) -> y (batch, 8, 6, 6)."""
    element = FLOAT if dtype == "float32" else TensorProto.FLOAT16
    return save(
        path,
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        [value("x", [batch, 3, 8, 8], element)],
        [value("y", [batch, 8, 6, 6], element)],
        [weights("w", 8, 3, 3, 3, dtype=dtype)],
        opset=opset,
    )


def with_external_data(path: Path, location: str = "weights.bin") -> Path:
    """The convolution with its weights in a file beside it."""
    model = onnx.load(convolution(path, batch=1))
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def language_model(path: Path) -> Path:
    """Token ids, a mask, a recurrent state and a scalar: what sequence models take."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["projected"]),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["kept_column"]),
        helper.make_node("Mul", ["projected", "kept_column"], ["logits"]),
        helper.make_node("Add", ["state", "gain"], ["new_state"]),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=2, keepdims=0),
    ]
    inputs = [
        value("input_ids", ["batch", "sequence"], INT64),
        value("attention_mask", ["batch", "sequence"], INT64),
        value("state", [2, "batch", 4]),
        value("gain", []),
    ]
    outputs = [
        value("logits", ["batch", "sequence", 8]),
        value("new_state", [2, "batch", 4]),
        value("best", ["batch", "sequence"], INT64),
    ]
    last = numpy_helper.from_array(np.array([2]), "last")
    return save(path, nodes, inputs, outputs, [weights("table", 1000, 16), weights("w", 16, 8), last])


def identity(path: Path, *inputs: tuple[str, Shape, int]) -> Path:
    """Every input copied to an output; only its interface matters."""
    return save(
        path,
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name, _, _ in inputs],
        [value(name, shape, dtype) for name, shape, dtype in inputs],
        [value(f"{name}_out", shape, dtype) for name, shape, dtype in inputs],
    )


def info(
    *inputs: tuple[str, Shape, str],
    kind: Literal["onnx", "tflite"] = "onnx",
    bounds: dict[str, int] | None = None,
    precision: str = "fp32",
) -> ModelInfo:
    """A ModelInfo of this interface, without a file."""
    tensors = tuple(TensorInfo(name, (), tuple(shape), dtype) for name, shape, dtype in inputs)
    return ModelInfo(
        kind=kind,
        path=Path(f"model.{kind}"),
        sha256="0" * 64,
        files=(),
        inputs=tensors,
        outputs=(),
        opset=17,
        operators={},
        parameters=0,
        bounds=bounds or {},
        precision=precision,
    )
