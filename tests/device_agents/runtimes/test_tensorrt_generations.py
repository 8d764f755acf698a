"""TensorRT from 8.0 to 11 through the agent's own processes, on stand-ins that lack what each lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.converters.to_tensorrt import ONNX_TO_TENSORRT
from device_agents.protocol import (
    BuildAttemptFailed,
    EngineBuilt,
    JobEnded,
    RuntimeLoaded,
    SamplesTaken,
    TensorSpec,
)
from tests.convert.models import convolution
from tests.convert.onnx_jobs import SAMPLES, made, network, outputs
from tests.device_agents.board_trees import agent_python
from tests.device_agents.runtimes.standin_gpu import GENERATIONS, StandInGpu
from tests.standins.placing import has_compiler

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not has_compiler(), reason="no cc to make the CUDA stand-in with"),
]

Gpu = Callable[..., StandInGpu]

MIB = 1 << 20
EXAMPLES = SAMPLES["x"][:3]


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """Call it with a version of TensorRT and of the GPU; the Python is that generation's."""

    def call(version: str, compute_capability: str = "8.7", **variables: str) -> StandInGpu:
        python = agent_python(GENERATIONS[version])
        if python is None:
            pytest.skip(f"tests/agent_pythons.sh made no Python {GENERATIONS[version]}")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        board = StandInGpu(tmp_path / "board", python, monkeypatch)
        board.set(TENSORRT=version, GPU_CC=compute_capability, **variables)
        return board

    return call


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual network, open along its batch axis."""
    return network(tmp_path_factory.mktemp("source") / "network.onnx", opset=13)


@pytest.fixture(scope="module")
def quantised(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a graph of Q/DQ pairs."""
    return made(
        ONNX_TO_TENSORRT["int8"][0], source, tmp_path_factory.mktemp("int8"), SAMPLES, opset=13
    ).output


def only(events: list[Any], kind: type) -> Any:
    (found,) = (event for event in events if isinstance(event, kind))
    return found


# --- every generation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", GENERATIONS)
def test_a_job_builds_its_engine_measures_it_and_gets_the_outputs_of_onnxruntime(
    gpu: Gpu, source: Path, version: str
) -> None:
    board = gpu(version)
    checks = board.dataset("checks.npz", EXAMPLES)
    events = board.run(board.job(source, check_inputs=checks, options={"batch_profile": "1,2,4"}))
    assert only(events, JobEnded).outcome == "ok", events[-1]
    built = only(events, EngineBuilt)
    assert (built.reused, built.workspace_bytes) == (False, 256 * MIB)
    assert built.details["profile"] == "x 1x3x8x8 to 2x3x8x8 to 4x3x8x8"
    assert set(built.layer_precisions) == ({"fp32"} if TOLD[version][4] == "yes" else set())
    assert only(events, RuntimeLoaded).details["api"] == (
        "bindings" if version < "8.5" and version[0] == "8" else "tensors"
    )
    assert only(events, SamplesTaken).gpu_bytes > built.bytes
    found = board.result("job-1", "check-0.npz")["array_0"]
    np.testing.assert_allclose(found, outputs(source, {"x": EXAMPLES})["scores"], rtol=1e-5, atol=1e-6)


#: What the host is told of a Xavier NX, an Orin and a Thor by the TensorRT of their JetPacks.
TOLD = {
    "8.0.1.6": ("required", "flag", "no", "yes", "no", "13"),
    "8.2.1.8": ("required", "flag", "no", "yes", "yes", "13"),
    "8.5.2.2": ("required", "flag", "no", "yes", "yes", "17"),
    "8.6.1.6": ("required", "flag", "no", "yes", "yes", "17"),
    "10.3.0.30": ("accepted", "flag", "yes", "yes", "yes", "20"),
    "10.13.0.35": ("accepted", "flag", "yes", "yes", "yes", "20"),
    "11.4.1.1": ("gone", "graph", "yes", "no", "yes", "20"),
}


@pytest.mark.parametrize("version", GENERATIONS)
def test_the_proof_runs_a_model_and_tells_the_host_what_to_send(gpu: Gpu, version: str) -> None:
    status = gpu(version, DLA_CORES="2").prove()
    assert status.available, status.reason
    assert (status.version, status.package) == (version, "tensorrt")
    asked = ("explicit_batch", "precision_by", "strongly_typed", "calibrator", "inspector", "max_opset")
    assert tuple(status.details[name] for name in asked) == TOLD[version]
    assert (status.details["fp16"], status.details["int8"], status.details["dla_cores"]) == (
        "fast",
        "fast",
        "2",
    )
    assert status.details["compute_capability"] == "8.7"


@pytest.mark.parametrize("version", GENERATIONS)
def test_a_quantised_graph_runs_in_int8_with_the_flag_or_without_one(
    gpu: Gpu, quantised: Path, version: str
) -> None:
    board = gpu(version)
    wanted = board.job(quantised, precision="int8")
    board.take(wanted)
    built = board.build(wanted)
    assert isinstance(built, EngineBuilt), built
    typed = TOLD[version][2] == "yes"
    assert ("INT8" in built.details["flags"].split(",")) is not typed
    assert built.layer_precisions.get("int8", 0) >= 2 or TOLD[version][4] == "no"


# --- fp16 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "by"), [("8.2.1.8", "flag"), ("10.3.0.30", "flag"), ("11.4.1.1", "graph")]
)
def test_fp16_comes_from_the_flag_as_long_as_there_is_one_and_then_from_the_graph(
    gpu: Gpu, source: Path, tmp_path: Path, version: str, by: str
) -> None:
    board = gpu(version)
    half = made(ONNX_TO_TENSORRT["fp16"][0], source, tmp_path / "fp16", opset=13).output
    wanted = board.job(source if by == "flag" else half, precision="fp16")
    board.take(wanted)
    built = board.build(wanted)
    assert isinstance(built, EngineBuilt), built
    assert built.details["precision_by"] == by
    assert ("FP16" in built.details["flags"]) is (by == "flag")
    assert built.layer_precisions["fp16"] >= 2
    assert built.warnings == []


def test_an_engine_without_a_single_layer_in_its_precision_is_doubted(gpu: Gpu, source: Path) -> None:
    names = ",".join(f"node_of_{output}" for output in ("c1", "c2", "sum", "pooled", "flat", "scores"))
    board = gpu("8.5.2.2", KEEPS_FP32=names)
    wanted = board.job(source, precision="fp16")
    board.take(wanted)
    built = board.build(wanted)
    assert built.layer_precisions == {"fp32": 6}
    assert built.warnings == ["no layer runs in fp16: 6 in fp32"]


# --- what a board has not -----------------------------------------------------------------------------


def refused(board: StandInGpu, wanted: Any, rung: int = 0) -> BuildAttemptFailed:
    board.take(wanted)
    failed = board.build(wanted, rung)
    assert isinstance(failed, BuildAttemptFailed), failed
    return failed


def test_int8_on_a_nano_is_refused_and_never_fp32_in_its_place(gpu: Gpu, quantised: Path) -> None:
    board = gpu("8.2.1.8", "5.3")
    assert board.prove().details["int8"] == "no"
    failed = refused(board, board.job(quantised, precision="int8"))
    assert failed.reason == "precision_unsupported"
    assert "(compute capability 5.3) has no int8; TensorRT would run fp32 in its place" in failed.message


def test_tensorrt_without_a_working_gpu_is_missing_in_its_own_words(gpu: Gpu) -> None:
    status = gpu("8.2.1.8", CUDA_ERROR="35").prove()
    assert status.available is False
    assert status.reason is not None
    assert status.reason.startswith("TensorRT is ")


