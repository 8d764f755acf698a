"""The folder that `bench convert` fills: what is written, what is left alone, what a kill leaves behind."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from convert.calibration import Calibration
from convert.conversion import Artifact, Precision, Target
from convert.interface import TensorMap
from convert.proofs.verification import OutputAgreement
from convert.sources.inspection import ModelFile, TensorInfo
from convert.steps import Step
from harness.conversion.conversion_files import ConversionFolder, file_stem
from harness.conversion.conversions import Made
from harness.conversion.wanted import ConversionOptions, Wanted
from harness.errors import ConversionFailed, UsageError
from tests.convert.models import info

OPTIONS = ConversionOptions()
TFLITE = Wanted("tflite", "fp32")
ONNX = Wanted("onnxruntime", "fp32")


def made(
    folder: Path, wanted: Wanted, content: bytes = b"model", data: dict[str, bytes] | None = None
) -> Made:
    """An artifact of one input and output, its files in `folder`."""
    folder.mkdir(exist_ok=True)
    main = "model.tflite" if wanted.target == "tflite" else "model.onnx"
    files = []
    for name, held in {main: content, **(data or {})}.items():
        path = folder / hashlib.sha256(name.encode()).hexdigest()[:8]
        path = path.with_suffix(Path(name).suffix)
        path.write_bytes(held)
        files.append(ModelFile(name, path, hashlib.sha256(held).hexdigest(), len(held)))
    source = replace(
        info(("x", [1, 4], "float32")),
        outputs=(TensorInfo("y", (), (1, 2), "float32"),),
        files=(ModelFile("net.onnx", Path("net.onnx"), "a" * 64, 7),),
    )
    artifact = Artifact(
        files=tuple(files),
        info=source,
        sha256=files[0].sha256,
        bytes=sum(file.bytes for file in files),
        target=wanted.target,
        precision=wanted.precision,
        converter="a tool 1.0",
        steps=(
            Step("onnx", "1.20", 0.5, 1000, "the file as it is"),
            Step("onnxruntime", "1.31", 0.2, 4000, "verification"),
        ),
        agreement=(OutputAgreement("y", 0.9999, 1e-6, 120.0, 1.0),),
        calibration=None,
        warnings=("a warning",),
        from_cache=False,
        inputs=(TensorMap("x", "x", (1, 0)),),
        outputs=(TensorMap("y", "y"),),
    )
    return Made(wanted, artifact, source, {"x": (1, 4)}, None, None, 1.25)


def keep(folder: Path, one: Made, model: str = "net", key: str = "key") -> dict[str, object]:
    return ConversionFolder(folder).keep(model, one, OPTIONS, key)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_artifact_is_copied_by_target_model_and_precision_and_recorded(tmp_path: Path) -> None:
    keep(tmp_path / "out", made(tmp_path / "cache", TFLITE))
    assert files_in(tmp_path / "out") == ["conversion.json", "tflite/net-fp32.tflite"]
    assert (tmp_path / "out/tflite/net-fp32.tflite").read_bytes() == b"model"
    content = json.loads((tmp_path / "out/conversion.json").read_text())
    sha256 = hashlib.sha256(b"model").hexdigest()
    assert content["format_version"] == 1
    assert content["sources"] == [
        {
            "model": "net",
            "kind": "onnx",
            "name": "model.onnx",
            "sha256": "0" * 64,
            "files": [{"name": "net.onnx", "bytes": 7, "sha256": "a" * 64}],
            "opset": 17,
            "parameters": 0,
            "precision": "fp32",
            "inputs": [{"name": "x", "shape": [1, 4], "dtype": "float32", "quantization": None}],
            "outputs": [{"name": "y", "shape": [1, 2], "dtype": "float32", "quantization": None}],
        }
    ]
    (record,) = content["artifacts"]
    assert record["files"] == [{"path": "tflite/net-fp32.tflite", "bytes": 5, "sha256": sha256}]
    expected = {
        "model": "net", "source": "0" * 64, "target": "tflite", "precision": "fp32", "io": "float",
        "status": "ok", "failure": None, "path": "tflite/net-fp32.tflite", "sha256": sha256, "bytes": 5,
        "converter": "a tool 1.0", "warnings": ["a warning"], "from_cache": False, "seconds": 1.25,
        "peak_memory_bytes": 4000, "calibration": None, "optimization_profile": None, "runtimes": None,
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected
    assert record["inputs"][0]["permutation"] == [1, 0]
    assert record["verification"][0]["cosine"] == 0.9999
    assert record["steps"][0]["tool"] == "onnx"


def test_types_at_the_ends_are_part_of_the_name(tmp_path: Path) -> None:
    keep(tmp_path / "out", made(tmp_path / "cache", Wanted("tflite", "int8", "uint8")))
    assert files_in(tmp_path / "out")[1:] == ["tflite/net-int8-uint8.tflite"]


def test_a_later_command_adds_to_what_is_there_and_replaces_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep(out, made(tmp_path / "a", TFLITE))
    keep(out, made(tmp_path / "b", ONNX))
    keep(out, made(tmp_path / "c", TFLITE, b"another"))
    records = ConversionFolder(out).content()["artifacts"]
    assert [record["target"] for record in records] == ["onnx", "tflite"]
    assert (out / "tflite/net-fp32.tflite").read_bytes() == b"another"


def test_several_models_share_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep(out, made(tmp_path / "a", TFLITE), model="one")
    keep(out, made(tmp_path / "b", TFLITE), model="two")
    content = ConversionFolder(out).content()
    assert [source["model"] for source in content["sources"]] == ["one", "two"]
    assert files_in(out) == ["conversion.json", "tflite/one-fp32.tflite", "tflite/two-fp32.tflite"]


def test_external_data_keep_the_name_the_model_refers_to_apart_from_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep(out, made(tmp_path / "a", ONNX, b"graph", {"model.onnx.data": b"weights"}))
    half = Wanted("onnxruntime", "fp16")
    keep(out, made(tmp_path / "b", half, b"half graph", {"model.onnx.data": b"half"}))
    assert files_in(out) == [
        "conversion.json",
        "onnx/net-fp16/model.onnx.data",
        "onnx/net-fp16/net-fp16.onnx",
        "onnx/net-fp32/model.onnx.data",
        "onnx/net-fp32/net-fp32.onnx",
    ]
    assert (out / "onnx/net-fp32/model.onnx.data").read_bytes() == b"weights"
    assert (out / "onnx/net-fp16/model.onnx.data").read_bytes() == b"half"


@pytest.mark.parametrize("name", ["../weights.bin", "/tmp/weights.bin", "a/../../weights.bin"])
def test_external_data_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConversionFailed, match="outside of its folder"):
        keep(tmp_path / "out", made(tmp_path / "a", ONNX, b"graph", {name: b"weights"}))
    assert files_in(tmp_path / "out") == []


@pytest.mark.parametrize("model", ["../../net", "/etc/net", "..", "a/b", "net\n\x1b[31m", "n" * 400])
def test_whatever_a_model_is_called_its_files_stay_in_the_folder(tmp_path: Path, model: str) -> None:
    keep(tmp_path / "out", made(tmp_path / "a", TFLITE), model=model)
    (place,) = [path for path in files_in(tmp_path / "out") if path != "conversion.json"]
    assert place == f"tflite/{file_stem(model)}-fp32.tflite"
    assert place.isprintable()
    assert files_in(tmp_path) == ["a/" + path.name for path in (tmp_path / "a").iterdir()] + [
        "out/conversion.json",
        f"out/{place}",
    ]


def test_names_that_look_alike_on_disk_stay_apart() -> None:
    assert len({file_stem(name) for name in ("a/b", "a-b", "a b", ".a-b")}) == 4
    assert file_stem("mobilenet_v2-1.0") == "mobilenet_v2-1.0"


def test_a_file_that_was_there_before_is_left_alone(tmp_path: Path) -> None:
    there = tmp_path / "out/tflite/net-fp32.tflite"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"precious")
    with pytest.raises(UsageError, match="bench convert did not make it"):
        ConversionFolder(tmp_path / "out").check("net", [TFLITE])
    with pytest.raises(UsageError, match="bench convert did not make it"):
        keep(tmp_path / "out", made(tmp_path / "a", TFLITE))
    assert there.read_bytes() == b"precious"


def test_an_artifact_that_was_changed_since_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep(out, made(tmp_path / "a", TFLITE))
    (out / "tflite/net-fp32.tflite").write_bytes(b"tuned")
    with pytest.raises(UsageError, match="was changed since"):
        keep(out, made(tmp_path / "b", TFLITE, b"another"))
    ConversionFolder(out).keep_failure("net", TFLITE, ConversionFailed("broken"), 0.5)
    assert (out / "tflite/net-fp32.tflite").read_bytes() == b"tuned"


def test_a_failure_is_recorded_and_what_it_replaces_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep(out, made(tmp_path / "a", TFLITE))
    keep(out, made(tmp_path / "b", ONNX))
    error = ConversionFailed("it does not go", "do this", "no_path")
    ConversionFolder(out).keep_failure("net", TFLITE, error, 0.5)
    assert files_in(out) == ["conversion.json", "onnx/net-fp32.onnx"]
    record = ConversionFolder(out).content()["artifacts"][1]
    assert record == {
        "model": "net",
        "target": "tflite",
        "precision": "fp32",
        "io": "float",
        "status": "failed",
        "failure": {
            "class": "conversion",
            "reason": "no_path",
            "message": "it does not go",
            "remedy": "do this",
        },
        "path": None,
        "seconds": 0.5,
    }


def test_a_kill_while_files_are_put_in_place_costs_only_that_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    keep(out, made(tmp_path / "a", ONNX, b"old", {"w.data": b"old weights"}), key="old")
    move = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target.suffix == ".onnx":
            raise KeyboardInterrupt
        return move(path, target)

    new = made(tmp_path / "b", ONNX, b"new", {"w.data": b"new weights"})
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        keep(out, new, key="new")
    monkeypatch.undo()
    # The data are new and the graph is old: nobody may take that for an artifact.
    (record,) = ConversionFolder(out).content()["artifacts"]
    assert (record["status"], record["failure"]["reason"]) == ("failed", "interrupted")
    assert files_in(out) == ["conversion.json", "onnx/net-fp32/net-fp32.onnx", "onnx/net-fp32/w.data"]
    assert ConversionFolder(out).finished("net", {ONNX: "new"}) == {}
    keep(out, new, key="new")
    assert (out / "onnx/net-fp32/net-fp32.onnx").read_bytes() == b"new"
    assert list(ConversionFolder(out).finished("net", {ONNX: "new"})) == [ONNX]


def test_finished_is_what_was_made_of_the_same_things_and_is_still_whole(tmp_path: Path) -> None:
    folder = ConversionFolder(tmp_path / "out")
    keep(folder.folder, made(tmp_path / "a", TFLITE), key="made from this")
    assert list(folder.finished("net", {TFLITE: "made from this"})) == [TFLITE]
    assert folder.finished("net", {TFLITE: "made from that"}) == {}
    assert folder.finished("other", {TFLITE: "made from this"}) == {}
    assert folder.finished("net", {ONNX: "made from this"}) == {}
    (folder.folder / "tflite/net-fp32.tflite").write_bytes(b"medal")
    assert folder.finished("net", {TFLITE: "made from this"}) == {}


def test_a_disk_that_takes_no_more_leaves_no_half_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_source: Path, target: Path) -> None:
        target.write_bytes(b"mod")
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("harness.conversion.conversion_files.shutil.copyfile", full)
    with pytest.raises(ConversionFailed, match="No space left on device") as raised:
        keep(tmp_path / "out", made(tmp_path / "a", TFLITE))
    assert raised.value.reason == "not_writable"
    assert files_in(tmp_path / "out") == []


def test_tensorrt_gets_its_calibration_and_its_profile(tmp_path: Path) -> None:
    wanted = Wanted("tensorrt", "int8")
    one = made(tmp_path / "a", wanted)
    samples = {"x/0": np.arange(6, dtype=np.float32).reshape(3, 2), "file": np.ones((3, 1), np.int64)}
    open_batch = replace(one.artifact.info, inputs=(TensorInfo("x", (), ("N", 4), "float32"),))
    artifact = replace(
        one.artifact,
        info=open_batch,
        inputs=(TensorMap("x", "x"),),
        calibration=Calibration("photos", 3, "b" * 64, None),
    )
    one = replace(one, artifact=artifact, calibration=samples)
    options = ConversionOptions(dynamic_batch=(16, 1, 4))
    record = ConversionFolder(tmp_path / "out").keep("net", one, options, "key")
    assert record["optimization_profile"] == {"x": {"min": [1, 4], "opt": [4, 4], "max": [16, 4]}}
    assert [file["path"] for file in record["files"]] == [
        "tensorrt/net-int8.onnx",
        "tensorrt/net-int8-calibration.npz",
    ]
    with np.load(tmp_path / "out/tensorrt/net-int8-calibration.npz", allow_pickle=False) as kept:
        assert kept.files == ["x/0", "file"]
        np.testing.assert_array_equal(kept["x/0"], samples["x/0"])
    again = ConversionFolder(tmp_path / "again").keep("net", one, options, "key")
    assert again["files"] == record["files"]


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"format_version": 2, "artifacts": [], "sources": []}', '{"artifacts": [1]}']
)
def test_a_conversion_json_of_someone_else_is_not_touched(tmp_path: Path, text: str) -> None:
    (tmp_path / "conversion.json").write_text(text)
    with pytest.raises(UsageError, match=r"conversion\.json is not one"):
        ConversionFolder(tmp_path).check("net", [TFLITE])
    assert (tmp_path / "conversion.json").read_text() == text


def test_a_conversion_json_that_names_files_elsewhere_does_not_get_them_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep(out, made(tmp_path / "a", TFLITE))
    precious = tmp_path / "precious"
    precious.write_bytes(b"model")
    content = json.loads((out / "conversion.json").read_text())
    content["artifacts"][0]["files"][0]["path"] = "../precious"
    (out / "conversion.json").write_text(json.dumps(content))
    ConversionFolder(out).keep_failure("net", TFLITE, ConversionFailed("broken"), 0.5)
    assert precious.read_bytes() == b"model"


def test_commands_that_write_at_once_lose_no_record(tmp_path: Path) -> None:
    targets = ("tflite", "onnxruntime", "tensorrt", "onnx-optimized")
    wanted = [
        Wanted(cast("Target", target), cast("Precision", precision))
        for target in targets
        for precision in ("fp32", "fp16", "int8", "int8-dynamic")
    ]
    with ThreadPoolExecutor(8) as pool:
        for entry in wanted:
            pool.submit(
                ConversionFolder(tmp_path).keep_failure, "net", entry, ConversionFailed("broken"), 0.5
            )
    assert len(ConversionFolder(tmp_path).content()["artifacts"]) == 16
