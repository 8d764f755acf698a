"""What a command line asks for, and the keys by which it is known to be there already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from convert.sources.source import Source, SourceKind
from harness.conversion.wanted import ConversionOptions, Wanted, conversion_keys, find_wanted, with_own_data
from harness.errors import UsageError
from harness.models import BenchModel, find_models

FP32 = (Wanted("tflite", "fp32"),)
NO_OPTIONS = ConversionOptions()


def model_of(*kinds: SourceKind) -> BenchModel:
    return BenchModel("net", {kind: Source(kind, Path(f"net.{kind}")) for kind in kinds})


@pytest.fixture
def model(tmp_path: Path) -> BenchModel:
    (tmp_path / "net.onnx").write_bytes(b"a model")
    return find_models([str(tmp_path / "net.onnx")])[0]


def key(model: BenchModel, options: ConversionOptions = NO_OPTIONS) -> str:
    return conversion_keys(model, FP32, options)[FP32[0]]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("onnx", "onnx"), ("pytorch", "onnx"), ("torchscript", "onnx"), ("pt2", "onnx"),
        ("tflite", "tflite"), ("keras", "tflite"), ("savedmodel", "tflite"),
    ],
)  # fmt: skip
def test_without_targets_a_model_goes_where_its_source_is_nearest_to(kind: SourceKind, word: str) -> None:
    assert [entry.word for entry in find_wanted(model_of(kind), None, ["fp32"], "float")] == [word]


def test_a_model_with_two_sources_goes_to_both() -> None:
    assert [entry.word for entry in find_wanted(model_of("onnx", "tflite"), None, ["fp32"], "float")] == [
        "onnx",
        "tflite",
    ]


def test_every_precision_of_every_target_is_wanted_once() -> None:
    wanted = find_wanted(model_of("onnx"), ["tensorrt", "onnx", "onnx"], ["fp16", "fp32"], "float")
    assert wanted == (
        Wanted("tensorrt", "fp16"),
        Wanted("tensorrt", "fp32"),
        Wanted("onnxruntime", "fp16"),
        Wanted("onnxruntime", "fp32"),
    )


def test_types_at_the_ends_are_for_int8_tflite_alone() -> None:
    wanted = find_wanted(model_of("onnx"), ["tflite", "onnx"], ["fp32", "int8"], "uint8")
    assert [entry.io for entry in wanted] == ["float", "uint8", "float", "float"]
    with pytest.raises(UsageError, match="only int8 TFLite models have a choice"):
        find_wanted(model_of("onnx"), ["onnx"], ["int8"], "uint8")


@pytest.mark.parametrize(
    ("targets", "precisions", "io", "message"),
    [
        (["coreml"], ["fp32"], "float", "--to coreml: no such word"),
        (["tflite"], ["int4"], "float", "--precision int4: no such word"),
        (["tflite"], ["int8"], "int16", "--io int16: no such word"),
        (["onnxruntime"], ["fp32"], "float", "--to onnxruntime: no such word"),
    ],
)
def test_unknown_words_are_refused_with_the_known_ones(
    targets: list[str], precisions: list[str], io: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        find_wanted(model_of("onnx"), targets, precisions, io)
    assert raised.value.remedy is not None
    assert raised.value.remedy.startswith("choose from ")


def test_the_same_things_have_the_same_key(model: BenchModel) -> None:
    assert key(model) == key(find_models([str(next(iter(model.sources.values())).path)])[0])


def test_a_key_changes_with_everything_an_artifact_depends_on(model: BenchModel, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    data.write_bytes(b"some")
    keys = [
        key(model),
        key(replace(model, shapes={"x": (1, 3)})),
        key(replace(model, calibration=data)),
        *(
            key(model, options)
            for options in (
                ConversionOptions(batch=4),
                ConversionOptions(dynamic_batch=(1, 4)),
                ConversionOptions(opset=13),
                ConversionOptions(tolerance=1e-4),
                ConversionOptions(allow_random_calibration=True),
            )
        ),
    ]
    data.write_bytes(b"other")
    keys.append(key(replace(model, calibration=data)))
    (tmp_path / "net.onnx").write_bytes(b"another model")
    keys.append(key(model))
    assert len(set(keys)) == len(keys)


def test_a_key_changes_with_the_tools(model: BenchModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(model)
    monkeypatch.setattr("harness.conversion.wanted.version", lambda _package: "99.0")
    tools = key(model)
    monkeypatch.setattr("harness.conversion.wanted.harness_version", lambda: "99.0")
    edgebench = key(model)
    monkeypatch.setattr("harness.conversion.wanted.toolchain_key", lambda name: f"{name}-new-pins")
    assert len({before, tools, edgebench, key(model)}) == 4


def test_artifacts_of_one_command_have_keys_of_their_own(model: BenchModel) -> None:
    wanted = find_wanted(model, ["tflite", "onnx"], ["fp32", "int8"], "uint8")
    assert len(set(conversion_keys(model, wanted, ConversionOptions()).values())) == 4


def test_what_the_command_line_says_goes_before_the_models_own(model: BenchModel, tmp_path: Path) -> None:
    own = replace(model, shapes={"x": (1, 3), "y": (1,)}, calibration=tmp_path / "own")
    python = tmp_path / "python"
    python.touch()
    asked = with_own_data(own, {"x": (1, 5)}, tmp_path, trust_pickle=True, python=python)
    assert asked.shapes == {"x": (1, 5), "y": (1,)}
    assert asked.calibration == tmp_path
    (source,) = asked.sources.values()
    assert (source.trust_pickle, source.python) == (True, python)


@pytest.mark.parametrize("option", ["calibration", "python"])
def test_a_file_that_is_not_there_is_refused_before_any_work(model: BenchModel, option: str) -> None:
    missing = Path("/nowhere")
    with pytest.raises(UsageError, match=f"--{option} /nowhere: no such file"):
        with_own_data(
            model,
            {},
            missing if option == "calibration" else None,
            trust_pickle=False,
            python=missing if option == "python" else None,
        )
