"""ONNX to TFLite by onnx2tf with either backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from convert.errors import ConversionFailed
from convert.processes.toolchain import find_toolchain
from convert.proofs.execution import run_model
from convert.sources.inspection import ModelInfo
from convert.tools.onnx_names import rename_values
from convert.tools.onnx_to_tflite import check_log
from convert.workshop import Workshop
from tests.convert.models import INT64, save, value, weights
from tests.convert.tools.onnx_networks import answers_of_onnx, difference, mobilenet_like, noise
from tests.convert.tools.tool_runs import Arrays, Tool

WAYS = {
    "flatbuffer": ("onnx to tflite", "onnx2tf"),
    "TensorFlow": ("onnx to tflite (TensorFlow)", "onnx2tf-tensorflow"),
}


@pytest.fixture(scope="module")
def onnx2tf(workshop: Workshop, toolchains: Path) -> Tool:
    return Tool(workshop, *WAYS["flatbuffer"])


# what onnx2tf prints


def model_of(*nodes: Sequence[str]) -> onnx.ModelProto:
    made = [helper.make_node(kind, ["x"], [f"y{i}"], name=name) for i, (kind, name) in enumerate(nodes)]
    return helper.make_model(helper.make_graph(made, "graph", [], []))


def test_a_log_without_complaints_passes() -> None:
    check_log(
        "Model optimizing complete!\nINFO: onnx_op_name: first\nFloat32 tflite output complete!", model_of()
    )


def test_a_simplifier_that_did_not_run_is_a_failure_although_a_file_was_written() -> None:
    log = (
        "Traceback (most recent call last):\nFileNotFoundError: [Errno 2] No such file: 'onnxsim'\n\n"
        "WARNING: Failed to optimize the onnx file.\nFloat32 tflite output complete!\n"
    )
    with pytest.raises(ConversionFailed, match=r"broken files: FileNotFoundError.*'onnxsim'") as caught:
        check_log(log, model_of())
    assert caught.value.reason == "conversion_failed"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "Custom ops lowered: onnx_ops=[Det] onnx_nodes=[last]",
            r"operator Det \(node last\)",
        ),
        ("ERROR: Det OP is not yet implemented.", r"operator Det \(node last\)"),
        (
            "ValueError: no kernel\nERROR: onnx_op_name: last",
            r"operator Det \(node last\): ValueError: no kernel",
        ),
        ("error: 'tf.Det' op is neither a custom op nor a flex op", "operator Det"),
    ],
)
def test_an_operator_that_failed_is_named_with_its_node_in_every_way_the_tool_says_it(
    line: str, said: str
) -> None:
    with pytest.raises(ConversionFailed, match=said) as caught:
        check_log(f"INFO: onnx_op_name: first\n{line}\n", model_of(("Relu", "first"), ("Det", "last")))
    assert caught.value.reason == "unsupported_operator"


def test_a_value_is_renamed_within_branches_too() -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "inner", [], [value("z", [1])])
    node = helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph([node], "graph", [value("x", [1])], [value("y", [1])])
    rename_values(graph, {"x": "input_0", "y": "output_0"})
    branches = [attribute.g.node[0].input[0] for attribute in graph.node[0].attribute]
    assert (graph.input[0].name, graph.output[0].name, branches) == ("input_0", "output_0", ["input_0"] * 2)


# conversions


@pytest.mark.processes
@pytest.mark.parametrize("way", WAYS)
def test_a_network_that_is_not_square_answers_as_in_onnx_under_its_own_names(
    workshop: Workshop, toolchains: Path, tmp_path: Path, way: str
) -> None:
    source = mobilenet_like(tmp_path / "m.onnx")
    outputs = ["/head/mask.0", "logits:0"]
    tool = Tool(workshop, *WAYS[way])
    made = tool.make(source, {"images/x": (1, 3, 48, 80)}, outputs, tmp_path / "m.tflite")
    assert [(t.name, t.shape) for t in made.info.inputs] == [("images/x", (1, 48, 80, 3))]
    assert difference(made, source, noise("images/x", 1, 3, 48, 80)) < 1e-5
    assert [step["tool"] for step in made.reply["steps"]] == ["onnx2tf"]
    assert made.reply["steps"][0]["peak_memory_bytes"] > 50e6


@pytest.mark.processes
def test_open_heights_and_widths_become_those_that_are_asked_for(onnx2tf: Tool, tmp_path: Path) -> None:
    source = mobilenet_like(tmp_path / "m.onnx", "H", "W")
    shapes = {"images/x": (2, 3, 32, 56)}
    made = onnx2tf.make(source, shapes, ["/head/mask.0", "logits:0"], tmp_path / "m.tflite")
    assert made.info.inputs[0].shape == (2, 32, 56, 3)
    assert difference(made, source, noise("images/x", 2, 3, 32, 56)) < 1e-5


@pytest.mark.processes
def test_the_digits_answer_as_in_onnx(onnx2tf: Tool, digits_onnx: ModelInfo, tmp_path: Path) -> None:
    (given,) = digits_onnx.inputs
    shape = (1, *(int(dim) for dim in given.shape[1:] if isinstance(dim, int)))
    images = {given.name: np.random.RandomState(0).uniform(0, 16, (4, *shape)).astype(np.float32)}
    made = onnx2tf.make(digits_onnx.path, {given.name: shape}, ["scores"], tmp_path / "m.tflite")
    # The network takes channels last as it is; the tool moves its second axis to the end all the same.
    assert made.info.inputs[0].shape == (1, 8, 1, 8)
    largest = float(np.abs(run_model(digits_onnx, images)["scores"]).max())
    assert difference(made, digits_onnx.path, images) < 1e-5 * largest


@pytest.mark.processes
def test_row_numbers_stay_integers(onnx2tf: Tool, tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"])]
    source = save(
        tmp_path / "m.onnx",
        nodes,
        [value("ids", ["N", 6], INT64)],
        [value("y", ["N", 6, 4])],
        [weights("table", 20, 4)],
    )
    made = onnx2tf.make(source, {"ids": (1, 6)}, ["y"], tmp_path / "m.tflite", dtype="int64")
    ids: Arrays = {"ids": np.array([[[0, 19, 3, 3, 7, 1]]])}
    np.testing.assert_array_equal(run_model(made.info, ids)["y"], answers_of_onnx(source, ids)["y"])


@pytest.mark.processes
def test_external_data_are_taken_along_and_nothing_is_left_beside_the_source(
    onnx2tf: Tool, tmp_path: Path
) -> None:
    source = mobilenet_like(tmp_path / "m.onnx")
    model = onnx.load(source)
    folder = tmp_path / "source"
    folder.mkdir()
    beside = folder / "m.onnx"
    onnx.save(model, beside, save_as_external_data=True, location="m.data", size_threshold=0)
    before = beside.read_bytes()
    outputs = ["/head/mask.0", "logits:0"]
    made = onnx2tf.make(beside, {"images/x": (1, 3, 48, 80)}, outputs, tmp_path / "m.tflite")
    assert difference(made, source, noise("images/x", 1, 3, 48, 80)) < 1e-5
    assert sorted(file.name for file in folder.iterdir()) == ["m.data", "m.onnx"]
    assert beside.read_bytes() == before


@pytest.mark.processes
def test_an_operator_that_tflite_lacks_is_refused_although_the_tool_ends_well(
    onnx2tf: Tool, tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("Det", ["positive"], ["y"], name="determinant"),
    ]
    source = save(tmp_path / "m.onnx", nodes, [value("x", [1, 3, 4, 4])], [value("y", [1, 3])])
    with pytest.raises(ConversionFailed, match=r"operator Det \(node determinant\)") as caught:
        onnx2tf.make(source, {"x": (1, 3, 4, 4)}, ["y"], tmp_path / "m.tflite")
    assert caught.value.reason == "unsupported_operator"
    assert not (tmp_path / "m.tflite").exists()


@pytest.mark.processes
def test_without_its_helper_program_on_the_path_it_fails_by_name_and_no_file_is_kept(
    workshop: Workshop, toolchains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stray interpreter: the toolchain's packages, but not its programs.
    real = find_toolchain("onnx2tf", toolchains)
    stray = tmp_path / "bin" / "python"
    stray.parent.mkdir()
    stray.write_text(f'#!/bin/sh\nexec {real} "$@"\n', encoding="utf-8")
    stray.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    source = mobilenet_like(tmp_path / "m.onnx")
    tool = Tool(workshop, *WAYS["flatbuffer"], python=stray)
    outputs = ["/head/mask.0", "logits:0"]
    with pytest.raises(ConversionFailed, match=r"broken files: FileNotFoundError.*'onnxsim'"):
        tool.make(source, {"images/x": (1, 3, 48, 80)}, outputs, tmp_path / "m.tflite")
    assert not (tmp_path / "m.tflite").exists()
