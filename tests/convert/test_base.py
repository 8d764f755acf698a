"""From a framework's model to a base in a runtime's format, and on to artifacts in the source's terms."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from convert import base as base_module
from convert.base import BaseRequest, Route, base_model
from convert.conversion import ConversionRequest, convert
from convert.data.sample_inputs import seeded_inputs
from convert.errors import ConversionFailed, ConvertError
from convert.interface import TensorMap, as_fed, as_numbers, to_artifact, to_source
from convert.processes.toolchain import find_toolchain
from convert.proofs.base_divergence import explain_base
from convert.proofs.execution import run_model
from convert.proofs.reference import reference_outputs
from convert.sources.inspection import ModelInfo, inspect, inspect_source
from convert.sources.source import Source
from convert.workshop import Workshop
from tests.convert import models

pytestmark = pytest.mark.processes

NETWORK = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = torch.nn.Conv2d(8, 4, 3, padding=1)
        self.head = torch.nn.Linear(8, 5)
    def forward(self, image):
        features = torch.relu(self.first(image))
        return {"map": self.second(features), "scores": self.head(features.mean((2, 3)))}
def make():
    return Net(), (torch.zeros(1, 3, 12, 20),)
"""
SHAPES = {"image": (1, 3, 12, 20)}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, workshop: Workshop, toolchains: Path) -> ModelInfo:
    """Image (1, 3, 12, 20) -> map (1, 4, 6, 10), scores (1, 5); neither square nor symmetric."""
    folder = tmp_path_factory.mktemp("network")
    (folder / "net.py").write_text(NETWORK)
    return inspect_source(Source("pytorch", None, "net:make", search=folder), workshop)


def test_a_base_keeps_names_and_says_where_the_channels_went(network: ModelInfo, workshop: Workshop) -> None:
    made = base_model(BaseRequest(network, "tflite", SHAPES), workshop)
    assert made.inputs == (TensorMap("image", "image", (0, 2, 3, 1)),)
    assert {entry.source: entry.permutation for entry in made.outputs} == {"map": None, "scores": None}
    assert max(output.max_abs_error for output in made.agreement) < 1e-5
    assert made.converter is not None
    assert made.converter.startswith("litert-torch")


def test_a_base_by_way_of_onnx_is_mapped_over_both_steps(network: ModelInfo, workshop: Workshop) -> None:
    made = base_model(BaseRequest(network, "tflite", SHAPES, via="onnx"), workshop)
    assert made.inputs == (TensorMap("image", "image", (0, 2, 3, 1)),)
    assert {entry.source: entry.permutation for entry in made.outputs} == {
        "map": (0, 2, 3, 1),
        "scores": None,
    }
    assert [step.tool for step in made.steps if step.tool in ("torch", "onnx2tf")] == ["torch", "onnx2tf"]


@pytest.mark.parametrize("via", [None, "onnx"])
def test_an_artifact_with_integers_at_its_ends_answers_what_the_network_does(
    via: Any, network: ModelInfo, workshop: Workshop
) -> None:
    request = ConversionRequest(
        network, "tflite", "int8", SHAPES, allow_random_calibration=True, io="uint8", via=via
    )
    artifact = convert(request, workshop)
    assert [tensor.dtype for tensor in (*artifact.info.inputs, *artifact.info.outputs)] == ["uint8"] * 3
    assert {output.name for output in artifact.agreement} == {"map", "scores"}

    checks = seeded_inputs(network, SHAPES, 3, seed=7)
    expected = reference_outputs(network, checks, workshop)
    fed = as_fed(to_artifact(checks, artifact.inputs), artifact.info.inputs)
    answers = to_source(as_numbers(run_model(artifact.info, fed), artifact.info.outputs), artifact.outputs)
    for name, array in expected.items():
        assert answers[name].shape == array.shape
        difference = np.linalg.norm(answers[name] - array) / np.linalg.norm(array)
        assert difference < 0.1


def test_a_conversion_that_is_there_starts_no_process(
    network: ModelInfo, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ConversionRequest(network, "tensorrt", "fp16", SHAPES)
    first = convert(request, workshop)
    monkeypatch.setattr("convert.workshop.run_child", None)
    assert convert(request, workshop) == replace(first, from_cache=True)


def test_a_changed_factory_is_another_model(network: ModelInfo, workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK.replace("torch.relu", "torch.sigmoid"))
    changed = inspect_source(Source("pytorch", None, "net:make", search=tmp_path), workshop)
    assert changed.sha256 != network.sha256


def test_the_layer_at_which_a_base_parts_from_the_network_is_named(
    network: ModelInfo, workshop: Workshop, tmp_path: Path
) -> None:
    made = base_model(BaseRequest(network, "onnx", SHAPES), workshop)
    model = onnx.load(made.info.path)
    weight = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [4, 8, 3, 3])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.5, weight.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    checks = seeded_inputs(network, SHAPES, 2)
    reference = reference_outputs(network, checks, workshop)
    sentence = explain_base(network, tmp_path / "wrong.onnx", checks, reference, workshop)
    assert sentence is not None
    assert sentence.startswith("first differs at second (Conv2d)")


