"""The guard: a process of its own that puts the board back when the supervisor is gone, whatever killed it.

It sleeps in a read of a pipe whose other end only the supervisor has, so the end of the supervisor wakes
it: SIGKILL, lack of memory, a crash of Python. It has a session of its own, so neither the end of an SSH
connection nor a signal to the supervisor's group reaches it. If it is killed as well, the agent's next
command on the board restores.
"""

import os
import select
import signal
import subprocess
import sys
import time
from typing import Any, BinaryIO, Optional

from device_agents.boards.host import ROOT_VARIABLE, Host
from device_agents.performance.restoring import restore_orphan
from device_agents.protocol import encode
from device_agents.workspace import Workspace

READY = b"ready\n"

#: A Zero 2 W with a busy SD card starts Python in some seconds.
START_TIMEOUT_S = 60.0

#: Pauses between tries to restore, where a try left something behind.
RETRIES_S = (0.0, 1.0, 5.0, 30.0)

#: A child that the supervisor had just forked keeps its locks until it starts its program.
OWNER_PATIENCE_S = 10.0

#: How long the supervisor waits for a guard that has nothing left to do.
END_TIMEOUT_S = 5.0


class Guard:
    """The supervisor's side: one guard, alive until `end`."""

    def __init__(self, process: Any) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self._process.pid)

    def is_ready(self) -> bool:
        """Whether it is up and watching; waits until it says so."""
        with self._process.stdout as told:
            return bool(select.select([told], [], [], START_TIMEOUT_S)[0]) and os.read(
                told.fileno(), 64
            ).startswith(READY)

    def death(self) -> Optional[str]:
        """What it died of before its time; None if it lives."""
        status = self._process.poll()
        return (
            None
            if status is None
            else "signal {}".format(-status)
            if status < 0
            else "status {}".format(status)
        )

    def end(self) -> None:
        """Let it go; it looks at the lease once more and ends."""
        self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass  # it still tries to put something back, and ends when that is done


def spawn(workspace: Workspace, host: Host) -> Any:
    """Start a guard."""
    from device_agents.own_command import agent_command

    return subprocess.Popen(
        agent_command("--workspace", workspace.root, "guard"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=workspace.root,
        start_new_session=True,
        env=dict(os.environ, **{ROOT_VARIABLE: host.root}),
    )


def watch(workspace: Workspace, host: Host, out: BinaryIO) -> int:
    """The guard itself: wait for the end of standard input, then restore; returns the exit status."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a board that shuts down stops the supervisor, which ends this
    out.write(READY)
    out.flush()
    while os.read(0, 4096):
        pass
    for pause in RETRIES_S:
        time.sleep(pause)
        if not workspace.is_raised():
            return 0
        restored = restore_orphan(workspace, host, OWNER_PATIENCE_S)
        if restored is not None:
            sys.stderr.write(encode(restored.told).decode("ascii"))  # into the supervisor's log
    return 0 if not workspace.is_raised() else 1
