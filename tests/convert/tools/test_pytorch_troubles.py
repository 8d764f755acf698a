"""Networks with one trouble each: what the converters make of them, or say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from convert.errors import ConversionFailed
from convert.sources.source import Source
from convert.workshop import Workshop
from tests.convert.tools.pytorch_jobs import (
    DYNAMO,
    NETWORKS,
    TFLITE,
    TORCHSCRIPT,
    Torch,
    factory,
    largest_difference,
    noise,
    run_onnx,
    run_tflite,
)

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("toolchains")]

_INFOS: dict[str, dict[str, Any]] = {}


@pytest.fixture(scope="module")
def torch(workshop: Workshop, toolchains: Path, tmp_path_factory: pytest.TempPathFactory) -> Torch:
    return Torch(workshop, tmp_path_factory.mktemp("torch"))


def trouble(name: str, torch: Torch) -> tuple[Source, dict[str, Any]]:
    source = factory(f"troubles:{name}")
    if name not in _INFOS:
        _INFOS[name] = torch.inspect(source)
    return source, _INFOS[name]


def failure(name: str, task: str, torch: Torch, **options: Any) -> ConversionFailed:
    source, info = trouble(name, torch)
    with pytest.raises(ConversionFailed) as caught:
        torch.convert(source, info, task, **options)
    return caught.value


def difference(name: str, task: str, torch: Torch, **options: Any) -> tuple[float, list[str]]:
    """Largest difference of a conversion from its network, and the warnings."""
    source, info = trouble(name, torch)
    made = torch.convert(source, info, task, **options)
    inputs = noise(info)
    run = run_tflite if task == TFLITE else run_onnx
    return largest_difference(run(made.path, inputs), torch.reference(source, info, inputs)), made.warnings


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("uneven_adaptive_pool", "7x7 to 3x3"),
        ("functional_uneven_adaptive_pool", "7x5 to 7x2"),
    ],
)
def test_pooling_in_windows_of_two_sizes_becomes_matrix_products(name: str, sizes: str, torch: Torch) -> None:
    largest, warnings = difference(name, TORCHSCRIPT, torch)
    assert largest < 1e-6
    assert warnings == [
        f"adaptive average pooling from {sizes} has windows of different sizes, which ONNX has no operator "
        "for: it became matrix products of the same result"
    ]


def test_litert_torch_pools_in_windows_of_two_sizes_by_itself(torch: Torch) -> None:
    largest, warnings = difference("uneven_adaptive_pool", TFLITE, torch)
    assert largest < 1e-6
    assert warnings == []


@pytest.mark.parametrize(
    ("task", "tool", "operator"),
    [
        (TORCHSCRIPT, "torch.onnx's TorchScript exporter (opset 17, 13, 11)", "aten::special_bessel_j0"),
        (DYNAMO, "torch.onnx's dynamo exporter", "prims.bessel_j0"),
        (TFLITE, "litert-torch", "aten.special_bessel_j0.default"),
    ],
)
def test_an_operator_that_the_target_lacks_is_named_with_its_module(
    task: str, tool: str, operator: str, torch: Torch
) -> None:
    error = failure("unsupported_operator", task, torch)
    assert error.reason == "unsupported_operator"
    assert error.message == f"{tool} does not support the operator {operator} in layer (Bessel)"


def test_an_operator_of_newer_opsets_only_says_which(torch: Torch) -> None:
    error = failure("grid_sample", TORCHSCRIPT, torch, opset=13)
    assert error.message == (
        "torch.onnx's TorchScript exporter (opset 13, 11) does not support the operator aten::grid_sampler "
        "in layer (Sampling): added in version 16"
    )


def test_what_one_exporter_lacks_the_other_may_have(torch: Torch) -> None:
    assert failure("fourier", TORCHSCRIPT, torch).reason == "unsupported_operator"
    largest, warnings = difference("fourier", DYNAMO, torch, opset=13)
    assert largest < 1e-5
    # ONNX has had the operator since opset 17.
    assert warnings == ["opset 13 was asked for, the file has opset 18"]


def test_a_custom_operator_is_named_with_its_module(torch: Torch) -> None:
    error = failure("custom_operator", TORCHSCRIPT, torch)
    assert error.reason == "unsupported_operator"
    assert "operator edgebench_troubles::fold_back in layer (CustomOperator)" in error.message


@pytest.mark.parametrize("task", [TORCHSCRIPT, TFLITE])
def test_python_code_that_leaves_torch_is_named_and_never_taken_for_a_constant(
    task: str, torch: Torch
) -> None:
    error = failure("foreign_code", task, torch)
    assert error.reason == "unsupported_operator"
    assert "cannot follow Copied (a torch.autograd.Function in layer (ForeignCode))" in error.message


@pytest.mark.parametrize("task", [TORCHSCRIPT, DYNAMO])
def test_a_decision_by_values_is_refused_and_never_frozen(task: str, torch: Torch) -> None:
    error = failure("branching", task, torch)
    assert error.reason == "data_dependent"
    assert "decides by the values of its tensors" in error.message


def test_a_harmless_decision_is_told_and_kept(torch: Torch) -> None:
    largest, warnings = difference("harmless_branch", TORCHSCRIPT, torch)
    assert largest < 1e-6
    (warning,) = warnings
    assert warning.startswith("troubles.py:")
    assert "Converting a tensor to a Python boolean" in warning


@pytest.mark.parametrize("task", [TORCHSCRIPT, DYNAMO])
def test_places_keep_their_meaning_in_an_image_that_is_not_square(task: str, torch: Torch) -> None:
    assert difference("not_square", task, torch)[0] < 1e-5


def test_image_inputs_of_tflite_are_nhwc_and_other_inputs_stay(torch: Torch) -> None:
    source, info = trouble("image_and_features", torch)
    made = torch.convert(source, info, TFLITE)
    inputs = noise(info)
    outputs = run_tflite(made.path, inputs)
    assert largest_difference(outputs, torch.reference(source, info, inputs)) < 1e-5
    assert made.steps[0]["detail"] == "litert_torch.convert, NHWC: image"


@pytest.mark.parametrize("task", [TORCHSCRIPT, TFLITE])
def test_outputs_in_dicts_and_lists_keep_their_names(task: str, torch: Torch) -> None:
    assert difference("named_outputs", task, torch)[0] < 1e-5


def test_outputs_that_are_an_input_or_each_other_are_outputs_of_their_own(torch: Torch) -> None:
    source, info = trouble("passing", torch)
    made = torch.convert(source, info, TORCHSCRIPT)
    graph = onnx.load(made.path).graph
    assert [entry.name for entry in (*graph.input, *graph.output)] == [
        "x",
        "output_0",
        "output_1",
        "output_2",
    ]
    outputs = run_onnx(made.path, {"x": np.array([[[1, 2, 3, 4]]], np.float32)})
    assert [outputs[f"output_{i}"].ravel().tolist() for i in range(3)] == [
        [1, 2, 3, 4],
        [2, 4, 6, 8],
        [2, 4, 6, 8],
    ]


def test_an_input_that_nothing_depends_on_stays_an_input(torch: Torch) -> None:
    source = factory("troubles:two_inputs")
    info = torch.inspect(source, {"left": [1, 4], "right": [1, 4], "bias": [1, 4]})
    made = torch.convert(source, info, TORCHSCRIPT)
    assert [entry.name for entry in onnx.load(made.path).graph.input] == ["left", "right", "bias"]
    assert made.warnings == ["nothing in the exported graph depends on the input 'bias'"]
    inputs = noise(info)
    assert largest_difference(run_onnx(made.path, inputs), torch.reference(source, info, inputs)) < 1e-6


@pytest.mark.parametrize("task", [DYNAMO, TFLITE])
def test_torchscript_is_left_to_the_exporter_that_reads_it(task: str, torch: Torch, tmp_path: Path) -> None:
    _, info = trouble("not_square", torch)
    with pytest.raises(ConversionFailed) as caught:
        torch.convert(Source("torchscript", tmp_path / "scripted.pt"), info, task)
    assert caught.value.reason == "unsupported_source"


def test_a_model_for_one_batch_size_says_so(torch: Torch) -> None:
    error = failure("one_image_only", TORCHSCRIPT, torch, dynamic_batch=True)
    assert error.reason == "batch_fixed"
    assert "takes no other batch size" in error.message


def test_a_network_whose_code_is_elsewhere_is_found_by_its_search_folder(torch: Torch) -> None:
    source = Source("pytorch", None, "networks.troubles:not_square", search=NETWORKS.parent)
    assert torch.inspect(source)["outputs"][0]["shape"] == [1, 10]
