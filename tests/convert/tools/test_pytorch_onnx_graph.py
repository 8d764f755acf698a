"""What is done to an exported graph, on graphs as the exporters write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from convert.errors import ConversionFailed
from convert.tools.exchange import InputShape
from convert.tools.pytorch_onnx_graph import Interface, finish, name_interface, opset_of
from tests.convert.models import save, value, weights
from tests.convert.tools.pytorch_jobs import run_onnx


def interface(inputs: str, outputs: str, *, dynamic_batch: bool = False) -> Interface:
    return Interface(
        tuple(InputShape(name, (1, 4), "float32") for name in inputs.split()),
        tuple(outputs.split()),
        dynamic_batch,
    )


def names(model: onnx.ModelProto) -> list[str]:
    return [entry.name for entry in (*model.graph.input, *model.graph.output)]


def swapped(path: Path) -> Path:
    """Its output has the name that the input is to have, and the other way round."""
    return save(
        path, [helper.make_node("Neg", ["out"], ["in"])], [value("out", [1, 4])], [value("in", [1, 4])]
    )


def test_names_that_change_places_do_not_get_mixed_up(tmp_path: Path) -> None:
    finish(swapped(tmp_path / "raw.onnx"), tmp_path / "done.onnx", interface("in", "out"), None, [])
    outputs = run_onnx(tmp_path / "done.onnx", {"in": np.ones((1, 1, 4), np.float32)})
    assert {name: array.max() for name, array in outputs.items()} == {"out": -1}


def test_a_tensor_that_has_a_wanted_name_by_chance_gives_way(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["scores"]), helper.make_node("Abs", ["scores"], ["y"])]
    raw = save(tmp_path / "raw.onnx", nodes, [value("x", [1, 4])], [value("y", [1, 4])])
    finish(raw, tmp_path / "done.onnx", interface("image", "scores"), None, [])
    outputs = run_onnx(tmp_path / "done.onnx", {"image": np.full((1, 1, 4), -3, np.float32)})
    assert {name: array.max() for name, array in outputs.items()} == {"scores": 3}


def test_names_inside_of_branches_follow(tmp_path: Path) -> None:
    branches = {
        f"{branch}_branch": helper.make_graph(
            [helper.make_node(operator, ["x"], [branch])], branch, [], [value(branch, [1, 4])]
        )
        for branch, operator in (("then", "Neg"), ("else", "Abs"))
    }
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Less", ["sum", "zero"], ["condition"]),
        helper.make_node("If", ["condition"], ["y"], **branches),
    ]
    zero = onnx.numpy_helper.from_array(np.zeros((), np.float32), "zero")
    raw = save(tmp_path / "raw.onnx", nodes, [value("x", [1, 4])], [value("y", [1, 4])], [zero])
    finish(raw, tmp_path / "done.onnx", interface("image", "scores"), None, [])
    outputs = run_onnx(tmp_path / "done.onnx", {"image": np.full((1, 1, 4), 2, np.float32)})
    assert outputs["scores"].max() == 2


def test_outputs_that_are_an_input_or_each_other_get_nodes_of_their_own(tmp_path: Path) -> None:
    raw = save(
        tmp_path / "raw.onnx",
        [helper.make_node("Neg", ["x"], ["y"])],
        [value("x", [1, 4])],
        [value("x", [1, 4]), value("y", [1, 4]), value("y", [1, 4])],
    )
    finish(raw, tmp_path / "done.onnx", interface("x", "a b c"), None, [])
    outputs = run_onnx(tmp_path / "done.onnx", {"x": np.ones((1, 1, 4), np.float32)})
    assert {name: array.max() for name, array in outputs.items()} == {"a": 1, "b": -1, "c": -1}


@pytest.mark.parametrize(("dynamic_batch", "first"), [(False, 1), (True, "batch")])
def test_an_input_the_exporter_dropped_comes_back_in_its_place(
    dynamic_batch: bool, first: int | str, tmp_path: Path
) -> None:
    raw = save(
        tmp_path / "raw.onnx",
        [helper.make_node("Neg", ["b"], ["y"])],
        [value("b", [1, 4])],
        [value("y", [1, 4])],
    )
    warnings: list[str] = []
    model = onnx.load(raw)
    name_interface(model, interface("a b c", "y", dynamic_batch=dynamic_batch), warnings)
    assert names(model) == ["a", "b", "c", "y"]
    assert warnings == [f"nothing in the exported graph depends on the input {name!r}" for name in "ac"]
    put_back = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in put_back] == [first, 4]


def test_a_graph_without_any_input_is_a_constant_and_refused(tmp_path: Path) -> None:
    raw = save(
        tmp_path / "raw.onnx",
        [helper.make_node("Neg", ["w"], ["y"])],
        [],
        [value("y", [1, 4])],
        [weights("w", 1, 4)],
    )
    with pytest.raises(ConversionFailed, match="depends on none of its inputs") as caught:
        finish(raw, tmp_path / "done.onnx", interface("x", "y"), None, [])
    assert caught.value.reason == "constant_graph"


def test_another_number_of_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="made the outputs in of a, b") as caught:
        finish(swapped(tmp_path / "raw.onnx"), tmp_path / "done.onnx", interface("x", "a b"), None, [])
    assert caught.value.reason == "interface_changed"


def test_large_weights_lie_beside_the_graph_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    raw = save(
        tmp_path / "raw.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", [1, 4])],
        [value("y", [1, 512])],
        [weights("w", 4, 512)],
    )
    limit = 4000
    finish(raw, tmp_path / "out" / "done.onnx", interface("x", "y"), None, [], limit)
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "out").iterdir()}
    assert sizes["done.onnx.data"] == 4 * 512 * 4
    assert sizes["done.onnx"] < limit
    assert run_onnx(tmp_path / "out" / "done.onnx", {"x": np.ones((1, 1, 4), np.float32)})["y"].shape == (
        1,
        1,
        512,
    )


def test_a_graph_goes_to_an_older_opset_where_every_operator_was_there(tmp_path: Path) -> None:
    raw = save(
        tmp_path / "raw.onnx",
        [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=1, noop_with_empty_axes=0)],
        [value("x", [1, 4])],
        [value("y", [1, 1])],
        opset=18,
    )
    assert finish(raw, tmp_path / "done.onnx", interface("x", "y"), 17, []) == 17
    assert opset_of(tmp_path / "done.onnx") == 17
    assert run_onnx(tmp_path / "done.onnx", {"x": np.full((1, 1, 4), 3, np.float32)})["y"].item() == 3


def test_a_graph_keeps_its_opset_where_an_operator_is_younger(tmp_path: Path) -> None:
    raw = save(
        tmp_path / "raw.onnx",
        [helper.make_node("Mish", ["x"], ["y"])],
        [value("x", [1, 4])],
        [value("y", [1, 4])],
        opset=18,
    )
    assert finish(raw, tmp_path / "done.onnx", interface("x", "y"), 13, []) == 18
