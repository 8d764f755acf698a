"""Plans: which cases, in which order, and what is wrong with a plan file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from convert.sources.source import Source
from harness.board_options import BoardOptions
from harness.errors import ConfigurationError, UsageError
from harness.models import BenchModel
from harness.plan import PlanFile, Selection, cases, digest, load_plan_file
from profiles.measurement import measurement_profile
from reports.record import Case

EVERYTHING = Selection(None, None, (1,), (1,))
QUICK = measurement_profile("quick")


@pytest.fixture
def onnx(tmp_path: Path) -> BenchModel:
    (tmp_path / "net.onnx").write_bytes(b"onnx")
    return BenchModel("net", {"onnx": Source("onnx", tmp_path / "net.onnx")})


@pytest.fixture
def both(tmp_path: Path, onnx: BenchModel) -> BenchModel:
    (tmp_path / "net.tflite").write_bytes(b"tflite")
    return replace(
        onnx, name="both", sources={**onnx.sources, "tflite": Source("tflite", tmp_path / "net.tflite")}
    )


def of(planned: object) -> list[Case]:
    return [item.case for item in planned]  # type: ignore[attr-defined]


def test_unasked_every_runtime_that_takes_the_model_runs_every_precision(both: BenchModel) -> None:
    planned = cases(["local"], [both], EVERYTHING)
    precisions = ("fp32", "fp16", "int8", "int8-dynamic")
    assert of(planned) == [
        Case("local", "null", "null", "fp32"),
        *(Case("local", "both", "onnxruntime", precision) for precision in precisions),
        *(Case("local", "both", "tflite", precision) for precision in precisions),
    ]
    assert {(item.runtime_asked, item.precision_asked) for item in planned} == {(False, False)}


def test_the_cases_of_a_device_stay_together_and_in_order(onnx: BenchModel) -> None:
    selection = Selection(("onnxruntime", "tflite"), ("fp32", "int8"), (1, 4), (1, 2))
    planned = cases(["pi", "nano"], [onnx], selection)
    assert of(planned) == [
        Case(device, "net", runtime, precision, batch, threads)
        for device in ("pi", "nano")
        for runtime in ("onnxruntime", "tflite")
        for precision in ("fp32", "int8")
        for batch in (1, 4)
        for threads in (1, 2)
    ]
    assert {(item.runtime_asked, item.precision_asked) for item in planned} == {(True, True)}


def test_the_null_runtime_runs_once_a_device_and_only_when_asked_or_unasked(onnx: BenchModel) -> None:
    asked = Selection(("null", "onnxruntime"), ("fp32", "int8"), (1, 4), (1,))
    assert [case.runtime for case in of(cases(["local"], [onnx], asked))].count("null") == 1
    unasked = Selection(("onnxruntime",), None, (1,), (1,))
    assert "null" not in {case.runtime for case in of(cases(["local"], [onnx], unasked))}


def test_what_is_named_twice_is_measured_once(onnx: BenchModel) -> None:
    selection = Selection(("onnxruntime",), ("fp32",), (1, 1), (2, 2))
    assert of(cases(["local", "local"], [onnx], selection)) == [
        Case("local", "net", "onnxruntime", "fp32", 1, 2)
    ]


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(("onnx", "tflight"), None, (1,), (1,)), "unknown runtime 'onnx', 'tflight'"),
        (Selection(None, ("fp8",), (1,), (1,)), "unknown precision 'fp8'"),
        (Selection(None, None, (4, 0), (1,)), "batch size 0 is less than 1"),
        (Selection(None, None, (1,), (-2,)), "number of threads -2 is less than 1"),
    ],
)
def test_words_and_numbers_that_mean_nothing_are_named(selection: Selection, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        cases(["local"], [], selection)


# --- plan files -----------------------------------------------------------------------------------


def test_a_plan_file_says_what_to_run(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        'devices = ["pi", "nano"]\nmodels = ["digits"]\nbatch_sizes = [1, 8]\nmeasurement = "quick"\n'
    )
    assert load_plan_file(path) == PlanFile(
        devices=("pi", "nano"), models=("digits",), batch_sizes=(1, 8), measurement="quick"
    )


def test_an_empty_plan_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").touch()
    assert load_plan_file(tmp_path / "plan.toml") == PlanFile()


def test_all_faults_of_a_plan_file_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('devices = "pi"\nbatch_sizes = [1, "2", true]\nmodel = ["digits"]\nmeasurement = 3\n')
    with pytest.raises(ConfigurationError) as error:
        load_plan_file(path)
    faults = error.value.faults
    assert all(fault.startswith(f"{path}: ") for fault in faults)
    assert len(faults) == 5
    for words in (
        "devices: 'pi' is not a list",
        "batch_sizes[1]: '2' is not an integer",
        "batch_sizes[2]: True is not an integer",
        "unknown key",
        "measurement: 3 is not a string",
    ):
        assert any(words in fault for fault in faults), (words, faults)


def test_a_plan_file_that_is_no_toml_is_told_by_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text('devices = ["pi"\nmodels = []\n')
    with pytest.raises(ConfigurationError, match=r"plan\.toml:2:\d+: "):
        load_plan_file(tmp_path / "plan.toml")


# --- identity -------------------------------------------------------------------------------------


def test_a_plans_digest_changes_with_cases_measurement_and_the_models_content(
    onnx: BenchModel, tmp_path: Path
) -> None:
    def of_plan(**changes: object) -> str:
        selection = replace(EVERYTHING, **changes)  # type: ignore[arg-type]
        return digest(cases(["local"], [onnx], selection), QUICK, BoardOptions())

    base = of_plan()
    assert of_plan() == base
    seen = {base, of_plan(batch_sizes=(2,)), of_plan(precisions=("fp32",))}
    seen.add(digest(cases(["pi"], [onnx], EVERYTHING), QUICK, BoardOptions()))
    seen.add(digest(cases(["local"], [onnx], EVERYTHING), replace(QUICK, repetitions=9), BoardOptions()))
    seen.add(digest(cases(["local"], [onnx], EVERYTHING), QUICK, BoardOptions(performance_mode="max")))
    (tmp_path / "net.onnx").write_bytes(b"other")
    seen.add(of_plan())
    assert len(seen) == 7