def test_a_board_without_tensorrt_is_told_which_package_to_install(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = gpu("8.2.1.8")
    monkeypatch.delenv("STANDIN_TENSORRT")
    reason = board.prove().reason
    assert reason is not None
    assert "sudo apt-get install python3-libnvinfer" in reason
    assert "--system-site-packages" in reason


# --- one engine for many jobs -------------------------------------------------------------------------


def test_an_engine_is_reused_until_model_settings_version_or_gpu_change(
    gpu: Gpu, source: Path, tmp_path: Path
) -> None:
    board = gpu("8.5.2.2")
    other = network(tmp_path / "other.onnx", opset=12)

    def built(model: Path = source, job_id: str = "job-1", **changes: Any) -> EngineBuilt:
        wanted = board.job(model, job_id, **changes)
        board.take(wanted)
        event = board.build(wanted)
        assert isinstance(event, EngineBuilt), event
        return event

    first = built()
    again = built(job_id="job-2")
    assert (again.reused, again.key, again.seconds) == (True, first.key, first.seconds)
    keys = {
        first.key,
        built(other).key,
        built(precision="fp16").key,
        built(options={"batch_profile": "1,4,8"}).key,
        built(options={"workspace_mib": "64"}).key,
        built(batch=2).key,
    }
    board.set(TENSORRT="8.6.1.6")
    keys.add(built().key)
    board.set(GPU_CC="7.2")
    keys.add(built().key)
    assert len(keys) == 8


def test_an_engine_of_another_tensorrt_under_the_same_key_is_built_anew(gpu: Gpu, source: Path) -> None:
    board = gpu("8.5.2.2")
    wanted = board.job(source)
    board.take(wanted)
    first = board.build(wanted)
    home = Path(board.board.workspace.engines)
    board.set(TENSORRT="8.6.1.6")
    second = board.build(wanted)
    # What a copied workspace or a failing card may do: the engine of one lies where the other's belongs.
    for name in ("engine.plan", "engine.json"):
        text = (home / first.key / name).read_bytes().replace(first.key.encode(), second.key.encode())
        (home / second.key / name).write_bytes(text)
    third = board.build(wanted)
    assert (third.key, third.reused) == (second.key, False)
    assert "expecting library version 8.6.1.6 got 8.5.2.2" in third.warnings[0]
    assert board.build(wanted).reused is True


# --- memory -------------------------------------------------------------------------------------------


def test_a_build_that_runs_out_of_memory_is_tried_with_less_and_the_job_goes_on(
    gpu: Gpu, source: Path
) -> None:
    board = gpu("8.2.1.8", MAX_WORKSPACE=str(32 * MIB))
    events = board.run(board.job(source, check_inputs=board.dataset("checks.npz", EXAMPLES)))
    failed = [event for event in events if isinstance(event, BuildAttemptFailed)]
    assert [(event.reason, event.workspace_bytes) for event in failed] == [
        ("out_of_memory", 256 * MIB),
        ("out_of_memory", 64 * MIB),
    ]
    assert only(events, EngineBuilt).workspace_bytes == 16 * MIB
    assert only(events, JobEnded).outcome == "ok"


def test_a_build_that_is_killed_is_tried_with_less(gpu: Gpu, source: Path) -> None:
    board = gpu("8.2.1.8", KILLED_ABOVE_WORKSPACE=str(128 * MIB))
    events = board.run(board.job(source, check_inputs=board.dataset("checks.npz", EXAMPLES)))
    assert only(events, BuildAttemptFailed).reason in ("killed", "out_of_memory")
    assert only(events, EngineBuilt).workspace_bytes == 64 * MIB


def test_tactics_that_did_not_fit_are_counted(gpu: Gpu, source: Path) -> None:
    board = gpu("8.5.2.2", TACTIC_MEMORY=str(1 << 30))
    wanted = board.job(source)
    board.take(wanted)
    assert board.build(wanted).skipped_tactics == 1


# --- calibration --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["8.0.1.6", "10.3.0.30"])
def test_a_calibrator_sees_every_example_once_and_its_table_serves_later_builds(
    gpu: Gpu, source: Path, version: str
) -> None:
    board = gpu(version)
    calibration = board.dataset("calibration.npz", SAMPLES["x"][:10, 0], stacked=True)
    changes = {"precision": "int8", "calibration": calibration}
    wanted = board.job(source, batch=4, options={"precision_by": "calibrator"}, **changes)
    board.take(wanted)
    built = board.build(wanted)
    assert isinstance(built, EngineBuilt), built
    assert built.details["calibration"] == "10 examples on the board"
    (table,) = (Path(board.board.workspace.engines) / "calibration").iterdir()
    scale = np.abs(SAMPLES["x"][:10]).max() / 127
    assert f"x: {np.float32(scale).tobytes()[::-1].hex()}".encode() in table.read_bytes()
    again = board.job(
        source, "job-2", batch=4, options={"precision_by": "calibrator", "workspace_mib": "64"}, **changes
    )
    board.take(again)
    assert board.build(again).details["calibration"] == "the table of an earlier build"


def test_a_calibrator_without_examples_is_refused(gpu: Gpu, source: Path) -> None:
    board = gpu("8.2.1.8")
    failed = refused(board, board.job(source, precision="int8", options={"precision_by": "calibrator"}))
    assert (failed.reason, failed.message) == (
        "invalid_option",
        "a calibrator needs examples, and the job brought none",
    )


def test_calibration_that_runs_out_of_device_memory_is_a_lack_of_memory(gpu: Gpu, source: Path) -> None:
    board = gpu("8.2.1.8", GPU_MEMORY="256")
    calibration = board.dataset("calibration.npz", SAMPLES["x"][:4, 0], stacked=True)
    failed = refused(
        board,
        board.job(source, precision="int8", calibration=calibration, options={"precision_by": "calibrator"}),
    )
    assert failed.reason == "out_of_memory"


# --- DLA ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["8.5.2.2", "10.3.0.30"])
def test_a_dla_core_takes_what_it_can_and_the_gpu_the_rest(gpu: Gpu, source: Path, version: str) -> None:
    board = gpu(version, DLA_CORES="2", DLA_UNSUPPORTED="Gemm")
    wanted = board.job(source, precision="fp16", options={"dla_core": "1"})
    board.take(wanted)
    built = board.build(wanted)
    assert isinstance(built, EngineBuilt), built
    assert built.details["dla_core"] == "1"
    assert "GPU_FALLBACK" in built.details["flags"].split(",")


def test_more_dla_cores_than_there_are_are_refused(gpu: Gpu, source: Path) -> None:
    board = gpu("8.5.2.2", DLA_CORES="2")
    failed = refused(board, board.job(source, precision="fp16", options={"dla_core": "2"}))
    assert failed.reason == "dla_unavailable"


# --- models that are refused --------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["8.2.1.8", "10.3.0.30"])
def test_a_broken_model_is_refused_in_the_parsers_words(
    gpu: Gpu, source: Path, tmp_path: Path, version: str
) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(source.read_bytes()[:-100])
    board = gpu(version)
    failed = refused(board, board.job(cut))
    assert failed.reason == "invalid_model"
    assert f"TensorRT {version}: its parser does not take cut.onnx: " in failed.message


# --- what an engine is fed and gives ------------------------------------------------------------------


@pytest.mark.parametrize("version", ["8.2.1.8", "10.3.0.30"])
def test_inputs_are_narrowed_to_what_the_engine_takes(gpu: Gpu, tmp_path: Path, version: str) -> None:
    half = convolution(tmp_path / "half.onnx", opset=13, dtype="float16")
    board = gpu(version)
    wanted = board.job(
        half,
        precision="fp16",
        options={"precision_by": "graph"},
        outputs=[TensorSpec(["y"], [1, 8, 6, 6], "float16")],
        check_inputs=board.dataset("checks.npz", EXAMPLES),
    )
    events = board.run(wanted)
    assert only(events, JobEnded).outcome == "ok", events[-1]
    expected = outputs(half, {"x": EXAMPLES.astype(np.float16)})["y"]
    found = board.result("job-1", "check-0.npz")["array_0"]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.astype(np.float32), expected.astype(np.float32), atol=0.02)


def test_an_engine_that_does_not_fit_the_gpu_is_a_lack_of_memory(gpu: Gpu, source: Path) -> None:
    board = gpu("8.5.2.2")
    wanted = board.job(source, check_inputs=board.dataset("checks.npz", EXAMPLES))
    board.take(wanted)
    assert isinstance(board.build(wanted), EngineBuilt)
    board.set(ENGINE_MEMORY=str(1 << 40))
    failed = board.build(wanted)
    assert (failed.reason, failed.workspace_bytes) == ("out_of_memory", None)
