"""The process that builds engines: how much workspace, what is reused, how failures are told."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from device_agents.boards.host import host_at
from device_agents.engines import building as engine_building
from device_agents.engines.building import workspace_bytes
from device_agents.engines.job_engine import RUNGS
from device_agents.protocol import BlobRef, BuildAttemptFailed, EngineBuilt, Job, TensorSpec, decode
from device_agents.runtimes.base import (
    BuildFailed,
    BuildRequest,
    BuiltEngine,
    LoadFailed,
    Request,
    Runtime,
    RuntimeMissing,
)
from device_agents.workspace import Workspace
from tests.device_agents.board import job, names_in

MIB = 1 << 20


def board(folder: Path, memory_kib: int, *, jetson: bool = False) -> Any:
    (folder / "proc").mkdir(parents=True)
    (folder / "proc/meminfo").write_text(f"MemTotal:       {memory_kib} kB\nMemFree:        100 kB\n")
    if jetson:
        (folder / "etc").mkdir()
        (folder / "etc/nv_tegra_release").write_text("# R32 (release), REVISION: 7.1, GCID: 29689809\n")
    return host_at(str(folder))


def ladder(host: Any, first_mib: int | None = None) -> list[int | None]:
    sizes = [workspace_bytes(host, first_mib, rung) for rung in range(RUNGS)]
    return [None if size is None else size // MIB for size in sizes]


@pytest.mark.parametrize(
    ("memory_kib", "jetson", "sizes"),
    [
        (131072 * 1024, False, [1024, 256, 64, 16]),
        (7802000, True, [1024, 256, 64, 16]),  # Orin Nano 8GB: a quarter is 1904 MiB
        (4059472, True, [256, 64, 16, None]),  # Nano 4GB
        (4059472, False, [512, 128, 32, 16]),  # as much RAM beside a GPU with its own
        (2030000, True, [256, 64, 16, None]),  # Nano 2GB
        (100000, False, [16, None, None, None]),
    ],
)
def test_workspace_begins_with_a_quarter_of_the_ram_and_goes_down_by_fours(
    tmp_path: Path, memory_kib: int, jetson: bool, sizes: list[int | None]
) -> None:
    assert ladder(board(tmp_path, memory_kib, jetson=jetson)) == sizes


def test_a_job_may_name_its_own_first_workspace(tmp_path: Path) -> None:
    host = board(tmp_path, 4059472, jetson=True)
    assert ladder(host, 2048) == [2048, 512, 128, 32]
    assert ladder(host, 8) == [8, None, None, None]


def test_a_board_that_does_not_tell_its_memory_gets_the_least(tmp_path: Path) -> None:
    assert ladder(host_at(str(tmp_path))) == [16, None, None, None]


class FakeRuntime(Runtime):
    """Builds engines as the class attributes say, and remembers with what."""

    name = "fake"
    builds_engines = True
    gpu = "Orin"
    trouble: Exception | None = None
    load_trouble: Exception | None = None
    built: ClassVar[list[BuildRequest]] = []

    def start(self) -> None:
        if isinstance(self.trouble, RuntimeMissing):
            raise self.trouble

    def engine_identity(self, model: Request) -> dict[str, str]:
        return {"gpu": self.gpu, "precision": model.precision}

    def build(self, wanted: BuildRequest, target: str) -> BuiltEngine:
        FakeRuntime.built.append(wanted)
        if self.trouble is not None:
            raise self.trouble
        Path(target).write_bytes(b"engine of " + self.gpu.encode())
        return BuiltEngine(2.5, {"flags": "FP16"}, {"fp16": 3}, 1, ["a warning"])

    def check_engine(self, path: str) -> None:
        if self.load_trouble is not None:
            raise self.load_trouble


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeRuntime]:
    monkeypatch.setitem(engine_building.RUNTIMES, "fake", lambda: FakeRuntime)
    monkeypatch.setattr(FakeRuntime, "built", [])
    monkeypatch.setattr(FakeRuntime, "trouble", None)
    monkeypatch.setattr(FakeRuntime, "load_trouble", None)
    monkeypatch.setattr(FakeRuntime, "gpu", "Orin")
    # This process is no child that may be made to stand back.
    monkeypatch.setattr(engine_building, "_stand_back", lambda: None)
    monkeypatch.setenv("EDGEBENCH_BOARD_ROOT", str(board(tmp_path / "root", 7802000, jetson=True).root))
    return FakeRuntime


def an_engine_job(job_id: str = "job-1", model: str = "ab" * 32, **changes: Any) -> Job:
    inputs = [TensorSpec(["x"], [1, 4], "float32")]
    return job(job_id, runtime="fake", artifact=[BlobRef(model, 5, "model.onnx")], inputs=inputs, **changes)


def build(folder: Path, wanted: Job, rung: int = 0) -> Any:
    workspace = Workspace(str(folder / "workspace"))
    workspace.create()
    Path(workspace.job(wanted.job_id)).mkdir(exist_ok=True)
    out = io.BytesIO()
    status = engine_building.run(workspace, wanted, rung, out)
    event = decode(out.getvalue())
    assert status == (0 if isinstance(event, EngineBuilt) else 1)
    return event


def engine_of(folder: Path, job_id: str) -> bytes:
    return (folder / "workspace/jobs" / job_id / "engine/engine.plan").read_bytes()


def test_an_engine_is_built_and_lies_in_the_jobs_folder(fake: type[FakeRuntime], tmp_path: Path) -> None:
    event = build(tmp_path, an_engine_job())
    assert isinstance(event, EngineBuilt)
    assert (event.reused, event.seconds, event.bytes, event.workspace_bytes) == (False, 2.5, 14, 1024 * MIB)
    assert (event.details, event.layer_precisions, event.skipped_tactics) == (
        {"flags": "FP16"},
        {"fp16": 3},
        1,
    )
    assert engine_of(tmp_path, "job-1") == b"engine of Orin"


def test_the_second_job_of_the_same_kind_gets_the_engine_of_the_first_with_its_figures(
    fake: type[FakeRuntime], tmp_path: Path
) -> None:
    first = build(tmp_path, an_engine_job())
    second = build(tmp_path, an_engine_job("job-2"))
    assert second == first._replace(time=second.time, reused=True)
    assert len(fake.built) == 1
    assert engine_of(tmp_path, "job-2") == b"engine of Orin"


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "cd" * 32},
        {"precision": "fp16"},
        {"options": {"workspace_mib": "64"}},
        {"inputs": [TensorSpec(["x"], [2, 4], "float32")]},
    ],
)
def test_another_model_or_setting_has_an_engine_of_its_own(
    fake: type[FakeRuntime], tmp_path: Path, changes: dict[str, Any]
) -> None:
    build(tmp_path, an_engine_job())
    wanted = an_engine_job("job-2", **{key: value for key, value in changes.items() if key != "inputs"})
    if "inputs" in changes:
        wanted = wanted._replace(inputs=changes["inputs"])
    assert build(tmp_path, wanted).reused is False


def test_another_gpu_or_release_of_the_system_has_an_engine_of_its_own(
    fake: type[FakeRuntime], tmp_path: Path
) -> None:
    keys = {build(tmp_path, an_engine_job()).key}
    (tmp_path / "root/etc/nv_tegra_release").write_text("# R32 (release), REVISION: 7.6, GCID: 1\n")
    keys.add(build(tmp_path, an_engine_job("job-2")).key)
    fake.gpu = "Thor"
    keys.add(build(tmp_path, an_engine_job("job-3")).key)
    assert len(keys) == len(fake.built) == 3


def test_an_engine_that_does_not_load_any_more_is_built_anew_and_that_is_told(
    fake: type[FakeRuntime], tmp_path: Path
) -> None:
    build(tmp_path, an_engine_job())
    fake.load_trouble = LoadFailed("expecting library version 8.5.2 got 8.2.1")
    event = build(tmp_path, an_engine_job("job-2"))
    assert (event.reused, len(fake.built)) == (False, 2)
    assert event.warnings == [
        "the engine of an earlier job was built anew: expecting library version 8.5.2 got 8.2.1",
        "a warning",
    ]


def test_an_engine_with_a_broken_file_is_built_anew(fake: type[FakeRuntime], tmp_path: Path) -> None:
    key = build(tmp_path, an_engine_job()).key
    (tmp_path / "workspace/engines" / key / "engine.plan").write_bytes(b"engine of Oriv")
    event = build(tmp_path, an_engine_job("job-2"))
    assert event.reused is False
    assert event.warnings[0] == "the engine of an earlier job was built anew: its files were not whole"


def test_a_smaller_workspace_is_tried_next_and_its_engine_serves_who_begins_with_the_first(
    fake: type[FakeRuntime], tmp_path: Path
) -> None:
    fake.trouble = MemoryError("cudaMalloc: cudaErrorMemoryAllocation")
    failed = build(tmp_path, an_engine_job())
    assert isinstance(failed, BuildAttemptFailed)
    assert (failed.rung, failed.workspace_bytes, failed.reason) == (0, 1024 * MIB, "out_of_memory")
    fake.trouble = None
    assert build(tmp_path, an_engine_job(), rung=1).workspace_bytes == 256 * MIB
    assert build(tmp_path, an_engine_job("job-2")).reused is True


def test_below_the_least_workspace_nothing_is_tried(fake: type[FakeRuntime], tmp_path: Path) -> None:
    failed = build(tmp_path, an_engine_job(options={"workspace_mib": "16"}), rung=1)
    assert (failed.reason, failed.workspace_bytes, fake.built) == ("out_of_memory", None, [])
    assert failed.message.startswith("not enough memory with the least workspace either")


@pytest.mark.parametrize(
    ("trouble", "reason", "message"),
    [
        (BuildFailed("unsupported_operator", "node 3 (Foo)"), "unsupported_operator", "node 3 (Foo)"),
        (RuntimeMissing("no TensorRT"), "runtime_unavailable", "no TensorRT"),
        (OSError(28, "No space left on device"), "disk_full", "[Errno 28] No space left on device"),
        (OSError(5, "Input/output error"), "io_failed", "[Errno 5] Input/output error"),
        (ValueError("what?"), "build_failed", "ValueError: what?"),
    ],
)
def test_a_failure_keeps_its_reason(
    fake: type[FakeRuntime], tmp_path: Path, trouble: Exception, reason: str, message: str
) -> None:
    fake.trouble = trouble
    failed = build(tmp_path, an_engine_job())
    assert (failed.reason, failed.message) == (reason, message)
    assert names_in(str(tmp_path / "workspace/engines")) == []


def test_a_workspace_that_is_no_number_is_refused(fake: type[FakeRuntime], tmp_path: Path) -> None:
    failed = build(tmp_path, an_engine_job(options={"workspace_mib": "lots"}))
    assert (failed.reason, failed.message) == (
        "invalid_option",
        "workspace_mib is 'lots'; it takes a number of MiB",
    )


@pytest.mark.processes
def test_a_build_stands_back_for_the_rest_of_the_board() -> None:
    code = (
        "import os; from device_agents.engines import building as e; before = os.nice(0); e._stand_back(); "
        "print(os.nice(0) - before, open('/proc/self/oom_score_adj').read().strip())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5", "500"]


@pytest.mark.parametrize(("batch", "reused"), [(1, True), (8, True), (16, False)])
def test_one_engine_serves_every_batch_size_of_its_profile(
    fake: type[FakeRuntime], tmp_path: Path, batch: int, reused: bool
) -> None:
    options = {"batch_profile": "1,4,8"}
    four = [TensorSpec(["x"], [4, 4], "float32")]
    build(tmp_path, an_engine_job(options=options)._replace(inputs=four))
    other = [TensorSpec(["x"], [batch, 4], "float32")]
    assert build(tmp_path, an_engine_job("job-2", options=options)._replace(inputs=other)).reused is reused
