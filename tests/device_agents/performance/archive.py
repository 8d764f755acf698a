"""The real archive with a real job in performance mode on a board that is a folder; and ways to kill it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from device_agents.protocol import PerformanceModeRestored, decode
from harness.link.device_session import DeviceSession
from tests.device_agents.board import LONG, Board, fake_job, install_fake_runtime, is_running, wait_until
from tests.device_agents.board_trees import Tree
from tests.device_agents.performance import boards


class Victim:
    """A job that measures until somebody ends it."""

    def __init__(self, folder: Path, name: str, python: str = sys.executable) -> None:
        self.root = boards.BOARDS[name](folder)
        self.before = boards.snapshot(self.root)
        self.tree = Tree(name, folder)
        self.python = python
        install_fake_runtime(folder / "site")
        self._environment = {"PYTHONPATH": str(folder / "site"), "FAKE_RUNTIME": "sleep"}
        self._board = Board(folder, python)
        self._board.deploy()

    @property
    def workspace(self) -> str:
        return self._board.workspace.root

    def session(self) -> DeviceSession:
        return self.tree.session(self.python, **self._environment)

    def submit(self, job_id: str = "job-1", seconds: float = 60.0) -> None:
        """Start it; comes back when its supervisor lives."""
        loop = LONG._replace(min_time_s=seconds, max_time_s=seconds)
        job = fake_job(self._board, job_id, measurement=loop, performance_mode="max", deadline_s=120.0)
        self.session().submit(job, {}, lambda _blob: lambda _done, _total: None)

    @property
    def supervisor(self) -> int:
        return int((Path(self.workspace) / "jobs/job-1/supervisor.lock").read_text())

    def guards(self) -> list[int]:
        """Every guard of this workspace that lives."""
        return [
            pid for pid in _processes(self.workspace) if _words(pid)[-1:] == ["guard"] and is_running(pid)
        ]

    def told(self, job_id: str = "job-1") -> str:
        """The journal so far."""
        return (Path(self.workspace) / "jobs" / job_id / "journal.jsonl").read_text()

    def is_raised(self) -> bool:
        """Whether the journal says that the mode is set."""
        return '"type":"performance_mode"' in self.told()

    def changed(self) -> dict[str, str]:
        """What is not as it was, and what it is now."""
        now = boards.snapshot(self.root)
        paths = set(now) | set(self.before)
        return {path: now.get(path, "gone") for path in paths if now.get(path) != self.before.get(path)}

    def is_quiet(self) -> bool:
        """Whether no process of the agent is left."""
        return not [pid for pid in _processes(self.workspace) if is_running(pid)]

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Whether all of the agent ended in time."""
        return wait_until(self.is_quiet, timeout_s)

    def restore(self) -> PerformanceModeRestored:
        """The agent's `restore`, as somebody types it."""
        agent = next((Path(self.workspace) / "agents").iterdir())
        said = subprocess.run(
            [self.python, agent, "--workspace", self.workspace, "restore"],
            env=self.tree.environment(),
            capture_output=True,
            check=True,
            timeout=60.0,
        )
        answer = decode(said.stdout)
        assert isinstance(answer, PerformanceModeRestored)
        return answer

    def lease_is_open(self) -> bool:
        return self._board.workspace.is_raised()

    def kill_all(self) -> None:
        """The end of a test."""
        for pid in _processes(self.workspace):
            kill(pid)


def kill(pid: int) -> None:
    """At once, if it lives."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _processes(workspace: str) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [pid for pid in pids if pid != os.getpid() and workspace in _words(pid)]


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []
