"""Hand-made events of a job, whose figures are known."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_agents.protocol import (
    BlobRef,
    DeviceFacts,
    Event,
    JobEnded,
    JobStarted,
    OutputsSaved,
    RepetitionEnded,
    RepetitionStarted,
    RuntimeLoaded,
    SamplesTaken,
    StageReached,
    TelemetrySample,
)

MIB = 1 << 20
FACTS = DeviceFacts(
    board="Raspberry Pi 4 Model B Rev 1.4",
    cpu_model="Cortex-A72",
    cpu_count=4,
    cpu_max_mhz=1800.0,
    cpu_features="fp asimd",
    machine="aarch64",
    os="Debian GNU/Linux 12 (bookworm)",
    kernel="6.6.51",
    python="3.11.2",
    memory_bytes=4 << 30,
    swap_bytes=0,
    governor=None,
    boot_id="b",
    hostname="pi",
    virtualization=None,
)
QUIET = TelemetrySample(0.0, "before", *[None] * 11)


class ResultFiles:
    """Files as a board would have left them, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def samples(
        self, repetition: int, warmup: Sequence[int], latency: Sequence[int], compute: Sequence[int]
    ) -> SamplesTaken:
        """The file of a timed loop and its event."""
        values = [*warmup, *latency, *compute]
        file = self._file(f"samples-{repetition}.i64", struct.pack(f"<{len(values)}q", *values))
        return SamplesTaken(
            repetition=repetition,
            file=file,
            warmups=len(warmup),
            iterations=len(latency),
            warmup_s=0.5,
            loop_s=1.5,
            cpu_s=1.4,
            other_cpu_s=0.1,
            steal_s=None,
            stopped_by="precision",
        )

    def outputs(self, repetition: int, purpose: str, *arrays: Any) -> OutputsSaved:
        """The file of an engine's outputs and its event."""
        name = f"{purpose}-{repetition}.npz"
        np.savez(self.folder / name, **{f"array_{i}": array for i, array in enumerate(arrays)})
        file = self._file(name, (self.folder / name).read_bytes())
        return OutputsSaved(repetition, purpose, file, len(arrays[0]))

    def _file(self, name: str, content: bytes) -> BlobRef:
        (self.folder / name).write_bytes(content)
        return BlobRef(hashlib.sha256(content).hexdigest(), len(content), name)


def stage(
    repetition: int, name: str, seconds: float, rss: int | None, peak: int | None = None
) -> StageReached:
    """A stage with its memory in MiB."""
    rss_bytes = None if rss is None else rss * MIB
    peak_bytes = rss_bytes if peak is None else peak * MIB
    pss_bytes = None if rss is None else (rss - 1) * MIB
    return StageReached(repetition, name, seconds, rss_bytes, peak_bytes, pss_bytes, 0)


def beginning() -> list[Event]:
    """What a job tells first."""
    return [JobStarted(1.0, 100, FACTS), QUIET, RepetitionStarted(1.0, 0, 101)]


def loaded(repetition: int = 0) -> RuntimeLoaded:
    """What a runtime says of itself."""
    return RuntimeLoaded(repetition, "1.20.0", {"package": "onnxruntime", "affinity": "0,1"}, [], [])


def well() -> list[Event]:
    """What a job tells last when it went well."""
    return [RepetitionEnded(3.0, 0, "ok", None, None), JobEnded(3.0, "ok", None, None, None)]
