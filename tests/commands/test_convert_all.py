"""`bench convert --all` on folders whose models need no toolchain: every model in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.convert.models import DIGITS, INT64, convolution, save, value

pytestmark = pytest.mark.processes

_BENCH = "from harness.commands.cli import main; main()"
_WATCHED = f"""
import sys
started = []
sys.addaudithook(lambda event, _: started.append(event) if event == "subprocess.Popen" else None)
try:
    {_BENCH}
finally:
    print(len(started), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def zoo(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three good models, two of them of one name."""
    monkeypatch.setenv("EDGEBENCH_CACHE_DIR", str(cache))
    monkeypatch.setenv("EDGEBENCH_TOOLCHAINS", str(tmp_path / "toolchains"))
    monkeypatch.chdir(tmp_path)
    zoo = tmp_path / "zoo"
    (zoo / "sub").mkdir(parents=True)
    convolution(zoo / "net.onnx")
    convolution(zoo / "sub/net.onnx", opset=13)
    shutil.copy(DIGITS / "digits.tflite", zoo)
    return zoo


def convert(*arguments: str, code: str = _BENCH) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "convert",
            "--all",
            "zoo",
            "-o",
            "out",
            "--no-compatibility",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def summary() -> dict[str, dict[str, Any]]:
    return {r["model"]: r for r in json.loads(Path("out/conversions.json").read_text())["models"]}


def test_models_of_one_name_do_not_meet_and_nothing_is_done_twice(zoo: Path) -> None:
    done = convert("--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(Path("out/conversions.json").read_text())
    assert list(summary()) == ["digits.tflite", "net.onnx", "sub/net.onnx"]
    one, other = (
        Path("out", name, "onnx/net-fp32.onnx").read_bytes() for name in ("net.onnx", "sub/net.onnx")
    )
    assert one != other
    done = convert(code=_WATCHED)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "0"
    assert done.stderr.count("there already") == 3


def test_a_changed_model_or_option_is_done_again_and_no_other(zoo: Path) -> None:
    convert()
    convolution(zoo / "net.onnx", opset=14)
    done = convert(code=_WATCHED)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "1")
    assert "net.onnx  ok" in done.stderr
    done = convert("--precision", "fp16", code=_WATCHED)
    assert done.stderr.splitlines()[-1] == "3"


def test_a_damaged_model_toml_and_wrong_shapes_cost_one_model_each(zoo: Path) -> None:
    (zoo / "spec").mkdir()
    (zoo / "spec/model.toml").write_text('name = "a"\n[sources]\nonnx = "gone.onnx"\n')
    done = convert("--shape", "x=1,3,8,8")
    assert done.returncode == 3
    found = summary()
    assert {name: record["status"] for name, record in found.items()} == {
        "digits.tflite": "ok", "net.onnx": "ok", "spec/model.toml": "failed", "sub/net.onnx": "ok",
    }  # fmt: skip
    assert "gone.onnx does not exist" in found["spec/model.toml"]["failure"]["message"]


def test_data_that_do_not_fit_are_a_failure_of_the_models_they_do_not_fit(zoo: Path) -> None:
    np.savez("data.npz", image=np.zeros((3, 8, 8, 1), np.float32))
    assert convert("--calibration", "data.npz").returncode == 3
    found = summary()
    assert found["digits.tflite"]["status"] == "ok"
    assert found["net.onnx"]["failure"]["reason"] == "wrong_shape"


def test_the_controllers_own_part_is_under_the_memory_limit_too(zoo: Path) -> None:
    # 800 MB of zeros in a file of 1 MB, which the controller loads before any worker is started.
    np.savez_compressed("data.npz", image=np.zeros((3_000_000, 8, 8, 1), np.float32))
    assert convert("--calibration", "data.npz", "--memory-limit", "400MB").returncode == 3
    failure = summary()["digits.tflite"]["failure"]
    assert (failure["class"], failure["reason"]) == ("conversion", "out_of_memory")
    assert "digits.tflite needs more memory than it may have: bench held" in failure["message"]
    assert "the limit is 400 MB" in failure["message"]


def endless(path: Path) -> None:
    """A loop of a billion rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Sin", ["held"], ["sine"])],
        "body",
        [value("round", [], INT64), value("go", [], TensorProto.BOOL), value("held", [1, 4])],
        [value("go_on", [], TensorProto.BOOL), value("sine", [1, 4])],
    )
    rounds = numpy_helper.from_array(np.array(1_000_000_000), "rounds")
    save(
        path,
        [helper.make_node("Loop", ["rounds", "", "x"], ["y"], body=body)],
        [value("x", [1, 4])],
        [value("y", [1, 4])],
        [rounds],
    )


def test_a_model_that_takes_too_long_is_stopped_and_the_others_go_on(zoo: Path) -> None:
    endless(zoo / "hang.onnx")
    done = convert("--timeout", "6")
    assert done.returncode == 3
    found = summary()
    assert {name: record["status"] for name, record in found.items()} == {
        "digits.tflite": "ok", "hang.onnx": "failed", "net.onnx": "ok", "sub/net.onnx": "ok",
    }  # fmt: skip
    assert found["hang.onnx"]["failure"] == {
        "class": "timeout",
        "reason": "timeout",
        "message": "hang.onnx did not end within 6 s and was stopped",
        "remedy": "Raise --timeout",
    }
    assert 6.0 <= found["hang.onnx"]["seconds"] < 20.0


def test_what_is_no_regular_file_is_no_model_and_hangs_nobody(zoo: Path) -> None:
    os.mkfifo(zoo / "pipe.onnx")
    assert convert().returncode == 3
    assert "pipe.onnx" in summary()["pipe.onnx"]["failure"]["message"]


def test_ctrl_c_keeps_what_is_done_and_the_next_command_goes_on(zoo: Path) -> None:
    command = ["convert", "--all", "zoo", "-o", "out", "--no-compatibility"]
    process = subprocess.Popen(
        [sys.executable, "-c", _BENCH, *command],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "digits.tflite  ok" in line:
            process.send_signal(signal.SIGINT)
            break
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert summary()["digits.tflite"]["status"] == "ok"
    done = convert(code=_WATCHED)
    assert done.returncode == 0
    assert "digits.tflite  there already" in done.stderr
