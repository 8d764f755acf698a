"""`bench convert` on models that need no toolchain: real converters, real runtimes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.processes.toolchain import toolchain_key
from harness.commands.cli import exit_code
from harness.conversion.conversions import Made, ModelConversion
from harness.conversion.wanted import Wanted
from tests.convert.models import DIGITS, convolution, save, value, weights

#: What the second time must not load: runtimes, converters, and what other commands need.
HEAVY = (
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "ai_edge_quantizer",
    "onnxslim",
    "pandas",
    "sqlalchemy",
    "paramiko",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, a cache of the module's own, and no toolchains."""
    monkeypatch.setenv("EDGEBENCH_CACHE_DIR", str(cache))
    monkeypatch.setenv("EDGEBENCH_TOOLCHAINS", str(tmp_path / "toolchains"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Said:
    """How a command ended and what it said."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.out)
        return content

    @property
    def artifacts(self) -> list[dict[str, Any]]:
        artifacts: list[dict[str, Any]] = self.content["artifacts"]
        return artifacts


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str | Path) -> Said:
        status = exit_code([str(word) for word in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(status, said.out, said.err)

    return run


def convert(bench: Any, *arguments: str | Path) -> Said:
    said: Said = bench("convert", "--no-compatibility", "-o", "out", *arguments)
    return said


@pytest.mark.processes
def test_every_target_and_precision_is_made_verified_and_described(bench: Any, place: Path) -> None:
    said = convert(
        bench, DIGITS / "digits.onnx", "--to", "onnx,tensorrt", "--precision", "fp32,int8-dynamic", "--json"
    )
    assert said.status == 3
    made = {(a["target"], a["precision"]): a for a in said.artifacts}
    assert made["tensorrt", "int8-dynamic"]["failure"]["reason"] == "no_path"
    assert [a["path"] for a in said.artifacts] == [
        "onnx/digits-fp32.onnx", "onnx/digits-int8-dynamic.onnx", "tensorrt/digits-fp32.onnx", None,
    ]  # fmt: skip
    assert said.content == json.loads((place / "out/conversion.json").read_text())
    for artifact in said.artifacts[:3]:
        assert artifact["bytes"] == (place / "out" / artifact["path"]).stat().st_size
        assert artifact["verification"][0]["cosine"] > 0.999
        assert artifact["peak_memory_bytes"] > 10_000_000
    assert made["tensorrt", "fp32"]["optimization_profile"] == {
        "image": {"min": [1, 8, 8, 1], "opt": [1, 8, 8, 1], "max": [1, 8, 8, 1]}
    }


@pytest.mark.processes
def test_the_table_shows_what_was_made_and_the_remedy_for_what_was_not(bench: Any) -> None:
    said = convert(bench, DIGITS / "digits.tflite", "--precision", "fp32,int8", "--io", "uint8")
    assert said.status == 3
    rows = {line.split()[2]: line for line in said.out.splitlines() if line.startswith("digits ")}
    assert "1.77 MiB  1.00000" in rows["fp32"]
    assert "failed: calibration_required" in rows["int8"]
    assert "remedy: Give typical inputs with --calibration (100 or more)" in said.out
    assert "In out, described in out/conversion.json" in said.out


@pytest.mark.processes
def test_int8_on_noise_is_made_when_asked_for_and_says_so(bench: Any, place: Path) -> None:
    said = convert(
        bench, DIGITS / "digits.tflite", "--precision", "int8", "--io", "uint8", "--allow-random-calibration",
        "--json",
    )  # fmt: skip
    assert said.status == 0
    (artifact,) = said.artifacts
    assert artifact["path"] == "tflite/digits-int8-uint8.tflite"
    assert artifact["calibration"] == {"source": None, "samples": 32, "sha256": None, "seed": 0}
    assert "calibrated on random numbers" in artifact["warnings"][0]
    assert [tensor["dtype"] for tensor in (*artifact["inputs"], *artifact["outputs"])] == ["uint8", "uint8"]
    assert artifact["inputs"][0]["quantization"]["scale"] > 0


@pytest.mark.processes
def test_int8_on_data_records_them_and_tensorrt_gets_them(bench: Any, place: Path) -> None:
    random = np.random.RandomState(0)
    np.savez(place / "data.npz", image=random.rand(7, 8, 8, 1).astype(np.float32))
    said = convert(
        bench, DIGITS / "digits.onnx", "--to", "tensorrt", "--precision", "int8", "--calibration", "data.npz",
        "--dynamic-batch", "1,4,16", "--json",
    )  # fmt: skip
    assert said.status == 0, said.err
    (artifact,) = said.artifacts
    assert (artifact["calibration"]["source"], artifact["calibration"]["samples"]) == ("data.npz", 7)
    assert "calibrated on 7 samples of data.npz" in artifact["warnings"][0]
    assert [file["path"] for file in artifact["files"]] == [
        "tensorrt/digits-int8.onnx", "tensorrt/digits-int8-calibration.npz",
    ]  # fmt: skip
    with np.load(place / "out/tensorrt/digits-int8-calibration.npz") as kept:
        assert kept["image"].shape == (7, 1, 8, 8, 1)
    assert artifact["optimization_profile"]["image"] == {
        "min": [1, 8, 8, 1], "opt": [4, 8, 8, 1], "max": [16, 8, 8, 1],
    }  # fmt: skip


_SECOND_TIME = f"""
import sys
started = []
watched = ("subprocess.Popen", "os.fork", "os.posix_spawn")
sys.addaudithook(lambda event, _: started.append(event) if event in watched else None)
from harness.commands.cli import exit_code
status = exit_code(sys.argv[1:])
loaded = sorted({{name.split(".")[0] for name in sys.modules}} & set({HEAVY}))
print(status, started, loaded, file=sys.stderr)
"""


@pytest.mark.processes
def test_the_second_time_nothing_is_started_loaded_or_written(bench: Any, place: Path) -> None:
    arguments = ["digits", "--precision", "fp32,fp16", "--to", "onnx,tflite"]
    assert convert(bench, *arguments).status == 0
    before = {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*")}
    command = ["convert", "--no-compatibility", "-o", "out", *arguments]
    done = subprocess.run(
        [sys.executable, "-c", _SECOND_TIME, *command], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.splitlines()[-1] == "0 [] []"
    assert "4 of 4 artifacts there already" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*")} == before


@pytest.mark.processes
def test_only_what_is_missing_is_made_the_second_time(bench: Any, place: Path) -> None:
    assert convert(bench, "digits", "--to", "onnx").status == 0
    said = convert(bench, "digits", "--to", "onnx", "--precision", "fp32,fp16")
    assert said.status == 0
    assert "1 of 2 artifacts there already" in said.out
    assert "1/1 digits · onnx · fp16" in said.err
    (place / "out/onnx/digits-fp32.onnx").unlink()
    said = convert(bench, "digits", "--to", "onnx", "--precision", "fp32,fp16")
    assert "1/1 digits · onnx · fp32" in said.err
    assert (place / "out/onnx/digits-fp32.onnx").is_file()


@pytest.mark.processes
def test_another_folder_gets_the_artifact_from_the_cache(bench: Any) -> None:
    first = convert(bench, "digits", "--to", "onnx", "--json")
    again = bench("convert", "digits", "--to", "onnx", "--no-compatibility", "-o", "other", "--json")
    assert again.artifacts[0]["from_cache"] is True
    assert again.artifacts[0]["sha256"] == first.artifacts[0]["sha256"]


@pytest.mark.processes
def test_ctrl_c_keeps_what_is_done(bench: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = ModelConversion.make

    def interrupted(conversion: ModelConversion, wanted: Wanted) -> Made:
        if wanted.precision == "fp16":
            raise KeyboardInterrupt
        return make(conversion, wanted)

    monkeypatch.setattr(ModelConversion, "make", interrupted)
    said = convert(bench, "digits", "--to", "onnx", "--precision", "fp32,fp16,int8-dynamic")
    assert said.status == 130
    monkeypatch.undo()
    content = json.loads((place / "out/conversion.json").read_text())
    assert [(a["precision"], a["status"]) for a in content["artifacts"]] == [("fp32", "ok")]


@pytest.mark.processes
def test_a_model_that_cannot_be_read_fails_for_every_artifact_with_its_reason(
    bench: Any, place: Path
) -> None:
    (place / "cut.tflite").write_bytes((DIGITS / "digits.tflite").read_bytes()[:5000])
    said = convert(bench, "cut.tflite", "--precision", "fp32,fp16", "--json")
    assert said.status == 3
    failures = [artifact["failure"] for artifact in said.artifacts]
    assert [(f["class"], f["reason"]) for f in failures] == [("model", "invalid_model")] * 2
    assert "cut.tflite (5000 bytes) is not a usable TFLite model" in failures[0]["message"]
    assert said.content["sources"] == []


@pytest.mark.processes
def test_a_custom_operator_is_named(bench: Any, place: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("Landmarks", ["x"], ["y"], domain="my.domain")]
    save(place / "net.onnx", nodes, [value("x", [1, 4])], [value("y", [1, 4])], domains=("my.domain",))
    said = convert(bench, "net.onnx")
    assert said.status == 3
    assert "operator 'Landmarks' of domain 'my.domain'" in said.out


@pytest.mark.processes
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "4"], "cannot run with batch size 4: its inputs are fixed at 'x' (1, 3, 8, 8)"),
        (["--dynamic-batch", "1,4"], "cannot run with batch size 4"),
    ],
)
def test_a_batch_size_that_the_model_cannot_take_is_told(
    bench: Any, place: Path, options: list[str], message: str
) -> None:
    convolution(place / "fixed.onnx", batch=1)
    said = convert(bench, "fixed.onnx", *options)
    assert said.status == 3
    assert "failed: batch_fixed" in said.out
    assert message in said.out


@pytest.mark.processes
def test_shapes_that_are_left_open_are_asked_for_with_an_example(bench: Any, place: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    save(
        place / "net.onnx",
        nodes,
        [value("x", ["rows", "columns", 4])],
        [value("y", ["rows", "columns", 2])],
        [weights("w", 4, 2)],
    )
    said = convert(bench, "net.onnx", "--json")
    assert said.status == 2
    assert said.content["failure"]["reason"] == "shape_needed"
    assert "--shape x=" in said.content["failure"]["remedy"]
    assert not (place / "out/onnx").exists()
    said = convert(bench, "net.onnx", "--shape", "x=1,5,4", "--json")
    assert said.status == 0, said.err
    assert said.artifacts[0]["options"]["shapes"] == {"x": [1, 5, 4]}


@pytest.mark.processes
def test_a_process_that_needs_more_than_its_memory_limit_is_a_named_failure(bench: Any, place: Path) -> None:
    said = convert(bench, DIGITS / "digits.onnx", "--opset", "17", "--memory-limit", "20MB", "--json")
    assert said.status == 3
    failure = said.artifacts[0]["failure"]
    assert failure["reason"] == "out_of_memory"
    assert "the limit is 20 MB" in failure["message"]
    assert "--memory-limit" in failure["remedy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out"], "MODEL is missing"),
        (["digits"], "-o DIR is missing"),
        (["nowhere.onnx", "-o", "out"], "no such file"),
        (["digits", "-o", "out", "--to", "coreml"], "--to coreml"),
        (["digits", "-o", "out", "--precision", "fp8"], "--precision fp8"),
        (["digits", "-o", "out", "--io", "int8"], "only int8 TFLite models have a choice"),
        (["digits", "-o", "out", "--batch", "2", "--dynamic-batch", "1,2"], "contradict"),
        (["digits", "-o", "out", "--shape", "image"], "not of the form"),
        (["digits", "-o", "out", "--memory-limit", "lots"], "not a size"),
        (["digits", "-o", "out", "--calibration", "nowhere"], "--calibration nowhere"),
        (["digits", "-o", "out", "--python", "nowhere"], "--python nowhere"),
        (["net:make", "-o", "out", "--factory", "net:make", "--weights", "w.pth"], "contradict"),
        (["w.pth", "-o", "out", "--factory", "net:make"], "w.pth does not exist"),
        (["--all", "nowhere", "-o", "out"], "--all nowhere: it does not exist"),
        (["--all", ".", "-o", "out"], "there is no model in it"),
        (["--all", ".", "-o", "out", "--factory", "net:make"], "it is for one model"),
        (["--prepare", "nonsense"], "there is no such toolchain"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_told_in_one_message_before_any_work(
    bench: Any, place: Path, arguments: list[str], message: str
) -> None:
    said = bench("convert", *arguments)
    assert said.status == 2
    assert message in " ".join(said.err.split())
    assert not (place / "out").exists()


def test_with_json_a_wrong_command_line_is_json_too(bench: Any) -> None:
    said = bench("convert", "nowhere.onnx", "-o", "out", "--json")
    assert said.status == 2
    assert said.content["failure"]["class"] == "usage"
    assert said.content["artifacts"] == []


def test_a_folder_that_is_a_file_is_refused(bench: Any, place: Path) -> None:
    (place / "out").write_text("a file")
    said = convert(bench, "digits")
    assert said.status == 2
    assert "-o out: " in said.err


def test_toolchains_that_are_there_are_not_made_again(bench: Any, place: Path) -> None:
    folder = place / "toolchains" / toolchain_key("tflite-runtime")
    (folder / "env-a/bin").mkdir(parents=True)
    (folder / "env-a/bin/python").touch()
    (folder / "complete").write_text("env-a")
    said = bench("convert", "--prepare", "tflite-runtime")
    assert said.status == 0
    assert said.out == "tflite-runtime (running TFLite as older boards do): ready\n"


def test_toolchains_of_other_versions_go_when_asked_to(bench: Any, place: Path) -> None:
    kept, old = toolchain_key("tflite-runtime"), "tflite-runtime-0123456789ab"
    for name in (kept, old):
        (place / "toolchains" / name / "env-a/bin").mkdir(parents=True)
        (place / "toolchains" / name / "env-a/bin/python").touch()
        (place / "toolchains" / name / "complete").write_text("env-a")
    bench("convert", "--prepare", "tflite-runtime")
    assert (place / "toolchains" / old).is_dir()
    said = bench("convert", "--prepare", "tflite-runtime", "--prune")
    assert f"removed {old}, which this version does not use" in said.err
    assert [(place / "toolchains" / name).is_dir() for name in (kept, old)] == [True, False]


def test_the_help_has_an_example(bench: Any) -> None:
    said = bench("convert", "--help")
    assert said.status == 0
    assert "bench convert model.onnx --to tflite,onnx" in " ".join(said.out.split())