def test_a_dynamic_batch_is_proven_at_every_size_asked_for(network: ModelInfo, workshop: Workshop) -> None:
    made = base_model(BaseRequest(network, "onnx", SHAPES, dynamic_batch=(1, 4)), workshop)
    assert [tensor.shape[1:] for tensor in made.info.inputs] == [(3, 12, 20)]
    assert not isinstance(made.info.inputs[0].shape[0], int)


# --- routes, with tools that do as they are told ----------------------------------------------------


@dataclass(frozen=True)
class ToldWorkshop(Workshop):
    """Its tools write the files they are told to, or fail; everything else is real."""

    told: Mapping[str, Path | ConvertError] = field(default_factory=dict)

    def run(self, task: str, request: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        outcome = self.told.get(task)
        if outcome is None:
            return super().run(task, request, **options)
        if isinstance(outcome, ConvertError):
            raise outcome
        Path(request["output"]).write_bytes(outcome.read_bytes())
        return {"steps": [], "warnings": []}


ROUTES = (Route("first", "torch", "the first tool"), Route("second", "torch", "the second tool"))
FAILURE = ConversionFailed("operator Foo (node bar) is unknown", reason="unsupported_operator", remedy="Help")


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base_module.ROUTES, ("onnx", "tflite"), ROUTES)


def told(workshop: Workshop, tmp_path: Path, **outcomes: Path | ConvertError) -> ToldWorkshop:
    return ToldWorkshop(tmp_path / "cache", workshop.toolchains, told=outcomes)


@pytest.mark.usefixtures("routes")
def test_when_the_best_tool_fails_the_next_is_tried_and_the_failure_told(
    digits_onnx: ModelInfo, workshop: Workshop, tmp_path: Path
) -> None:
    place = told(workshop, tmp_path, first=FAILURE, second=models.DIGITS / "digits.tflite")
    made = base_model(BaseRequest(digits_onnx, "tflite", {"image": (1, 8, 8, 1)}), place)
    assert made.warnings == ("the first tool failed: operator Foo (node bar) is unknown",)
    assert made.next_route is None


