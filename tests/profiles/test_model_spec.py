"""model.toml, and the models that come along."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiles.model_spec import builtin_model, builtin_models, load_model_spec
from profiles.strict_toml import InvalidFile, load


@pytest.mark.parametrize("name", builtin_models())
def test_a_built_in_model_has_its_files(name: str) -> None:
    spec = builtin_model(name)
    assert spec.name == name
    assert spec.path(spec.sources.onnx or spec.sources.tflite or Path("none")).is_file()


def test_paths_are_relative_to_the_spec(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    (tmp_path / "model.toml").write_text('name = "m"\n[sources]\nonnx = "m.onnx"\n')
    spec = load_model_spec(tmp_path / "model.toml")
    assert spec.sources.onnx is not None
    assert spec.path(spec.sources.onnx) == tmp_path / "m.onnx"


def test_every_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text('name = "m"\ndataset = "d.npz"\ncalibration = "c"\n[sources]\ntflite = "m.tflite"\n')
    with pytest.raises(InvalidFile) as error:
        load_model_spec(path)
    assert error.value.faults == [
        f"{path}: {field}: {tmp_path / file} does not exist"
        for field, file in (("sources.tflite", "m.tflite"), ("dataset", "d.npz"), ("calibration", "c"))
    ]


def test_a_model_without_a_source_is_none(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text('name = "m"\n[sources]\n')
    with pytest.raises(InvalidFile, match="sources: names no model; give one of onnx, tflite, keras"):
        load_model_spec(tmp_path / "model.toml")


def test_a_word_that_is_none_of_the_known_ones_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text('name = "m"\n[sources]\n[preprocessing]\ncolour_order = "bgra"\n')
    with pytest.raises(InvalidFile, match=r"preprocessing\.colour_order"):
        load_model_spec(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"name = \n", r"model\.toml:1:8: "),
        (b"name = 'a'\nname = 'b'\n", r"model\.toml:2:\d+: "),
    ],
)
def test_a_file_that_is_no_toml_is_told_where(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "model.toml").write_bytes(content)
    with pytest.raises(InvalidFile, match=words):
        load_model_spec(tmp_path / "model.toml")


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for place, words in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InvalidFile, match=words):
            load(place, Path)
