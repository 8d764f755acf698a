"""A board with a stand-in GPU: one generation of TensorRT, its agent as real processes."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agents.protocol import (
    BlobRef,
    Dataset,
    Event,
    Job,
    RuntimeStatus,
    TensorSpec,
    decode,
    encode,
    expect,
)
from tests.device_agents.board import Board, job, run
from tests.standins.placing import SITE, place_libcudart

#: Generations and the Python that their boards have.
GENERATIONS = {
    "8.0.1.6": "3.6",
    "8.2.1.8": "3.6",
    "8.5.2.2": "3.11",
    "8.6.1.6": "3.11",
    "10.3.0.30": "3.11",
    "10.13.0.35": "3.11",
    "11.4.1.1": "3.11",
}


class StandInGpu:
    """The board; `set` changes what its TensorRT or GPU is from the next process on."""

    def __init__(self, folder: Path, python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root = folder / "root"
        (root / "proc").mkdir(parents=True)
        (root / "proc/meminfo").write_text("MemTotal:        4059472 kB\n")
        (root / "etc").mkdir()
        (root / "etc/nv_tegra_release").write_text("# R32 (release), REVISION: 7.1, GCID: 29689809\n")
        place_libcudart(root)
        self.root = root
        self.board = Board(folder, str(python))
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("EDGEBENCH_BOARD_ROOT", str(root))
        monkeypatch.setenv("EDGEBENCH_CUDA", "libcudart")
        monkeypatch.setenv("PYTHONPATH", str(SITE))
        self._agent = str(self.board.deploy())

    def set(self, **variables: str) -> None:
        """STANDIN_<name> for each."""
        for name, value in variables.items():
            self._monkeypatch.setenv(f"STANDIN_{name}", value)

    def prove(self) -> RuntimeStatus:
        """What the agent says of tensorrt here."""
        return expect(RuntimeStatus, self._said("prove", "tensorrt"))

    def build(self, wanted: Job, rung: int = 0) -> Any:
        """The event of one build process, for a job that `take` prepared."""
        return decode(self._said("build", wanted.job_id, str(rung)))

    def take(self, wanted: Job) -> None:
        """The job's folder, as the agent makes it when a job is submitted."""
        from device_agents.submission import prepare

        prepare(self.board.workspace, wanted, self.board.workspace.job(wanted.job_id))

    def run(self, wanted: Job) -> list[Event]:
        """The journal of the whole job, by the agent's archive and its detached supervisor."""
        return run(self.board.session(), wanted)

    def blob(self, name: str, content: bytes) -> BlobRef:
        """A file that is on the board already."""
        sha256 = hashlib.sha256(content).hexdigest()
        Path(self.board.workspace.blob(sha256)).write_bytes(content)
        return BlobRef(sha256, len(content), name)

    def dataset(self, name: str, array: Any, *, stacked: bool = False) -> Dataset:
        """A dataset of one input."""
        path = self.board.folder / name
        np.savez(path, array_0=array)
        return Dataset(self.blob(name, path.read_bytes()), len(array), stacked)

    def job(self, model: Path, job_id: str = "job-1", batch: int = 1, **changes: Any) -> Job:
        """A job of tensorrt for the residual network of tests/convert."""
        plain = job(
            job_id,
            runtime="tensorrt",
            batch_size=batch,
            artifact=[self.blob(model.name, model.read_bytes())],
            inputs=[TensorSpec(["x"], [batch, 3, 8, 8], "float32")],
            outputs=[TensorSpec(["scores"], [batch, 10], "float32")],
        )
        return plain._replace(**changes)

    def result(self, job_id: str, name: str) -> Mapping[str, Any]:
        """Arrays of a result file."""
        return dict(np.load(self.board.folder_of(job_id) / "result" / name))

    def _said(self, *arguments: str) -> bytes:
        command = [self.board.python, self._agent, "--workspace", self.board.workspace.root, *arguments]
        # Standard input has to stay open: an agent's child ends with the one who started it.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            said, errors = child.stdout.read(), child.stderr.read()
        assert said, errors.decode()
        return said


def plain(message: Any) -> bytes:
    """A message as it goes over the wire, for comparing."""
    return encode(message)
