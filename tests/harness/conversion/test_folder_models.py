"""Which models `bench convert --all` finds in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.conversion.folder_models import find_folder_models
from harness.errors import UsageError


def made(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def found(folder: Path, aside: str = "out") -> list[str]:
    return [str(path) for path in find_folder_models(folder, folder / aside)]


def test_every_kind_of_model_is_found_in_subfolders_too(tmp_path: Path) -> None:
    files = ("a.onnx", "b.tflite", "c.keras", "d.h5", "e.pt2", "sub/f.pt", "sub/deeper/g.PTH", "h.lite")
    made(tmp_path, *files, "saved/saved_model.pb")
    assert found(tmp_path) == sorted([*files, "saved"])


def test_what_is_no_model_is_left_out(tmp_path: Path) -> None:
    made(tmp_path, "notes.txt", "weights.bin", "a.onnx.data", "labels.csv", "net.py", "photo.jpg")
    assert found(tmp_path) == []


def test_a_savedmodel_is_one_model_whatever_is_in_it(tmp_path: Path) -> None:
    made(tmp_path, "saved/saved_model.pb", "saved/assets/inner.onnx", "saved/variables/variables.index")
    assert found(tmp_path) == ["saved"]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    made(tmp_path, ".cache/a.onnx", ".b.onnx", ".saved/saved_model.pb", "c.onnx")
    assert found(tmp_path) == ["c.onnx"]


def test_what_an_earlier_command_made_is_not_converted_again(tmp_path: Path) -> None:
    made(tmp_path, "a.onnx", "out/a.onnx/tflite/a-fp32.tflite")
    assert found(tmp_path) == ["a.onnx"]


def test_a_model_toml_claims_the_files_it_names(tmp_path: Path) -> None:
    made(tmp_path, "net/model.onnx", "net/saved/saved_model.pb", "net/other.onnx", "weights.pth")
    (tmp_path / "net/model.toml").write_text(
        'name = "net"\n[sources]\nonnx = "model.onnx"\nsaved_model = "saved"\n'
        'pytorch = "net:make"\nweights = "../weights.pth"\n'
    )
    assert found(tmp_path) == ["net/model.toml", "net/other.onnx"]


def test_a_damaged_model_toml_is_still_a_model_to_tell_about(tmp_path: Path) -> None:
    made(tmp_path, "net/model.onnx")
    (tmp_path / "net/model.toml").write_text("sources = [")
    assert found(tmp_path) == ["net/model.onnx", "net/model.toml"]


def test_links_that_go_in_circles_are_not_followed(tmp_path: Path) -> None:
    made(tmp_path, "a.onnx")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert found(tmp_path) == ["a.onnx"]


@pytest.mark.parametrize(("name", "what"), [("missing", "does not exist"), ("a.onnx", "is a file")])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str, what: str) -> None:
    made(tmp_path, "a.onnx")
    with pytest.raises(UsageError, match=what):
        find_folder_models(tmp_path / name, tmp_path / "out")
