"""ONNX to TFLite through PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from convert.errors import ConversionFailed
from convert.workshop import Workshop
from tests.convert.models import save, value
from tests.convert.tools.onnx_networks import difference, mobilenet_like, noise
from tests.convert.tools.tool_runs import Tool

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("toolchains")]


@pytest.fixture(scope="module")
def onnx2torch(workshop: Workshop) -> Tool:
    return Tool(workshop, "onnx to tflite (PyTorch)", "torch")


def test_a_network_that_is_not_square_answers_as_in_onnx_under_its_own_names(
    onnx2torch: Tool, tmp_path: Path
) -> None:
    source = mobilenet_like(tmp_path / "m.onnx", resize=False)
    outputs = ["/head/mask.0", "logits:0"]
    made = onnx2torch.make(source, {"images/x": (1, 3, 48, 80)}, outputs, tmp_path / "m.tflite")
    assert made.info.inputs[0].shape == (1, 48, 80, 3)
    assert difference(made, source, noise("images/x", 1, 3, 48, 80)) < 1e-5
    assert [step["tool"] for step in made.reply["steps"]] == ["onnx2torch", "litert-torch"]


def test_an_operator_that_it_lacks_is_named_with_its_node(onnx2torch: Tool, tmp_path: Path) -> None:
    nodes = [helper.make_node("Det", ["x"], ["y"], name="determinant")]
    source = save(tmp_path / "m.onnx", nodes, [value("x", [1, 3, 4, 4])], [value("y", [1, 3])])
    with pytest.raises(ConversionFailed, match=r"operator Det of version 11 \(node determinant\)") as caught:
        onnx2torch.make(source, {"x": (1, 3, 4, 4)}, ["y"], tmp_path / "m.tflite")
    assert caught.value.reason == "unsupported_operator"


def test_a_resize_that_pytorch_cannot_trace_is_a_failure_with_its_words(
    onnx2torch: Tool, tmp_path: Path
) -> None:
    source = mobilenet_like(tmp_path / "m.onnx")
    outputs = ["/head/mask.0", "logits:0"]
    with pytest.raises(ConversionFailed, match="litert-torch failed: GuardOnDataDependentSymNode") as caught:
        onnx2torch.make(source, {"images/x": (1, 3, 48, 80)}, outputs, tmp_path / "m.tflite")
    assert caught.value.reason == "conversion_failed"
