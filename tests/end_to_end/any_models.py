"""Models a user may have: every kind of input and output, and every way to be no usable model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]


def value(name: str, dtype: int, shape: Shape) -> onnx.ValueInfoProto:
    """A graph's input or output."""
    return helper.make_tensor_value_info(name, dtype, list(shape))


def weights(name: str, *shape: int, seed: int = 0, dtype: Any = np.float32) -> onnx.TensorProto:
    """Seeded weights."""
    array: NDArray[Any] = np.random.RandomState(seed).standard_normal(shape).astype(dtype)
    return numpy_helper.from_array(array, name)


def constant(name: str, array: Any) -> onnx.TensorProto:
    """Given weights."""
    return numpy_helper.from_array(np.asarray(array), name)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    domains: Sequence[str] = (),
    external_data: str | None = None,
) -> Path:
    """Write a model of one graph; unchecked, so that it may be wrong."""
    graph = helper.make_graph(list(nodes), path.stem, list(inputs), list(outputs), list(initializers))
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if external_data is None:
        onnx.save(model, path)
    else:
        onnx.save(
            model,
            path,
            save_as_external_data=True,
            location=external_data,
            size_threshold=0,
            all_tensors_to_one_file=True,
        )
    return path


def ids(folder: Path) -> Path:
    """int64 ids that select rows of a table of 50; any id beyond it is an error."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["pooled", "w"], ["scores"]),
    ]
    return save(
        folder / "ids.onnx",
        nodes,
        [value("input_ids", TensorProto.INT64, ["batch", "seq"])],
        [value("scores", TensorProto.FLOAT, ["batch", 3])],
        [weights("table", 50, 8), weights("w", 8, 3, seed=1)],
    )


def picture(folder: Path) -> Path:
    """A uint8 image of any size."""
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["real", "k"], ["features"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
    ]
    return save(
        folder / "picture.onnx",
        nodes,
        [value("image", TensorProto.UINT8, ["N", 3, "height", "width"])],
        [value("pooled", TensorProto.FLOAT, ["N", 4, 1, 1])],
        [weights("k", 4, 3, 3, 3)],
    )


def halves(folder: Path) -> Path:
    """float16 in, float16 out."""
    return save(
        folder / "halves.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", TensorProto.FLOAT16, [1, 16])],
        [value("y", TensorProto.FLOAT16, [1, 4])],
        [weights("w", 16, 4, dtype=np.float16)],
    )


def several(folder: Path) -> Path:
    """Three inputs, one of them a scalar, and two outputs of the same shape."""
    nodes = [
        helper.make_node("Mul", ["left", "gain"], ["louder"]),
        helper.make_node("Add", ["louder", "right"], ["sum"]),
        helper.make_node("Sub", ["louder", "right"], ["difference"]),
    ]
    return save(
        folder / "several.onnx",
        nodes,
        [
            value("left", TensorProto.FLOAT, [1, 8]),
            value("right", TensorProto.FLOAT, [1, 8]),
            value("gain", TensorProto.FLOAT, []),
        ],
        [value("sum", TensorProto.FLOAT, [1, 8]), value("difference", TensorProto.FLOAT, [1, 8])],
    )


def names(folder: Path) -> Path:
    """Names that are no file names and no option names."""
    nodes = [
        helper.make_node("Add", ["file", "serving:0/in put"], ["model/out:0"]),
        helper.make_node("Relu", ["model/out:0"], ["../relu"]),
    ]
    return save(
        folder / "names.onnx",
        nodes,
        [
            value("file", TensorProto.FLOAT, [1, 4]),
            value("serving:0/in put", TensorProto.FLOAT, [1, 4]),
        ],
        [value("model/out:0", TensorProto.FLOAT, [1, 4]), value("../relu", TensorProto.FLOAT, [1, 4])],
    )


def recurrent(folder: Path) -> Path:
    """State in, state out."""
    nodes = [
        helper.make_node("GRU", ["x", "w", "r", "", "", "h0"], ["all", "hn"], hidden_size=4),
    ]
    return save(
        folder / "recurrent.onnx",
        nodes,
        [value("x", TensorProto.FLOAT, ["T", 1, 3]), value("h0", TensorProto.FLOAT, [1, 1, 4])],
        [value("all", TensorProto.FLOAT, ["T", 1, 1, 4]), value("hn", TensorProto.FLOAT, [1, 1, 4])],
        [weights("w", 1, 12, 3), weights("r", 1, 12, 4, seed=1)],
    )


def open_shape(folder: Path) -> Path:
    """A size that nobody can guess."""
    return save(
        folder / "open.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [value("x", TensorProto.FLOAT, ["N", "channels", "points"])],
        [value("y", TensorProto.FLOAT, ["N", "channels", "points"])],
    )


def with_external_data(folder: Path) -> Path:
    """Its weights lie in a file beside it."""
    folder.mkdir(exist_ok=True)
    return save(
        folder / "external.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", TensorProto.FLOAT, ["N", 64])],
        [value("y", TensorProto.FLOAT, ["N", 32])],
        [weights("w", 64, 32)],
        external_data="external.weights",
    )


def custom_operator(folder: Path) -> Path:
    """An operator that no runtime has."""
    return save(
        folder / "custom.onnx",
        [helper.make_node("FancyRelu", ["x"], ["y"], domain="com.example")],
        [value("x", TensorProto.FLOAT, [1, 4])],
        [value("y", TensorProto.FLOAT, [1, 4])],
        domains=["com.example"],
    )


def text(folder: Path) -> Path:
    """Text in: nothing that could be made up."""
    return save(
        folder / "text.onnx",
        [helper.make_node("Identity", ["words"], ["same"])],
        [value("words", TensorProto.STRING, [1])],
        [value("same", TensorProto.STRING, [1])],
    )


def beyond_half(folder: Path) -> Path:
    """Weights that float16 cannot hold (its largest number is 65504)."""
    return save(
        folder / "beyond.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", TensorProto.FLOAT, [1, 16])],
        [value("y", TensorProto.FLOAT, [1, 16])],
        [constant("w", np.eye(16, dtype=np.float32) * 1e6)],
    )


def noise(folder: Path) -> Path:
    """An answer that has nothing to do with the question."""
    return save(
        folder / "noise.onnx",
        [helper.make_node("RandomNormalLike", ["x"], ["y"])],
        [value("x", TensorProto.FLOAT, [1, 16])],
        [value("y", TensorProto.FLOAT, [1, 16])],
    )


def without_inputs(folder: Path) -> Path:
    """Nothing to feed."""
    return save(
        folder / "sealed.onnx",
        [helper.make_node("RandomNormal", [], ["y"], shape=[1, 4])],
        [],
        [value("y", TensorProto.FLOAT, [1, 4])],
    )


def detections(folder: Path) -> Path:
    """As many outputs as the input has positive values."""
    return save(
        folder / "detections.onnx",
        [
            helper.make_node("Greater", ["x", "zero"], ["hit"]),
            helper.make_node("NonZero", ["hit"], ["where"]),
        ],
        [value("x", TensorProto.FLOAT, [1, 16])],
        [value("where", TensorProto.INT64, [2, "found"])],
        [constant("zero", np.float32(0))],
    )