@pytest.mark.usefixtures("routes")
def test_a_tool_whose_file_answers_something_else_counts_as_failed(
    digits_onnx: ModelInfo, workshop: Workshop, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.tflite"
    content = bytearray((models.DIGITS / "digits.tflite").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    wrong.write_bytes(content)
    place = told(workshop, tmp_path, first=wrong, second=models.DIGITS / "digits.tflite")
    made = base_model(BaseRequest(digits_onnx, "tflite", {"image": (1, 8, 8, 1)}), place)
    assert "the first tool failed: output 'scores' disagrees with the fp32 reference" in made.warnings[0]
    assert [path.name for path in made.info.path.parent.parent.iterdir() if path.is_dir()] == ["route-1"]


@pytest.mark.usefixtures("routes")
def test_when_no_tool_works_the_best_ones_failure_counts(
    digits_onnx: ModelInfo, workshop: Workshop, tmp_path: Path
) -> None:
    other = ConversionFailed("status 1", reason="conversion_failed")
    place = told(workshop, tmp_path, first=FAILURE, second=other)
    with pytest.raises(ConversionFailed, match=r"node bar\) is unknown; status 1") as caught:
        base_model(BaseRequest(digits_onnx, "tflite", {"image": (1, 8, 8, 1)}), place)
    assert (caught.value.reason, caught.value.remedy) == ("unsupported_operator", "Help")
    assert list((tmp_path / "cache" / "bases").iterdir()) == []


@pytest.mark.usefixtures("routes")
def test_a_base_that_leads_nowhere_is_given_up_for_the_next(
    digits_onnx: ModelInfo, workshop: Workshop, tmp_path: Path
) -> None:
    digits = models.DIGITS / "digits.tflite"
    place = told(workshop, tmp_path, first=digits, second=digits)
    attempts: list[str] = []

    @dataclass(frozen=True)
    class Picky(ToldWorkshop):
        def run(self, task: str, request: Mapping[str, Any], **options: Any) -> dict[str, Any]:
            if task == "conversion":
                attempts.append(request["source"])
                if len(attempts) == 1:
                    raise ConversionFailed("ranks of scales", reason="conversion_failed")
            return super().run(task, request, **options)

    picky = Picky(place.cache, place.toolchains, told=place.told)
    request = ConversionRequest(digits_onnx, "tflite", "int8-dynamic", {"image": (1, 8, 8, 1)})
    artifact = convert(request, picky)
    assert len(set(attempts)) == 2
    assert artifact.converter.startswith("the second tool")
    assert "from the first tool: ranks of scales" in artifact.warnings


def test_a_route_that_is_not_there_is_no_path(digits_tflite: ModelInfo, workshop: Workshop) -> None:
    with pytest.raises(ConversionFailed, match="no way from tflite to onnx via onnx") as caught:
        base_model(BaseRequest(digits_tflite, "onnx", {"image": (1, 8, 8, 1)}, via="onnx"), workshop)
    assert caught.value.reason == "no_path"


def test_a_model_in_the_format_is_its_own_base(shared_cache: Path, workshop: Workshop) -> None:
    info = inspect(models.DIGITS / "digits.onnx", shared_cache)
    made = base_model(BaseRequest(info, "onnx", {"image": (1, 8, 8, 1)}), workshop)
    assert (made.info, made.converter, made.steps) == (info, None, ())


# --- tools that make artifacts ----------------------------------------------------------------------

KERAS = """
import sys, keras
keras.utils.set_random_seed(0)
layers = keras.layers
image = keras.Input((12, 20, 3), name="image")
features = layers.Conv2D(8, 3, activation="relu")(image)
scores = layers.Dense(5, name="scores")(layers.GlobalAveragePooling2D()(features))
keras.Model(image, scores).save(sys.argv[1])
"""


@pytest.fixture(scope="module")
def keras_network(
    tmp_path_factory: pytest.TempPathFactory, workshop: Workshop, toolchains: Path
) -> ModelInfo:
    path = tmp_path_factory.mktemp("keras") / "net.keras"
    python = find_toolchain("tensorflow", toolchains)
    subprocess.run([str(python), "-c", KERAS, str(path)], check=True, capture_output=True)
    return inspect_source(Source("keras", path), workshop)


def keras_request(info: ModelInfo, io: Any = "float") -> ConversionRequest:
    shapes = {tensor.name: (1, 12, 20, 3) for tensor in info.inputs}
    return ConversionRequest(info, "tflite", "int8", shapes, allow_random_calibration=True, io=io)


def test_of_tensorflows_integers_and_the_quantizers_the_nearer_to_fp32_are_kept(
    keras_network: ModelInfo, workshop: Workshop
) -> None:
    artifact = convert(keras_request(keras_network, "uint8"), workshop)
    assert [tensor.dtype for tensor in (*artifact.info.inputs, *artifact.info.outputs)] == ["uint8"] * 2
    told = re.search(r"verification, ([\d.]+) dB; ([\d.]+) by (.+)", str(artifact.steps[-1].detail))
    assert told is not None
    assert float(told[1]) >= float(told[2])
    assert {"ai-edge-quantizer" in artifact.converter, "ai-edge-quantizer" in told[3]} == {True, False}
    assert [path.name for path in artifact.files[0].path.parent.parent.iterdir() if path.is_dir()] == [
        artifact.files[0].path.parent.name
    ]


def test_keras_goes_to_half_by_tensorflows_own_converter(
    keras_network: ModelInfo, workshop: Workshop
) -> None:
    artifact = convert(replace(keras_request(keras_network), precision="fp16"), workshop)
    assert artifact.converter.startswith("tf.lite.TFLiteConverter (float16 weights) [tensorflow-cpu 2.21")


def test_where_tensorflows_converter_fails_the_quantizer_makes_it_of_the_fp32_model(
    keras_network: ModelInfo, workshop: Workshop, tmp_path: Path
) -> None:
    @dataclass(frozen=True)
    class WithoutIntegers(Workshop):
        def run(self, task: str, request: Mapping[str, Any], **options: Any) -> dict[str, Any]:
            if task == "tensorflow to tflite" and request.get("precision") == "int8":
                raise FAILURE
            return super().run(task, request, **options)

    place = WithoutIntegers(tmp_path / "cache", workshop.toolchains)
    artifact = convert(keras_request(keras_network), place)
    assert "ai-edge-quantizer" in artifact.converter
    assert any("TFLiteConverter (full integer" in warning for warning in artifact.warnings)


def test_openvino_weights_lie_beside_their_model_and_are_proven_in_its_toolchain(
    digits_onnx: ModelInfo, workshop: Workshop, toolchains: Path
) -> None:
    request = ConversionRequest(digits_onnx, "openvino", "fp16", {"image": (1, 8, 8, 1)})
    artifact = convert(request, workshop)
    assert [file.name for file in artifact.files] == ["model.xml", "model.bin"]
    assert 0.45 < artifact.bytes / digits_onnx.files[0].bytes < 0.60
    cosine = artifact.agreement[0].cosine
    assert cosine is not None
    assert cosine > 0.9999
