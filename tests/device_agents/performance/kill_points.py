"""Kills an agent in performance mode at every line it executes, and looks at the board afterwards.

    python -m tests.device_agents.performance.kill_points BOARD WHO [STEP]

prints {"points": how many different lines of the run were its last, "wrong": what was not as before}. WHO is
killed: `supervisor` (the guard puts back), `guard` (the supervisor does), `both` (the next contact does),
`guard-restoring` (after the supervisor, the guard in the midst of it), `contact-restoring` (the next
contact as well, and the one after it does). STEP > 1 takes every so many lines only.

A small process of its own, because it forks itself thousands of times. The commands are of fake_root.py;
the guard is a real process, started by fork instead of through the archive.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device_agents.boards.host import Host
from device_agents.performance import guard, root_commands
from device_agents.performance.mode import PerformanceMode, restore_leftovers
from device_agents.workspace import Workspace
from tests.device_agents.performance import fake_root
from tests.device_agents.performance.boards import BOARDS, snapshot
from tests.device_agents.performance.fake_root import fake_host

#: Lines of these files count: the agent's performance mode, and the fake commands, which die half done then.
_AGENT = str(Path(guard.__file__).parents[1])
_COUNTED = (f"{_AGENT}/performance/", fake_root.__file__)


class ForkedGuard:
    """What subprocess.Popen is to guard.Guard, without a new Python."""

    def __init__(self, workspace: Workspace, host: Host, alive: int, at: int) -> None:
        mine, its = os.pipe()
        told, telling = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._be_guard(workspace, host, alive, at, mine, telling)
            finally:
                os._exit(0)
        os.close(mine)
        os.close(telling)
        self.stdin = os.fdopen(its, "wb")
        self.stdout = os.fdopen(told, "rb")
        self._status: int | None = None

    @staticmethod
    def _be_guard(workspace: Workspace, host: Host, alive: int, at: int, pipe: int, telling: int) -> None:
        sys.settrace(None)
        os.setsid()
        os.dup2(pipe, 0)
        for fd in range(3, 64):
            if fd not in (telling, alive):
                with contextlib.suppress(OSError):
                    os.close(fd)
        count = _kill_at(at, _kill_self) if at else [0]
        with os.fdopen(telling, "wb") as out:
            guard.watch(workspace, host, out)
        sys.settrace(None)
        if count[0] < at:
            os.write(alive, b"guard finished")

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = -(status & 0x7F) if status & 0x7F else status >> 8
        return self._status

    def wait(self, _timeout_s: float) -> int | None:
        if self._status is None:
            _, status = os.waitpid(self.pid, 0)
            self._status = status
        return self._status


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(at: int, action: Callable[[], None]) -> list[int]:
    """From now on count executed lines, and do `action` at the `at`-th; the answer holds the count."""
    count = [0]

    def line(_frame: Any, event: str, _argument: Any) -> Any:
        if event == "line":
            count[0] += 1
            if count[0] == at:
                action()
        return line

    def call(frame: Any, _event: str, _argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(_COUNTED) else None

    sys.settrace(call)
    return count


class Campaign:
    """One board, one kind of death, every line."""

    def __init__(self, folder: Path, board: str, who: str) -> None:
        self._root = BOARDS[board](folder)
        self._workspace = Workspace(str(folder / "workspace"))
        self._workspace.create()
        self._host = fake_host(self._root, folder / "workspace")
        self._who = who
        self._before = snapshot(self._root)
        self.wrong: list[str] = []
        self.points = 0

    def run(self, step: int) -> None:
        """All points in order, until the agent comes to its end alive."""
        at = 1
        while self._die_at(at):
            self.points += 1
            if self._who in ("both", "guard-restoring"):
                self._contact(0)
            if self._who == "contact-restoring":
                self._contact(0)
            self._look(at)
            at += step

    def _die_at(self, at: int) -> bool:
        """Whether somebody was killed, rather than all be done before the `at`-th line."""
        if self._who == "contact-restoring":
            self._supervisor(lambda mode: _end_of_both(mode), 0, 0)
            return self._contact(at)
        if self._who == "guard-restoring":
            return self._supervisor(lambda _mode: _kill_self(), 0, at)
        return self._supervisor(None, at, 0)

    def _supervisor(self, midway: Callable[[PerformanceMode], None] | None, at: int, guard_at: int) -> bool:
        """Run enter and leave in a child; waits until it and its guard are gone."""
        alive, its = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(alive)
            try:
                self._be_supervisor(midway, at, guard_at, its)
            finally:
                os._exit(1)
        os.close(its)
        os.waitpid(pid, 0)
        report = b"".join(iter(lambda: os.read(alive, 4096), b""))  # ends when both of them have
        os.close(alive)
        if guard_at:
            return b"guard finished" not in report
        return b"finished" not in report

    def _be_supervisor(
        self, midway: Callable[[PerformanceMode], None] | None, at: int, guard_at: int, alive: int
    ) -> None:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the guard tells there what it put back
        processes: list[ForkedGuard] = []

        def spawn(workspace: Workspace, host: Host) -> ForkedGuard:
            processes.append(ForkedGuard(workspace, host, alive, guard_at))
            return processes[-1]

        guard.spawn = spawn
        mode = PerformanceMode(self._workspace, self._host, "max")

        def action() -> None:
            if self._who in ("guard", "both"):
                for process in processes:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
            if self._who != "guard":
                _kill_self()

        count = _kill_at(at, action) if at else [0]
        mode.enter()
        if midway is not None:
            midway(mode)
        mode.leave()
        sys.settrace(None)
        if count[0] < at or not at:
            os.write(alive, b"finished")

    def _contact(self, at: int) -> bool:
        """The next command on the board; whether it was killed at its `at`-th line."""
        if not at:
            restore_leftovers(self._workspace, self._host)
            return False
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                count = _kill_at(at, _kill_self)
                restore_leftovers(self._workspace, self._host)
                status = 0 if count[0] < at else 1
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        return status != 0

    def _look(self, at: int) -> None:
        """Board as before, no lease left."""
        now = snapshot(self._root)
        for path in sorted(set(now) | set(self._before)):
            if now.get(path) != self._before.get(path):
                self.wrong.append(f"line {at}: {path} is {now.get(path)!r}, was {self._before.get(path)!r}")
        if self._workspace.is_raised():
            self.wrong.append(f"line {at}: the lease is still open")


def _end_of_both(mode: PerformanceMode) -> None:
    os.kill(mode._guard.pid, signal.SIGKILL)
    _kill_self()


def main(board: str, who: str, step: int) -> None:
    """Run one campaign and print what came of it."""
    root_commands.IDLE_PATIENCE_S = 5.0
    guard.RETRIES_S = (0.0,)
    # fsync costs nothing there, and nothing here is about power cuts.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        campaign = Campaign(Path(folder), board, who)
        campaign.run(step)
    sys.stdout.write(json.dumps({"points": campaign.points, "wrong": campaign.wrong}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1)
