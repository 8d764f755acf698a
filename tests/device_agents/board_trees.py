"""Boards that are folders: a recorded tree with fake commands stands in for "/"; the real agent runs on it.

A tree is tests/captures/NAME with the stand-in commands of its family laid over it.
The agent comes as the real archive over the real local transport, and finds the tree by EDGEBENCH_BOARD_ROOT.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from device_agents.boards.board import Board
from device_agents.boards.host import ROOT_VARIABLE, Host, host_at
from device_agents.boards.table import this_board
from device_agents.protocol import Event, ProbeReply
from device_agents.workspace import Workspace
from harness.link.device_session import DeviceSession
from harness.link.local import LocalChannel, LocalTransport
from tests import interpreters
from tests.device_agents.board import job, run
from tests.device_agents.stand_in_commands import FAMILIES, lay_commands

CAPTURES = Path(__file__).parents[1] / "captures"


class Tree:
    """A writable board in a folder; the agent's workspace lies beside it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.root = folder / "board"
        self.workspace = Workspace(str(folder / "workspace"))

    @property
    def host(self) -> Host:
        """Its files and commands, as the agent's code sees them in this very process."""
        return host_at(str(self.root))

    @property
    def board(self) -> Board:
        """The kind of board the agent takes it for."""
        return this_board(self.host)

    def environment(self, **more: str) -> dict[str, str]:
        """Of a process that is to take the tree for its board."""
        return {**os.environ, ROOT_VARIABLE: str(self.root), **more}

    def path(self, inside: str) -> Path:
        """Where the board's own path lies, as in "/proc/cpuinfo"."""
        return self.root / inside.lstrip("/")

    def read(self, inside: str) -> str:
        """A file of the board, without the blanks around it."""
        return self.path(inside).read_text().strip()

    def write(self, inside: str, content: str | bytes) -> None:
        """Give a file of the board another content, or make it."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def remove(self, inside: str) -> None:
        """Take a file or folder away from the board."""
        path = self.path(inside)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def session(
        self, python: str = sys.executable, lease: str | None = None, **environment: str
    ) -> DeviceSession:
        """A conversation with the real agent on this board; its processes find `environment` besides."""
        transport = _InTree({ROOT_VARIABLE: str(self.root), **environment})
        return DeviceSession(transport, python=python, workspace=self.workspace.root, lease=lease)

    def probe(
        self, python: str = sys.executable, runtimes: Sequence[str] = ("null",), **environment: str
    ) -> ProbeReply:
        """What the agent says of the board; puts the agent there first."""
        return self.session(python, **environment).open(runtimes)

    def run_job(self, python: str = sys.executable, **changes: Any) -> list[Event]:
        """All events of a job, by default of the null runtime and as short as can be (board.job)."""
        session = self.session(python)
        session.open(("null",))
        return run(session, job(**changes))


class _InTree:
    """The local transport with variables that name the tree, as `SetEnv` of an sshd would give them."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.name = "board"
        self._inner = LocalTransport("board")
        self._words = ["env", *(f"{name}={value}" for name, value in variables.items())]

    def start(self, command: Sequence[str]) -> LocalChannel:
        return self._inner.start([*self._words, *command])

    def close(self) -> None:
        self._inner.close()


def stand_in(name: str, folder: Path) -> Tree:
    """A writable copy of tests/captures/NAME under `folder`, with the commands of its family."""
    tree = Tree(name, folder)
    shutil.copytree(CAPTURES / name, tree.root, symlinks=True, ignore=shutil.ignore_patterns("README.md"))
    for family in FAMILIES:
        if name.startswith(family):
            lay_commands(family, tree.root)
    for path in tree.root.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o600)  # /sys is full of files that root itself may only read
    return tree


def agent_python(version: str) -> str | None:
    """A Python for the agent: one that tests/agent_pythons.sh made, else any of that version that is here."""
    folder = os.environ.get("EDGEBENCH_TEST_PYTHONS", f"/var/tmp/edgebench-test-pythons-{os.getuid()}")
    made = Path(folder) / f"python-{version}"
    found = made if made.is_file() else interpreters.interpreter(version)
    return str(found) if found else None
