"""Where converted models put their channels is found by shapes and proven by values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from convert.data.arrays import save_arrays
from convert.errors import ConversionFailed
from convert.proofs.base_verification import verify_base
from convert.proofs.execution import run_model
from convert.proofs.layouts import best_reading
from convert.sources.inspection import ModelInfo, info_from_inspection
from convert.sources.model_file import inspect_file
from tests.convert import models

NHWC = (0, 2, 3, 1)


def channels_first(path: Path, height: int, width: int) -> Path:
    """X (1, 3, height, width) -> y, the same size with 3 channels, mixed by a convolution."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    shape: models.Shape = [1, 3, height, width]
    return models.save(
        path,
        [node],
        [models.value("x", shape)],
        [models.value("y", shape)],
        [models.weights("w", 3, 3, 3, 3)],
    )


def channels_last(path: Path, height: int, width: int) -> Path:
    """The same network with the channels at the end of input and output."""
    nodes = [
        helper.make_node(
            "Transpose",
            [
                "x",
            ],
            ["first"],
            perm=[0, 3, 1, 2],
        ),
        helper.make_node("Conv", ["first", "w"], ["convolved"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["convolved"], ["y"], perm=[0, 2, 3, 1]),
    ]
    shape: models.Shape = [1, height, width, 3]
    return models.save(
        path, nodes, [models.value("x", shape)], [models.value("y", shape)], [models.weights("w", 3, 3, 3, 3)]
    )


def loaded(path: Path) -> ModelInfo:
    return info_from_inspection(inspect_file(path), path)


def evidence(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs for the channels-first network, and its outputs."""
    info = loaded(path)
    shape = tuple(int(size) for size in info.inputs[0].shape if isinstance(size, int))
    checks = {"x": np.random.RandomState(0).standard_normal((3, *shape)).astype(np.float32)}
    return checks, run_model(info, checks)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 5), (3, 3)])
def test_channels_that_moved_are_found_even_when_all_sides_are_equal(
    tmp_path: Path, height: int, width: int
) -> None:
    checks, reference = evidence(channels_first(tmp_path / "first.onnx", height, width))
    reading = best_reading(loaded(channels_last(tmp_path / "last.onnx", height, width)), checks, reference)
    assert [entry.permutation for entry in (*reading.inputs, *reading.outputs)] == [NHWC, NHWC]
    assert reading.largest_error < 1e-6


@pytest.mark.parametrize(("height", "width"), [(4, 6), (3, 3)])
def test_channels_that_stayed_are_left_alone(tmp_path: Path, height: int, width: int) -> None:
    path = channels_first(tmp_path / "first.onnx", height, width)
    checks, reference = evidence(path)
    reading = best_reading(loaded(path), checks, reference)
    assert [entry.permutation for entry in (*reading.inputs, *reading.outputs)] == [None, None]


def test_an_output_of_another_size_is_no_longer_the_sources(tmp_path: Path) -> None:
    checks, reference = evidence(channels_first(tmp_path / "first.onnx", 4, 6))
    smaller = {"y": reference["y"][..., :5]}
    with pytest.raises(ConversionFailed, match=r"'y' \(1, 3, 4, 5\) became 'y' \(1, 4, 6, 3\)") as caught:
        best_reading(loaded(channels_last(tmp_path / "last.onnx", 4, 6)), checks, smaller)
    assert caught.value.reason == "interface_changed"


def verified(tmp_path: Path, reference: dict[str, np.ndarray], **options: object) -> dict[str, object]:
    checks, _ = evidence(tmp_path / "first.onnx")
    given, answers = tmp_path / "given.npz", tmp_path / "answers.npz"
    request = {
        "path": str(tmp_path / "first.onnx"),
        "checks": [str(given), save_arrays(given, checks)],
        "reference": [str(answers), save_arrays(answers, reference)],
        "tolerance": 1e-5,
        "dynamic_batch": [],
        "opset": None,
        **options,
    }
    return verify_base(request)


def test_a_difference_above_the_tolerance_is_refused_and_one_below_is_not(tmp_path: Path) -> None:
    _, reference = evidence(channels_first(tmp_path / "first.onnx", 4, 6))
    largest = float(np.abs(reference["y"]).max())
    reference["y"][0, 0, 0, 0, 0] += 3e-5 * largest
    with pytest.raises(ConversionFailed, match="'y' differs from the source by more than 1e-05") as caught:
        verified(tmp_path, reference)
    assert caught.value.reason == "verification_failed"
    assert caught.value.remedy == "Widen --tolerance if that is good enough"
    assert verified(tmp_path, reference, tolerance=1e-4)["warnings"] == []


def test_another_opset_than_asked_for_is_said(tmp_path: Path) -> None:
    _, reference = evidence(channels_first(tmp_path / "first.onnx", 4, 6))
    assert verified(tmp_path, reference, opset=13)["warnings"] == [
        "opset 13 was asked for, the model could be made at 17"
    ]


def test_a_dynamic_batch_has_to_give_what_its_examples_give_one_by_one(tmp_path: Path) -> None:
    node = helper.make_node("Sub", ["x", "mean"], ["y"])
    mean = helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1)
    path = tmp_path / "first.onnx"
    models.save(path, [mean, node], [models.value("x", ["N", 4])], [models.value("y", ["N", 4])])
    checks = {"x": np.random.RandomState(0).standard_normal((3, 1, 4)).astype(np.float32)}
    reference = run_model(loaded(path), checks)
    given, answers = tmp_path / "given.npz", tmp_path / "answers.npz"
    request = {
        "path": str(path),
        "checks": [str(given), save_arrays(given, checks)],
        "reference": [str(answers), save_arrays(answers, reference)],
        "tolerance": 1e-5,
        "dynamic_batch": [1, 4],
        "opset": None,
    }
    with pytest.raises(ConversionFailed, match="at batch size 4 output 'y'"):
        verify_base(request)
