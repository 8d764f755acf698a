"""`bench run --device jetson-nano` on a stand-in Nano: over real SSH, Python 3.6, TensorRT's API of 8.2."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import version_converter

from tests.end_to_end.boards import write_ssh_board
from tests.end_to_end.stand_in_nano import StandInNano
from tests.end_to_end.test_ssh_run import python_of
from tests.end_to_end.workplace import Workplace, record_of
from tests.openssh import OpenSshServer

pytestmark = pytest.mark.e2e

DIGITS = Path(__file__).resolve().parents[2] / "profiles" / "models" / "digits"
RUN = ("run", "--device", "jetson-nano", "--model", "net.toml", "--runtime", "tensorrt")


@pytest.fixture(scope="module")
def nano(ssh_server: OpenSshServer) -> Iterator[StandInNano]:
    """The board, owned by the account that logs in."""
    # pytest's own folders are root's alone.
    folder = Path(tempfile.mkdtemp(prefix="edgebench-nano-"))
    folder.chmod(0o755)
    made = StandInNano(folder / "nano", python_of("3.6"))
    made.give_to(ssh_server.user)
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, shared_cache: Path, nano: StandInNano, ssh_server: OpenSshServer
) -> Workplace:
    """An inventory with the board, and a model that was exported at opset 17."""
    workplace = Workplace(tmp_path_factory.mktemp("nano"), shared_cache)
    write_ssh_board(workplace, "nano-01", ssh_server, profile="jetson-nano", python=nano.python)
    write_model(workplace)
    return workplace


def write_model(workplace: Workplace, scale: float = 1.0) -> None:
    model = onnx.load(DIGITS / "digits.onnx")
    if scale != 1.0:
        weights = model.graph.initializer[0]
        weights.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * scale, weights.name)
        )
    onnx.save(version_converter.convert_version(model, 17), workplace.folder / "net.onnx")
    (workplace.folder / "net.toml").write_text(
        "name = 'net'\n"
        f"dataset = '{DIGITS / 'evaluation.npz'}'\n"
        f"calibration = '{DIGITS / 'calibration.npz'}'\n"
        "[sources]\nonnx = 'net.onnx'\n"
    )


def measured(workplace: Workplace, out: str, *more: str) -> dict[str, Any]:
    done = workplace.bench(*RUN, "--measurement", "quick", "--out", out, *more)
    assert done.status == 0, done.err + done.out
    return workplace.results(out)


@pytest.fixture(scope="module")
def first(place: Workplace) -> dict[str, Any]:
    """The first run on the board, all precisions."""
    return measured(place, "first", "--performance-mode", "max", "--via", "trtexec")


def test_fp16_is_built_by_flag_from_the_fp32_graph_at_opset_13(first: dict[str, Any]) -> None:
    record = record_of(first, "tensorrt", "fp16")
    assert record["status"] == "ok"
    assert record["options"]["precision_by"] == "flag"
    assert "opset 17 to 13" in [step["detail"] for step in record["artifact"]["steps"]]
    assert record["artifact"]["sha256"] == record_of(first, "tensorrt", "fp32")["artifact"]["sha256"]
    assert record["engine"]["layer_precisions"]["fp16"] > 0
    assert not record["engine"]["reused"]
    assert record["build_s"] > 0


def test_its_outputs_are_right_and_its_accuracy_is_the_models(first: dict[str, Any]) -> None:
    for precision in ("fp32", "fp16"):
        record = record_of(first, "tensorrt", precision)
        assert record["accuracy"]["n"] == 450
        assert record["accuracy"]["value"] > 0.97
        assert "wrong_output" not in record["reasons"], record["doubts"]


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_what_the_gpu_cannot_do_is_unsupported_with_its_reason(first: dict[str, Any], precision: str) -> None:
    record = record_of(first, "tensorrt", precision)
    assert (record["status"], record["failure"]["reason"]) == ("unsupported", "precision_unsupported")
    expected = "compute capability 5.3" if precision == "int8" else "has no int8-dynamic"
    assert expected in record["failure"]["message"]


def test_the_board_is_known_by_its_own_words(first: dict[str, Any]) -> None:
    facts = record_of(first, "tensorrt", "fp32")["facts"]
    assert facts["board"].startswith("NVIDIA Jetson Nano")
    assert facts["python"].startswith("3.6.")
    assert facts["runtime_version"] == "8.2.1.8"
    assert facts["jetpack"].startswith("4.6")


def test_performance_mode_was_reached_and_the_board_is_as_it_was(
    first: dict[str, Any], nano: StandInNano
) -> None:
    mode = record_of(first, "tensorrt", "fp16")["performance_mode"]
    assert (mode["mode"], mode["reached"], mode["restored"], mode["problems"]) == ("max", True, True, [])
    governor = Path(nano.root) / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    assert governor.read_text().strip() == "schedutil"


def test_trtexec_measured_the_same_engine(first: dict[str, Any]) -> None:
    check = record_of(first, "tensorrt", "fp16")["cross_check"]
    assert (check["tool"], check["iterations"] > 0) == ("trtexec", True), check


def test_the_rails_tell_the_power(first: dict[str, Any]) -> None:
    """The stand-in's rails are constant, so the mean is exact where the loop was long enough to tell."""
    record = record_of(first, "tensorrt", "fp16")
    assert set(record["telemetry"]["rails_w"]) in (set(), {"POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"})
    assert record["telemetry"]["power_modes"] != []


def reused(results: dict[str, Any]) -> dict[str, bool]:
    return {
        record["case"]["precision"]: record["engine"]["reused"]
        for record in results["records"]
        if record["engine"] is not None
    }


def test_engines_are_reused_until_what_they_were_built_from_changes(
    first: dict[str, Any], place: Workplace, nano: StandInNano
) -> None:
    only = ("--precision", "fp16")
    assert reused(measured(place, "second", *only)) == {"fp16": True}
    assert reused(measured(place, "other-flags", *only, "--workspace", "64")) == {"fp16": False}
    write_model(place, scale=1.001)
    assert reused(measured(place, "other-model", *only)) == {"fp16": False}
    assert reused(measured(place, "other-model-again", *only)) == {"fp16": True}
    nano.change(STANDIN_TENSORRT="8.0.1.6")
    try:
        assert reused(measured(place, "other-version", *only)) == {"fp16": False}
    finally:
        nano.change(STANDIN_TENSORRT="8.2.1.8")


def test_an_operator_the_parser_lacks_is_named_and_the_board_goes_on(
    place: Workplace, nano: StandInNano
) -> None:
    nano.change(STANDIN_UNSUPPORTED="ReduceMean")
    try:
        write_model(place, scale=1.002)
        done = place.bench(*RUN, "--precision", "fp32", "--measurement", "quick", "--out", "refused")
    finally:
        nano.change(STANDIN_UNSUPPORTED="")
    assert done.status == 3, done.err
    failure = record_of(place.results("refused"), "tensorrt", "fp32")["failure"]
    assert (failure["class"], failure["reason"]) == ("build", "unsupported_operator")
    assert "ReduceMean" in failure["message"]


def test_a_board_with_little_memory_gets_a_smaller_workspace(place: Workplace, nano: StandInNano) -> None:
    nano.change(STANDIN_MAX_WORKSPACE=str(32 << 20))
    try:
        write_model(place, scale=1.003)
        results = measured(place, "small", "--precision", "fp16")
    finally:
        nano.change(STANDIN_MAX_WORKSPACE="")
    engine = record_of(results, "tensorrt", "fp16")["engine"]
    assert engine["workspace_bytes"] <= 32 << 20, json.dumps(engine)
    assert engine["failed_attempts"] != []
