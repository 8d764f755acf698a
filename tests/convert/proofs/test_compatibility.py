from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convert.cache import file_sha256
from convert.converters.to_onnxruntime import ONNX_TO_ONNXRUNTIME
from convert.converters.to_tensorrt import ONNX_TO_TENSORRT
from convert.converters.to_tflite import TFLITE_TO_TFLITE
from convert.data.arrays import save_arrays
from convert.errors import ConversionFailed, ConvertError
from convert.job import Job
from convert.proofs.compatibility import CheckedArtifact, RuntimeCheck, check_compatibility
from convert.proofs.execution import run_model
from convert.sources.inspection import ModelInfo, inspect
from convert.steps import StepLog
from convert.workshop import Workshop
from tests.convert import models
from tests.convert.onnx_jobs import SAMPLES, made, network

Answer = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def artifact(tmp_path: Path) -> CheckedArtifact:
    """One that has no file: only what is compared matters."""
    scores = np.array([[[1.0, 2.0, -3.0]], [[-2.0, 0.5, 4.0]]], np.float32)
    return CheckedArtifact(
        file=tmp_path / "model.tflite",
        sha256="a" * 64,
        target="tflite",
        precision="fp32",
        inputs={"image": np.zeros((2, 1, 4), np.float32)},
        expected={"scores": scores},
    )


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], Workshop]:
    """A workshop whose children answer with this."""

    def workshop(answer: Answer) -> Workshop:
        def run(_: Workshop, task: str, request: Mapping[str, Any], **__: object) -> dict[str, Any]:
            return answer({"task": task, **request})

        monkeypatch.setattr(Workshop, "run", run)
        return Workshop(tmp_path / "cache", tmp_path / "toolchains")

    return workshop


def answers(**arrays: NDArray[Any]) -> Answer:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        return {"names": save_arrays(Path(request["outputs"]), arrays), "version": "2.14.0"}

    return answer


def raises(error: ConvertError) -> Answer:
    def answer(_: dict[str, Any]) -> dict[str, Any]:
        raise error

    return answer


def older(artifact: CheckedArtifact, workshop: Workshop) -> RuntimeCheck:
    here, there = check_compatibility(artifact, workshop)
    assert (here.runtime, here.status) == ("ai-edge-litert", "agrees")
    assert there.runtime == "tflite-runtime"
    return there


def test_equal_outputs_agree_with_the_figures_of_the_worst(
    artifact: CheckedArtifact, answering: Callable[[Answer], Workshop]
) -> None:
    check = older(artifact, answering(answers(scores=np.asarray(artifact.expected["scores"]))))
    assert (check.version, check.status) == ("2.14.0", "agrees")
    assert check.detail == (
        "output 'scores': cosine 1.00000, largest error 0, same largest element in 100.0% of rows"
    )


def test_zeros_without_an_error_disagree(
    artifact: CheckedArtifact, answering: Callable[[Answer], Workshop]
) -> None:
    check = older(artifact, answering(answers(scores=np.zeros((2, 1, 3), np.float32))))
    assert check.status == "disagrees"
    assert check.detail.startswith("output 'scores' is all zeros where the reference is not")


def test_an_output_of_another_shape_disagrees(
    artifact: CheckedArtifact, answering: Callable[[Answer], Workshop]
) -> None:
    check = older(artifact, answering(answers(other=np.zeros((2, 1, 4), np.float32))))
    assert check.status == "disagrees"
    assert "the outputs differ" in check.detail


def test_quantised_outputs_are_compared_as_the_numbers_they_stand_for(
    artifact: CheckedArtifact, answering: Callable[[Answer], Workshop]
) -> None:
    real = np.asarray(artifact.expected["scores"])
    quantised = replace(artifact, precision="int8", quantization={"scores": (0.5, 3)})
    raw = (real / 0.5 + 3).astype(np.int8)
    assert older(quantised, answering(answers(scores=raw))).status == "agrees"


def test_a_refusal_is_told_in_the_runtimes_words_and_kept(
    artifact: CheckedArtifact, answering: Callable[[Answer], Workshop]
) -> None:
    refusal = ConversionFailed("Didn't find op", reason="runtime_refused")
    first = older(artifact, answering(raises(refusal)))
    assert (first.status, first.version, first.detail) == ("refused", None, "Didn't find op")
    assert older(artifact, answering(raises(AssertionError("asked again")))) == first  # type: ignore[arg-type]


def test_a_runtime_that_crashes_refuses(
    artifact: CheckedArtifact, answering: Callable[[Answer], Workshop]
) -> None:
    crash = ConversionFailed("crashed with SIGSEGV", reason="crashed")
    assert older(artifact, answering(raises(crash))).status == "refused"


@pytest.mark.parametrize("reason", ["toolchain_offline", "disk_full", "timeout", "out_of_memory"])
def test_what_could_not_be_asked_is_not_checked_and_asked_again(
    reason: str, artifact: CheckedArtifact, answering: Callable[[Answer], Workshop]
) -> None:
    check = older(artifact, answering(raises(ConversionFailed("no network", reason=reason))))
    assert (check.status, check.detail) == ("not_checked", "no network")
    right = answers(scores=np.asarray(artifact.expected["scores"]))
    assert older(artifact, answering(right)).status == "agrees"


def test_other_inputs_or_another_artifact_are_another_check(
    artifact: CheckedArtifact, answering: Callable[[Answer], Workshop]
) -> None:
    right = answers(scores=np.asarray(artifact.expected["scores"]))
    assert older(artifact, answering(right)).status == "agrees"
    wrong = answers(scores=-np.asarray(artifact.expected["scores"]))
    assert older(artifact, answering(wrong)).status == "agrees"
    assert older(replace(artifact, sha256="b" * 64), answering(wrong)).status == "disagrees"
    fed = {"image": np.ones((2, 1, 4), np.float32)}
    assert older(replace(artifact, inputs=fed), answering(wrong)).status == "disagrees"


def test_targets_that_run_where_they_were_verified_need_no_other_check(
    artifact: CheckedArtifact, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path / "cache", tmp_path / "toolchains")
    assert check_compatibility(replace(artifact, target="onnxruntime"), workshop) == ()


@pytest.fixture(scope="module")
def digits() -> dict[str, Any]:
    with np.load(models.DIGITS / "evaluation.npz") as archive:
        name = next(name for name in archive.files if archive[name].ndim > 1)
        return {"image": archive[name][:8].reshape(8, 1, 8, 8, 1).astype(np.float32)}


def tflite_artifact(
    file: Path, precision: str, source: ModelInfo, digits: dict[str, Any], cache: Path
) -> CheckedArtifact:
    info = inspect(file, cache)
    return CheckedArtifact(file, info.sha256, "tflite", precision, digits, run_model(source, digits))


@pytest.mark.processes
@pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`")  # calibration
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8-dynamic"])
def test_every_tflite_artifact_of_ours_agrees_in_tflite_runtime(
    precision: str,
    digits_tflite: ModelInfo,
    digits: dict[str, Any],
    workshop: Workshop,
    toolchains: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "work").mkdir()
    with np.load(models.DIGITS / "calibration.npz") as archive:
        images = next(archive[name] for name in archive.files if archive[name].ndim > 1)
    calibration = {"image": images[:50].reshape(50, 1, 8, 8, 1).astype(np.float32)}
    job = Job(digits_tflite, tmp_path / "work", tmp_path / "model.tflite", calibration, StepLog())
    TFLITE_TO_TFLITE[precision][0].make(job)
    made_here = tflite_artifact(job.output, precision, digits_tflite, digits, workshop.cache)
    check = older(made_here, workshop)
    assert (check.version, check.status) == ("2.14.0", "agrees")


@pytest.mark.processes
def test_a_dynamic_model_with_weights_per_channel_is_found_to_give_zeros(
    digits_tflite: ModelInfo, digits: dict[str, Any], workshop: Workshop, toolchains: Path, tmp_path: Path
) -> None:
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(str(digits_tflite.path), recipe.dynamic_wi8_afp32())
    result = tool.quantize(None, enable_progress_bar=False, enable_progress_report=False)
    file = tmp_path / "model.tflite"
    file.write_bytes(result.quantized_model)
    artifact = tflite_artifact(file, "int8-dynamic", digits_tflite, digits, workshop.cache)
    here = run_model(inspect(file, workshop.cache), digits)["scores"]
    assert np.abs(here).max() > 1.0
    check = older(artifact, workshop)
    assert check.status == "disagrees"
    assert check.detail.startswith("output 'scores'")
    nothing = Workshop(workshop.cache, tmp_path / "no toolchains")
    assert older(artifact, nothing) == check


@pytest.mark.processes
def test_tensorrt_takes_its_own_int8_form_and_refuses_that_of_onnxruntime(
    workshop: Workshop, toolchains: Path, tmp_path: Path
) -> None:
    source = network(tmp_path / "network.onnx")
    found = {}
    for name, table in (("own", ONNX_TO_TENSORRT), ("other", ONNX_TO_ONNXRUNTIME)):
        file = made(table["int8"][0], source, tmp_path / name, SAMPLES).output
        artifact = CheckedArtifact(
            file, file_sha256(file), "tensorrt", "int8", SAMPLES, {}, batches=(1, 4, 16)
        )
        (found[name],) = check_compatibility(artifact, workshop)
    assert (found["own"].runtime, found["own"].version, found["own"].status) == (
        "tensorrt-rtx",
        "1.7.1.116",
        "agrees",
    )
    assert found["other"].status == "refused"
    assert "input has type Int32" in found["other"].detail
