"""The agent's builder on a real TensorRT: TensorRT-RTX builds without a GPU and has the API of 11."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from convert.converters.to_tensorrt import ONNX_TO_TENSORRT
from convert.processes.toolchain import find_toolchain
from tests.convert.conftest import toolchains_home
from tests.convert.models import save, value
from tests.convert.onnx_jobs import SAMPLES, made, network

pytestmark = pytest.mark.processes

CHILD = Path(__file__).with_name("rtx_child.py")

Build = Callable[..., dict[str, Any]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Call it with a model and what is wanted of it; the answer is the child's."""
    python = find_toolchain("tensorrt-parser", toolchains_home())
    if python is None:
        pytest.skip("not made by tests/toolchains.sh: tensorrt-parser")

    def call(model: Path, precision: str = "fp32", batch: int = 1, **options: str) -> dict[str, Any]:
        asked = {
            "model": str(model),
            "inputs": [["x", [batch, 3, 8, 8], "float32"]],
            "precision": precision,
            "options": options,
            "folder": str(tmp_path),
        }
        done = subprocess.run(
            [str(python), str(CHILD), json.dumps(asked)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return call


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual network, open along its batch axis."""
    return network(tmp_path_factory.mktemp("source") / "network.onnx")


def test_what_this_tensorrt_can_do_is_told_by_what_it_has(build: Build, source: Path) -> None:
    assert build(source)["able"] == {
        "explicit_batch": "gone",
        "precision_by": "graph",
        "strongly_typed": "yes",
        "fp16": "fast",
        "int8": "fast",
        "calibrator": "no",
        "inspector": "yes",
        "dla_cores": "0",
        "max_opset": "20",
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_converted_files_of_every_precision_become_engines_for_a_range_of_batches(
    build: Build, source: Path, tmp_path: Path, precision: str
) -> None:
    way = ONNX_TO_TENSORRT[precision][0]
    artifact = made(way, source, tmp_path / "made", SAMPLES if way.needs_calibration else None).output
    answer = build(artifact, precision, batch=4, batch_profile="1,4,8", optimization_level="1")
    assert answer["bytes"] > 4096
    assert answer["details"]["profile"] == "x 1x3x8x8 to 4x3x8x8 to 8x3x8x8"
    assert int(answer["details"]["parsed_layers"]) >= 7


def test_fp32_is_not_tf32_unless_that_is_allowed(build: Build, source: Path) -> None:
    assert build(source)["details"]["flags"] == ""
    assert build(source, tf32="yes")["details"]["flags"] == "TF32"


def test_what_tensorrt_11_has_lost_is_refused_in_words(build: Build, source: Path) -> None:
    by_flag = build(source, "fp16", precision_by="flag")
    calibrated = build(source, "int8", precision_by="calibrator")
    assert (by_flag["reason"], calibrated["reason"]) == ("precision_unsupported", "precision_unsupported")
    assert "has no flag for fp16 any more" in by_flag["message"]
    assert "has no int8 calibrator any more" in calibrated["message"]


def test_a_file_that_was_cut_is_refused_in_the_parsers_words(
    build: Build, source: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(source.read_bytes()[:-100])
    answer = build(cut)
    assert answer["reason"] == "invalid_model"
    assert "its parser does not take cut.onnx: " in answer["message"]
    assert not answer["message"].endswith("it does not say why")


def test_an_operator_that_nobody_knows_is_named(build: Build, tmp_path: Path) -> None:
    node = helper.make_node("Wobble", ["x"], ["y"], name="strange", domain="acme")
    ends = [value("x", [1, 3, 8, 8])], [value("y", [1, 3, 8, 8])]
    answer = build(save(tmp_path / "model.onnx", [node], *ends, domains=("acme",)))
    assert answer["reason"] == "unsupported_operator"
    assert "Wobble" in answer["message"]


def test_a_batch_outside_of_the_profile_is_refused(build: Build, source: Path) -> None:
    answer = build(source, batch=9, batch_profile="1,4,8")
    assert answer["reason"] == "shape_out_of_range"


def test_a_file_of_timings_that_is_none_is_begun_anew(build: Build, source: Path, tmp_path: Path) -> None:
    assert build(source)["details"]["timing_cache"] == "new"
    (cache,) = (tmp_path / "timing").iterdir()
    cache.write_bytes(b"no cache at all")
    assert build(source)["details"]["timing_cache"] == "new"
    assert cache.read_bytes() != b"no cache at all"
