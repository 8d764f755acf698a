from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from convert.errors import InvalidModel
from convert.sources.source import Source, find_source, source_from_json, source_to_json
from convert.sources.source_digest import source_files, source_sha256
from tests.convert import models


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"content")
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.onnx", "onnx"), ("a.LITE", "tflite"), ("a.pt2", "pt2"), ("a.keras", "keras"), ("a.hdf5", "keras")],
)
def test_a_file_is_known_by_its_suffix(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).touch()
    assert find_source(str(tmp_path / name)).kind == kind


def test_a_torch_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    script = archive(tmp_path / "script.pt", "net/constants.pkl", "net/code/__torch__.py")
    exported = archive(tmp_path / "exported.pt", "net/archive_format", "net/models/model.json")
    weights = archive(tmp_path / "weights.pth", "net/data.pkl", "net/data/0")
    (tmp_path / "old.pth").write_bytes(b"\x80\x02pickle")
    kinds = [find_source(str(path)).kind for path in (script, exported, weights, tmp_path / "old.pth")]
    assert kinds == ["torchscript", "pt2", "pytorch", "pytorch"]


def test_a_folder_is_a_saved_model_if_it_holds_one(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    with pytest.raises(InvalidModel, match=r"is a folder without a saved_model\.pb"):
        find_source(str(tmp_path / "net"))
    (tmp_path / "net" / "saved_model.pb").touch()
    assert find_source(str(tmp_path / "net")).kind == "savedmodel"


def test_a_factory_may_stand_alone_or_beside_weights(tmp_path: Path) -> None:
    alone = find_source("nets:make", search=tmp_path)
    assert (alone.kind, alone.path, alone.factory, alone.name) == ("pytorch", None, "nets:make", "nets:make")
    (tmp_path / "w.pth").touch()
    beside = find_source(str(tmp_path / "w.pth"), factory="nets:make", search=tmp_path)
    assert (beside.kind, beside.factory, beside.name) == ("pytorch", "nets:make", "w.pth")


@pytest.mark.parametrize(
    ("word", "factory", "message"),
    [
        ("none.onnx", None, "model file .*none.onnx does not exist"),
        ("a.caffemodel", None, "suffix '.caffemodel', which is not a known model format"),
        ("a.onnx", "nets:make", "a complete model .onnx., so the factory nets:make has no use"),
        ("w.pth", "nets.make", "'nets.make' is not a factory"),
    ],
)
def test_what_cannot_be_a_source_is_named(
    tmp_path: Path, word: str, factory: str | None, message: str
) -> None:
    for name in ("a.caffemodel", "a.onnx", "w.pth"):
        (tmp_path / name).touch()
    with pytest.raises(InvalidModel, match=message):
        find_source(str(tmp_path / word), factory=factory)


def test_a_source_survives_json(tmp_path: Path) -> None:
    source = Source("pytorch", tmp_path / "w.pth", "nets:make", True, tmp_path / "python", tmp_path)
    assert source_from_json(source_to_json(source)) == source


# --- digests --------------------------------------------------------------------------------------


def factory(folder: Path) -> Source:
    (folder / "layers").mkdir()
    (folder / "layers" / "__init__.py").write_text("from .block import Block\n")
    (folder / "layers" / "block.py").write_text("import torch\nclass Block: pass\n")
    (folder / "nets.py").write_text("import torch\nfrom layers import Block\ndef make(): return Block()\n")
    (folder / "unrelated.py").write_text("pass\n")
    return Source("pytorch", None, "nets:make", search=folder)


def test_a_factory_is_made_of_the_modules_it_imports_from_its_folder(tmp_path: Path) -> None:
    names = [name for name, _ in source_files(factory(tmp_path))]
    assert names == ["layers/__init__.py", "layers/block.py", "nets.py"]


def test_a_change_in_an_imported_module_changes_the_digest_and_another_does_not(tmp_path: Path) -> None:
    source = factory(tmp_path)
    before = source_sha256(source)
    (tmp_path / "unrelated.py").write_text("changed = 1\n")
    assert source_sha256(source) == before
    (tmp_path / "layers" / "block.py").write_text("class Block: changed = 1\n")
    assert source_sha256(source) != before


def test_what_is_made_in_the_folder_of_a_saved_model_is_none_of_it(tmp_path: Path) -> None:
    for name in ("saved_model.pb", "variables/variables.index", "assets/words/a.txt", "converted/net.tflite"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    names = [name for name, _ in source_files(Source("savedmodel", tmp_path))]
    assert names == ["assets/words/a.txt", "saved_model.pb", "variables/variables.index"]


def test_external_data_belong_to_an_onnx_source(tmp_path: Path) -> None:
    path = models.with_external_data(tmp_path / "model.onnx", "weights.bin")
    source = Source("onnx", path)
    assert [name for name, _ in source_files(source)] == ["model.onnx", "weights.bin"]
    before = source_sha256(source)
    content = bytearray((tmp_path / "weights.bin").read_bytes())
    content[0] ^= 1
    (tmp_path / "weights.bin").write_bytes(content)
    assert source_sha256(source) != before


def test_external_data_outside_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = models.with_external_data(tmp_path / "in" / "model.onnx", "weights.bin")
    (tmp_path / "in" / "weights.bin").rename(tmp_path / "weights.bin")
    path.write_bytes(path.read_bytes().replace(b"\x12\x0bweights.bin", b"\x12\x0b../ghts.bin"))
    (tmp_path / "weights.bin").rename(tmp_path / "ghts.bin")
    assert [name for name, _ in source_files(Source("onnx", path))] == ["model.onnx"]
