"""What a real agent says, as the material that is damaged: one job of the null runtime, run for this."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from device_agents.protocol import (
    BlobRef,
    BlobState,
    BuildAttemptFailed,
    CooledDown,
    Dataset,
    DeviceFacts,
    EngineBuilt,
    JobWaiting,
    OutputsSaved,
    PerformanceModeRestored,
    PerformanceModeSet,
    SubmitReply,
    TelemetrySample,
    TensorSpec,
    ToolTiming,
    encode,
)
from harness.preparation import Workload
from tests.device_agents.board import QUICK, Board, RecordingTransport, job, run

REPETITIONS = 2
SCORES = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]], dtype="float32")


@dataclass(frozen=True)
class Material:
    """Lines and files of an agent that is in order."""

    #: This machine's, and the same with the words of other boards.
    probes: tuple[bytes, ...]
    examinations: tuple[bytes, ...]
    submitted: bytes
    put: tuple[bytes, bytes]
    #: Lines of the journal of a job.
    journal: tuple[bytes, ...]
    #: Its result files by name.
    files: dict[str, bytes]


def workload() -> Workload:
    """What the material's outputs are judged by."""
    file = BlobRef("c" * 64, 1, "check.npz")
    return Workload(
        outputs=(TensorSpec(["y"], [-1, 3], "float32"),),
        check=Dataset(file, 2, stacked=False),
        evaluation=Dataset(file, 2, stacked=True),
        reference={"y": SCORES},
        labels=np.array([0, 1]),
        metric="top1",
    )


def real_material(folder: Path) -> Material:
    """Runs the agent; what a null runtime has not to say is added by hand."""
    board = Board(folder)
    transport = RecordingTransport()
    session = board.session(transport)
    probe = session.open(["null"])
    examination = session.examine()
    run(session, job(measurement=QUICK._replace(repetitions=REPETITIONS)))
    results = board.folder_of("job-1") / "result"
    files = {path.name: path.read_bytes() for path in sorted(results.iterdir())}
    outputs = _outputs(files)
    lines = [*(encode(event) for event in _rare_events()), *board.journal("job-1").splitlines(keepends=True)]
    return Material(
        probes=tuple(encode(probe._replace(facts=facts)) for facts in _boards(probe.facts)),
        examinations=tuple(encode(examination._replace(facts=facts)) for facts in _boards(examination.facts)),
        submitted=encode(SubmitReply("accepted", "job-1", [])),
        put=(encode(BlobState(0, False)), encode(BlobState(4, True))),
        journal=(*lines[:-1], *(encode(event) for event in outputs), lines[-1]),
        files=files,
    )


def _boards(here: DeviceFacts) -> Sequence[DeviceFacts]:
    nano = {
        "l4t_release": "# R32 (release), REVISION: 7.1, GCID: 29818004",
        "jetpack": "4.6.1",
        "cuda": "10.2",
    }
    pi = {"supply_max_ma": "3000", "firmware": "2025-01-01"}
    return (
        here,
        here._replace(family="jetson", compatible=["nvidia,p3450-0000", "nvidia,tegra210"], details=nano),
        here._replace(family="raspberry-pi", compatible=["raspberrypi,5-model-b"], details=pi),
    )


def _outputs(files: dict[str, bytes]) -> Sequence[OutputsSaved]:
    """Outputs of every repetition, as numpy saves them; adds their files."""
    content = io.BytesIO()
    np.savez(content, array_0=SCORES)
    packed = content.getvalue()
    told = []
    for repetition, purpose in ((0, "check"), (0, "evaluation"), (1, "check")):
        name = f"{purpose}-{repetition}.npz"
        files[name] = packed
        file = BlobRef(hashlib.sha256(packed).hexdigest(), len(packed), name)
        told.append(OutputsSaved(repetition, purpose, file, len(SCORES)))
    return told


def _rare_events() -> Sequence[Any]:
    """What only some boards and runtimes have to say."""
    now = time.time()
    sensors = TelemetrySample(
        now, "running", 51.5, 1800.0, 1800.0, "ondemand", False, False, 3, 0.5, 1 << 30, 7, 4.5
    )
    sensors = sensors._replace(power_rail="VDD_IN", rails_w={"VDD_IN": 4.5}, throttle_flags=0x50000)
    return (
        JobWaiting(now, "job-0", now - 5),
        PerformanceModeSet(now, "max", False, {"governor": "ondemand"}, {}, ["sudo wants a password"]),
        BuildAttemptFailed(now, 0, 1 << 28, "out_of_memory", "the kernel killed it"),
        EngineBuilt(now, "k" * 64, False, 9.5, 1 << 20, None, None, {"flags": "fp16"}, {"fp16": 3}, 1, ["w"]),
        ToolTiming(now, "trtexec", "8.2.1", "trtexec --loadEngine=e", 100, 1.5, 1.25, []),
        CooledDown(now, 12.5, 44.0, True),
        *(sensors._replace(monotonic_s=float(second)) for second in range(3)),
        PerformanceModeRestored(now, True, {}, []),
    )
