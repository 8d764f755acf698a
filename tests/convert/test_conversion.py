from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper

from convert.calibration import Calibration
from convert.conversion import Artifact, ConversionRequest, Precision, convert
from convert.data.datasets import Examples, load_examples
from convert.errors import ConversionFailed
from convert.paths import BASE_TOOLS, FORMAT_OF, WAYS
from convert.sources.inspection import ModelInfo, inspect
from convert.workshop import Workshop
from tests.convert import models

pytestmark = pytest.mark.processes

SHAPES = {"image": (1, 8, 8, 1)}
PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")


@pytest.fixture(scope="session")
def calibration(digits_onnx: ModelInfo) -> Examples:
    return load_examples(models.DIGITS / "calibration.npz", digits_onnx, SHAPES, None)


def digits_request(info: ModelInfo, precision: Precision, calibration: Examples) -> ConversionRequest:
    target = "onnxruntime" if info.kind == "onnx" else "tflite"
    return ConversionRequest(info, target, precision, SHAPES, calibration)  # type: ignore[arg-type]


def correct(artifact: Artifact, labelled: Examples) -> int:
    """How many of the held-out digits the artifact tells, in its own runtime."""
    from convert.proofs.execution import run_model

    inputs = {"image": labelled.inputs["image"][:, None]}
    scores = run_model(artifact.info, inputs)["scores"]
    return int((scores[:, 0].argmax(axis=1) == labelled.labels).sum())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("source", ["digits_onnx", "digits_tflite"])
def test_every_form_of_the_demo_tells_the_digits(
    source: str,
    precision: Precision,
    request: pytest.FixtureRequest,
    calibration: Examples,
    workshop: Workshop,
) -> None:
    info: ModelInfo = request.getfixturevalue(source)
    artifact = convert(digits_request(info, precision, calibration), workshop)

    labelled = load_examples(models.DIGITS / "evaluation.npz", info, SHAPES, None)
    assert correct(artifact, labelled) >= 448
    assert artifact.info.precision == precision
    assert artifact.info.inputs[0].dtype == "float32"
    assert [output.name for output in artifact.agreement] == ["scores"]
    assert artifact.warnings == ()
    assert all(step.seconds > 0 for step in artifact.steps)
    assert (artifact.calibration is not None) == (precision == "int8")
    shrunk = {"fp32": 1.1, "fp16": 0.55, "int8": 0.3, "int8-dynamic": 0.3}[precision]
    assert artifact.bytes < shrunk * info.files[0].bytes


def test_a_static_artifact_says_what_it_was_calibrated_on(
    digits_onnx: ModelInfo, calibration: Examples, workshop: Workshop
) -> None:
    artifact = convert(digits_request(digits_onnx, "int8", calibration), workshop)
    assert artifact.calibration == Calibration("calibration.npz", 256, calibration.sha256, None)
    assert str(artifact.calibration) == (f"256 samples of calibration.npz, sha256 {calibration.sha256[:12]}")
    assert "QDQ, u8 activations, s8 weights per channel" in artifact.converter
    assert [step.detail for step in artifact.steps][-1] == "verification"


def test_a_second_conversion_is_answered_from_the_cache_without_a_converter(
    digits_tflite: ModelInfo, calibration: Examples, workshop: Workshop
) -> None:
    request = digits_request(digits_tflite, "fp16", calibration)
    first = convert(request, workshop)
    started = time.perf_counter()
    second = convert(request, workshop)
    assert time.perf_counter() - started < 0.1
    assert second == replace(first, from_cache=True)


def test_importing_the_table_imports_no_converter_and_no_runtime() -> None:
    heavy = "{'onnx', 'onnxruntime', 'onnxslim', 'ai_edge_litert', 'ai_edge_quantizer', 'PIL', 'flatbuffers'}"
    imports = "import sys, convert.conversion, convert.proofs.reference"
    code = f"{imports}; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_damaged_artifact_is_made_again(tmp_path: Path, shared_cache: Path) -> None:
    info = inspect(models.convolution(tmp_path / "model.onnx"), shared_cache)
    request = ConversionRequest(info, "onnxruntime", "fp32", {"x": (1, 3, 8, 8)})
    cache = tmp_path / "cache"
    first = convert(request, Workshop(cache, cache))
    first.files[0].path.write_bytes(b"cut")
    again = convert(request, Workshop(cache, cache))
    assert (again.from_cache, again.sha256) == (False, first.sha256)
    assert convert(request, Workshop(cache, cache)).from_cache


def test_names_of_inputs_and_outputs_are_kept_and_odd_inputs_work(
    tmp_path: Path, shared_cache: Path, workshop: Workshop
) -> None:
    info = inspect(models.language_model(tmp_path / "model.onnx"), shared_cache)
    shapes = {"input_ids": (1, 6), "attention_mask": (1, 6), "state": (2, 1, 4), "gain": ()}
    request = ConversionRequest(info, "onnxruntime", "int8", shapes, allow_random_calibration=True)
    artifact = convert(request, workshop)
    assert [tensor.name for tensor in artifact.info.inputs] == list(shapes)
    assert [output.name for output in artifact.agreement] == ["logits", "new_state", "best"]
    assert artifact.agreement[2].equal_share is not None
    assert artifact.calibration == Calibration(None, 32, None, 0)
    assert artifact.warnings == (
        "calibrated on random numbers: speed and size are real, outputs and accuracy are not",
    )


