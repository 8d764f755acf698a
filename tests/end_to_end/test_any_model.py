"""Any model of a user: measured with made-up inputs, or refused with the cause named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from tests.end_to_end import any_models
from tests.end_to_end.boards import refused
from tests.end_to_end.workplace import Finished, Workplace

pytestmark = pytest.mark.e2e

QUICK = ("--measurement", "quick", "--out", "out")
DIGITS = Path(__file__).parents[2] / "profiles" / "models" / "digits"


def run(workplace: Workplace, *models: Path | str, options: tuple[str, ...] = ()) -> Finished:
    """Measure models on onnxruntime at fp32, unless `options` say otherwise."""
    words = [word for model in models for word in ("--model", str(model))]
    return workplace.bench("run", *words, "--runtime", "onnxruntime", *options, *QUICK)


def by_model(workplace: Workplace) -> dict[str, dict[str, Any]]:
    """The records of a run with one case a model."""
    records = workplace.results()["records"]
    found = {record["case"]["model"]: record for record in records}
    assert len(found) == len(records)
    return found


def test_models_of_every_kind_of_input_are_measured_and_proven(workplace: Workplace) -> None:
    makers: list[Callable[[Path], Path]] = [
        any_models.ids,
        any_models.picture,
        any_models.several,
        any_models.names,
        any_models.recurrent,
    ]
    external = any_models.with_external_data(workplace.folder / "elsewhere")
    models = [make(workplace.folder) for make in makers]
    done = run(workplace, *models, external, options=("--precision", "fp32"))
    assert done.status == 0, done.err
    records = by_model(workplace)
    assert set(records) == {"ids", "picture", "several", "names", "recurrent", "external"}
    for name, record in records.items():
        assert record["status"] == "ok", (name, record["failure"])
        assert "wrong_output" not in record["reasons"], (name, record["doubts"])
        assert record["fidelity"]["max_abs_error"] <= 1e-5, name
    outputs = {output["name"] for output in records["names"]["fidelity"]["outputs"]}
    assert outputs == {"model/out:0", "../relu"}
    for guess in ("picture: assumed height = 224", "picture: assumed width = 224", "ids: assumed seq = 128"):
        assert f"{guess}; give --shape to say otherwise" in done.err


def test_a_model_in_float16_runs_as_what_it_is(workplace: Workplace) -> None:
    done = run(workplace, any_models.halves(workplace.folder))
    assert done.status == 0, done.err
    statuses = {r["case"]["precision"]: r["status"] for r in workplace.results()["records"]}
    assert statuses == {
        "fp32": "unsupported",
        "fp16": "ok",
        "int8": "unsupported",
        "int8-dynamic": "unsupported",
    }


def test_a_given_shape_is_for_the_models_that_have_that_input(workplace: Workplace) -> None:
    models = [any_models.open_shape(workplace.folder), any_models.several(workplace.folder)]
    done = run(workplace, *models, options=("--precision", "fp32", "--shape", "x=1,3,1000"))
    assert done.status == 0, done.err
    assert {name: record["status"] for name, record in by_model(workplace).items()} == {
        "open": "ok",
        "several": "ok",
    }
    assert "assumed" not in done.err


def test_a_shape_that_cannot_be_guessed_is_asked_for_with_an_example(workplace: Workplace) -> None:
    model = any_models.open_shape(workplace.folder)
    message = refused(workplace, "run", "--model", model, "--runtime", "onnxruntime")
    assert "input 'x' has the shape (N, channels, points), which leaves sizes open" in message
    assert "--shape x=1,224,224" in message


def test_a_shape_of_another_rank_is_refused(workplace: Workplace) -> None:
    model = any_models.open_shape(workplace.folder)
    message = refused(workplace, "run", "--model", model, "--shape", "x=1,3", "--runtime", "onnxruntime")
    assert "shape 1,3 was given for input 'x' (N, channels, points)" in message
    assert "3 dimensions" in message


def test_what_is_no_usable_model_fails_with_its_cause(workplace: Workplace) -> None:
    cut = any_models.with_external_data(workplace.folder / "elsewhere")
    cut.with_name("external.weights").unlink()
    iris = Path(onnxruntime.__file__).parent / "datasets" / "logreg_iris.onnx"
    models = [
        cut,
        iris,
        any_models.custom_operator(workplace.folder),
        any_models.text(workplace.folder),
        any_models.detections(workplace.folder),
        any_models.without_inputs(workplace.folder),
        any_models.several(workplace.folder),
    ]
    done = run(workplace, *models, options=("--precision", "fp32"))
    assert done.status == 3, done.err
    records = by_model(workplace)
    assert records["several"]["status"] == "ok"
    expected = {
        "external": ("external_data_missing", "'external.weights', which is missing"),
        "logreg_iris": ("non_tensor_output", "not a tensor"),
        "custom": ("custom_op", "operator 'FancyRelu' of domain 'com.example'"),
        "text": ("unsupported_dtype", "input 'words' is text"),
        "sealed": ("no_inputs", "sealed.onnx has no inputs"),
        "detections": ("variable_output", "output 'where' changes its shape with the values of the input"),
    }
    for name, (reason, words) in expected.items():
        failure = records[name]["failure"]
        assert (failure["class"], failure["reason"]) == ("model", reason), (name, failure)
        assert words in failure["message"]
        assert failure["remedy"], name


def test_a_tflite_file_in_int8_runs_as_int8_only(workplace: Workplace, shared_cache: Path) -> None:
    converted = workplace.bench(
        "run", "--model", DIGITS / "digits.tflite", "--calibration", DIGITS / "calibration.npz",
        "--runtime", "tflite", "--precision", "int8", *QUICK,
    )  # fmt: skip
    assert converted.status == 0, converted.err
    artifact = workplace.results()["records"][0]["artifact"]
    blob = shared_cache / "blobs" / artifact["sha256"]
    model = workplace.folder / "quantized.tflite"
    model.write_bytes(blob.read_bytes())

    done = workplace.bench("run", "--model", model, "--runtime", "tflite", *QUICK)
    assert done.status == 0, done.err
    records = {r["case"]["precision"]: r for r in workplace.results()["records"]}
    assert {precision: record["status"] for precision, record in records.items()} == {
        "fp32": "unsupported",
        "fp16": "unsupported",
        "int8": "ok",
        "int8-dynamic": "unsupported",
    }
    assert records["int8"]["artifact"]["sha256"] == artifact["sha256"]
    assert "quantized.tflite is int8 already" in records["fp32"]["failure"]["message"]


def test_outputs_that_differ_from_the_reference_on_the_board_make_a_figure_invalid(
    workplace: Workplace,
) -> None:
    done = run(workplace, any_models.noise(workplace.folder), options=("--precision", "fp32"))
    assert done.status == 0, done.err
    record = by_model(workplace)["noise"]
    assert record["verdict"] == "invalid"
    assert "wrong_output" in record["reasons"]
    assert "invalid (wrong_output" in done.err


def test_a_precision_that_breaks_the_model_gives_no_number(workplace: Workplace) -> None:
    model = any_models.beyond_half(workplace.folder)
    done = run(workplace, model, options=("--precision", "fp32,fp16"))
    records = {r["case"]["precision"]: r for r in workplace.results()["records"]}
    assert records["fp32"]["status"] == "ok"
    assert done.status == 3, done.err
    failure = records["fp16"]["failure"]
    assert (failure["class"], failure["reason"]) == ("conversion", "verification_failed")
    assert "disagrees with the fp32 reference" in failure["message"]
    assert records["fp16"]["latency_ms"] is None
