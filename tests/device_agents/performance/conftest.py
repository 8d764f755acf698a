"""A board with the commands of fake_root.py and a guard that only says it is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agents.boards.host import Host
from device_agents.performance import guard
from device_agents.performance.mode import PerformanceMode, restore_leftovers
from device_agents.protocol import PerformanceModeRestored
from device_agents.workspace import Workspace
from tests.device_agents.performance import boards
from tests.device_agents.performance.fake_root import FakeRoot, fake_host


class StandInGuard:
    """What guard.spawn answers, without a process."""

    def __init__(self, says: bytes = guard.READY) -> None:
        told, telling = os.pipe()
        os.write(telling, says)
        os.close(telling)
        self.stdout = os.fdopen(told, "rb")
        self.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY), "wb")
        self.status: int | None = None
        self.pid = 0

    def poll(self) -> int | None:
        return self.status

    def wait(self, _timeout_s: float) -> int:
        return 0


class Stage:
    """One board and the agents that come and go on it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.root = boards.BOARDS[name](folder)
        self.workspace = Workspace(str(folder / "workspace"))
        self.workspace.create()
        self.host: Host = fake_host(self.root, folder / "workspace")
        self.before = boards.snapshot(self.root)
        self.guards: list[StandInGuard] = []
        self.guard_says = guard.READY
        self.modes: list[PerformanceMode] = []

    @property
    def commands(self) -> FakeRoot:
        assert isinstance(self.host.commands, FakeRoot)
        return self.host.commands

    def mode(self) -> PerformanceMode:
        """That of a new job."""
        self.modes.append(PerformanceMode(self.workspace, self.host, "max"))
        return self.modes[-1]

    def abandon(self, mode: PerformanceMode) -> None:
        """The death of a supervisor: its locks are free."""
        assert mode._hold is not None
        mode._hold.close()

    def close(self) -> None:
        """The end of all that is open."""
        for mode in self.modes:
            if mode._hold is not None:
                mode._hold.close()
        for started in self.guards:
            started.stdin.close()
            started.stdout.close()

    def contact(self) -> PerformanceModeRestored | None:
        """The next command of an agent."""
        return restore_leftovers(self.workspace, self.host)

    def changed(self) -> dict[str, str]:
        """What is not as it was, and what it is now."""
        now = boards.snapshot(self.root)
        paths = set(now) | set(self.before)
        return {path: now.get(path, "gone") for path in paths if now.get(path) != self.before.get(path)}

    def read(self, path: str) -> str:
        return boards.read(self.root, path)

    def write(self, path: str, content: str) -> None:
        boards.write(self.root, path, content)

    def files(self) -> list[str]:
        """What lies in the workspace beside its folders."""
        return sorted(path.name for path in Path(self.workspace.root).iterdir() if path.is_file())


def _stage(folder: Path, name: str, patch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(folder, name)

    def spawn(_workspace: Workspace, _host: Host) -> StandInGuard:
        made.guards.append(StandInGuard(made.guard_says))
        return made.guards[-1]

    patch.setattr(guard, "spawn", spawn)
    yield made
    made.close()


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    yield from _stage(tmp_path, "raspberry-pi", monkeypatch)


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    yield from _stage(tmp_path, "jetson", monkeypatch)