def test_few_calibration_samples_are_a_warning_with_their_number(
    tmp_path: Path, shared_cache: Path, workshop: Workshop
) -> None:
    info = inspect(models.convolution(tmp_path / "model.onnx", opset=11), shared_cache)
    np.savez(tmp_path / "few.npz", x=np.random.RandomState(0).rand(20, 3, 8, 8))
    shapes = {"x": (1, 3, 8, 8)}
    examples = load_examples(tmp_path / "few.npz", info, shapes, None)
    artifact = convert(ConversionRequest(info, "onnxruntime", "int8", shapes, examples), workshop)
    assert artifact.warnings == (
        "calibrated on 20 samples of few.npz; below 100 the ranges of activations are left to chance",
    )
    assert "opset 11 to 13" in [step.detail for step in artifact.steps]


def test_external_data_are_taken_along(tmp_path: Path, shared_cache: Path, workshop: Workshop) -> None:
    info = inspect(models.with_external_data(tmp_path / "model.onnx"), shared_cache)
    artifact = convert(ConversionRequest(info, "onnxruntime", "fp32", {"x": (1, 3, 8, 8)}), workshop)
    loaded = onnx.load(artifact.files[0].path)
    original = onnx.load(info.path)
    assert loaded.graph.initializer[0].raw_data == original.graph.initializer[0].raw_data


def test_a_target_there_is_no_way_to_names_those_there_are(workshop: Workshop) -> None:
    info = models.info(("x", [1], "float32"))
    request = ConversionRequest(info, "coreml", "fp32", {"x": (1,)})  # type: ignore[arg-type]
    with pytest.raises(ConversionFailed) as caught:
        convert(request, workshop)
    assert caught.value.reason == "no_path"
    assert caught.value.remedy == "Targets are onnxruntime, onnx-optimized, tensorrt, tflite, openvino"


def test_int8_without_calibration_is_refused_with_the_options_to_give(
    digits_onnx: ModelInfo, workshop: Workshop
) -> None:
    with pytest.raises(ConversionFailed, match="--allow-random-calibration") as caught:
        convert(ConversionRequest(digits_onnx, "onnxruntime", "int8", SHAPES), workshop)
    assert caught.value.reason == "calibration_required"


def test_a_half_precision_source_runs_as_it_is_and_as_nothing_else(
    tmp_path: Path, shared_cache: Path, workshop: Workshop
) -> None:
    info = inspect(models.convolution(tmp_path / "half.onnx", dtype="float16"), shared_cache)
    shapes = {"x": (1, 3, 8, 8)}
    as_it_is = convert(ConversionRequest(info, "onnxruntime", "fp16", shapes), workshop)
    assert (as_it_is.sha256, as_it_is.converter) == (info.sha256, "the source file as it is")
    with pytest.raises(ConversionFailed, match="is fp16 already") as caught:
        convert(ConversionRequest(info, "onnxruntime", "fp32", shapes), workshop)
    assert caught.value.reason == "already_quantized"


def test_a_quantised_source_is_recognised(
    digits_onnx: ModelInfo, digits_tflite: ModelInfo, calibration: Examples, workshop: Workshop
) -> None:
    for source in (digits_onnx, digits_tflite):
        for precision in ("int8", "int8-dynamic"):
            artifact = convert(digits_request(source, precision, calibration), workshop)
            with pytest.raises(ConversionFailed, match=f"is {precision} already"):
                convert(digits_request(artifact.info, "fp32", calibration), workshop)


def test_a_model_without_floats_is_not_sold_as_fp16(
    tmp_path: Path, shared_cache: Path, workshop: Workshop
) -> None:
    path = models.identity(tmp_path / "flags.onnx", ("flag", ["N", 4], onnx.TensorProto.BOOL))
    request = ConversionRequest(inspect(path, shared_cache), "onnxruntime", "fp16", {"flag": (1, 4)})
    with pytest.raises(ConversionFailed) as caught:
        convert(request, workshop)
    assert caught.value.reason == "precision_not_reached"


def test_a_model_that_nothing_of_is_quantised_is_not_sold_as_int8(
    tmp_path: Path, shared_cache: Path, workshop: Workshop
) -> None:
    path = models.save(
        tmp_path / "sum.onnx",
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [models.value("x", ["N", 4])],
        [models.value("y", ["N", 4])],
        [models.weights("w", 4)],
    )
    request = ConversionRequest(inspect(path, shared_cache), "onnxruntime", "int8-dynamic", {"x": (1, 4)})
    with pytest.raises(ConversionFailed, match="still fp32") as caught:
        convert(request, workshop)
    assert caught.value.reason == "precision_not_reached"


def test_an_artifact_that_answers_differently_is_refused_and_not_kept(
    tmp_path: Path, shared_cache: Path
) -> None:
    # The largest float16 is 65504, which the converter puts in place of the weight.
    path = models.save(
        tmp_path / "large.onnx",
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        [models.value("x", ["N", 4])],
        [models.value("y", ["N", 4])],
        [onnx.numpy_helper.from_array(np.full(4, 1e6, np.float32), "w")],
    )
    cache = tmp_path / "cache"
    request = ConversionRequest(inspect(path, cache), "onnxruntime", "fp16", {"x": (1, 4)})
    with pytest.raises(ConversionFailed, match="output 'y'") as caught:
        convert(request, Workshop(cache, cache))
    assert caught.value.reason == "verification_failed"
    assert list((cache / "artifacts").iterdir()) == []


def test_a_tflite_file_without_a_signature_can_be_calibrated(
    tmp_path: Path, shared_cache: Path, workshop: Workshop
) -> None:
    import flatbuffers

    content = (models.DIGITS / "digits.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "bare.tflite"
    path.write_bytes(bytes(builder.Output()))

    info = inspect(path, shared_cache)
    request = ConversionRequest(info, "tflite", "int8", SHAPES, allow_random_calibration=True)
    assert convert(request, workshop).info.precision == "int8"


def test_every_target_has_a_format_and_ways_to_each_of_its_precisions() -> None:
    assert {target: tuple(table) for target, table in WAYS.items()} == {
        "onnxruntime": PRECISIONS,
        "onnx-optimized": ("fp32",),
        "tensorrt": ("fp32", "fp16", "int8"),
        "tflite": PRECISIONS,
        "openvino": ("fp32", "fp16"),
    }
    assert set(FORMAT_OF) == set(WAYS)
    by_ways = [table for target, table in WAYS.items() if target not in BASE_TOOLS]
    assert all(ways for table in by_ways for ways in table.values())


def test_a_quantised_model_declares_no_operator_set_it_does_not_use(
    digits_onnx: ModelInfo, calibration: Examples, workshop: Workshop
) -> None:
    artifact = convert(digits_request(digits_onnx, "int8-dynamic", calibration), workshop)
    declared = {
        imported.domain: imported.version for imported in onnx.load(artifact.files[0].path).opset_import
    }
    assert declared == {"": 13}


def exchanged_sides(path: Path, *, right: bool) -> Path:
    """A resize to its own size which, if not `right`, takes height for width: a square hides it."""
    sizes = ["height", "width"] if right else ["width", "height"]
    nodes = [
        helper.make_node("Shape", ["x"], ["height"], start=2, end=3),
        helper.make_node("Shape", ["x"], ["width"], start=3, end=4),
        helper.make_node("Shape", ["x"], ["front"], start=0, end=2),
        helper.make_node("Concat", ["front", *sizes], ["target"], axis=0),
        helper.make_node("Resize", ["x", "", "", "target"], ["y"], mode="nearest"),
    ]
    return models.save(
        path, nodes, [models.value("x", ["N", 3, "h", "w"])], [models.value("y", ["N", 3, None, None])]
    )


def test_height_and_width_that_were_exchanged_show_on_an_input_that_is_not_square(
    tmp_path: Path, shared_cache: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convert import pipeline
    from convert.data.arrays import save_arrays
    from convert.data.check_inputs import other_shapes
    from convert.data.sample_inputs import seeded_inputs
    from convert.job import Job, Way
    from convert.sources.inspection import info_to_json

    info = inspect(exchanged_sides(tmp_path / "right.onnx", right=True), shared_cache)
    wrong = exchanged_sides(tmp_path / "wrong.onnx", right=False)
    shapes = {"x": (1, 3, 64, 64)}
    wide = other_shapes(info, shapes)
    assert wide == {"x": (1, 3, 64, 32)}

    def exchanging(job: Job) -> None:
        job.output.write_bytes(wrong.read_bytes())

    monkeypatch.setattr(pipeline, "find_ways", lambda *_: (Way(exchanging, "a converter that exchanges"),))
    checks, others = tmp_path / "checks.npz", tmp_path / "wide.npz"
    request = {
        "source": str(info.path), "info": info_to_json(info), "target": "onnxruntime", "precision": "fp32",
        "io": "float", "opset": None, "folder": str(tmp_path), "calibration": None, "reference": None,
        "checks": [str(checks), save_arrays(checks, seeded_inputs(info, shapes, 2))],
        "wide": None,
    }  # fmt: skip
    assert pipeline.make_artifact(request)["agreement"][0]["max_abs_error"] == 0.0
    request["wide"] = [str(others), save_arrays(others, seeded_inputs(info, wide, 2))]
    with pytest.raises(ConversionFailed, match="the outputs differ"):
        pipeline.make_artifact(request)
