"""Commands that change the board, run so that others can wait for their end even if this process is killed.

A command goes on when the agent that started it is killed. Whoever restores must not read the board while
`nvpmodel -m` of a dead agent is still at work: it would find nothing to restore, and the board would be
raised a moment later. So each command's standard input is a locked file. The lock lies on the open file,
which sudo and the command inherit (sudo closes all descriptors but the first three), and so lasts until the
last of them ends.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
from typing import BinaryIO, List, Optional

from device_agents.boards.commands import NOT_FOUND, TIMED_OUT, TIMEOUT_S, Commands, Finished
from device_agents.performance import holds

#: nvpmodel -m takes some seconds where it switches cores, jetson_clocks about one.
CHANGE_TIMEOUT_S = 30.0

#: How long a command of a dead agent is waited for.
IDLE_PATIENCE_S = 60.0

_BUSY = "another command that changes the board does not end"


class RootCommands(Commands):
    """The commands under `root`; at any time only one of them runs, whoever started it."""

    def __init__(self, root: str, lock_file: str) -> None:
        super().__init__(root)
        self._lock_file = lock_file

    def wait_until_idle(self) -> bool:
        """Whether no command is at work any more; waits for one that is."""
        with holds.held(self._lock_file, IDLE_PATIENCE_S) as idle:
            return idle

    def run(
        self, name: str, *arguments: str, stdin: Optional[str] = None, timeout_s: float = TIMEOUT_S
    ) -> Finished:
        """As Commands.run, with the locked file for its standard input."""
        path = self.path(name)
        if path is None:
            return Finished(NOT_FOUND, "", "{}: not found on this board".format(name))
        held: Optional[BinaryIO] = None
        try:
            held = holds.take(self._lock_file, IDLE_PATIENCE_S)
            if held is None:
                return Finished(TIMED_OUT, "", _BUSY)
            held.truncate(0)
            held.write((stdin or "").encode("utf-8"))
            held.seek(0)
            return _run([os.path.join(self.root, path.lstrip("/"))] + list(arguments), held, timeout_s)
        except OSError as error:
            return Finished(126, "", "{}: {}".format(error.filename or name, error.strerror))
        finally:
            if held is not None:
                held.close()


def _run(command: List[str], stdin: BinaryIO, timeout_s: float) -> Finished:
    """What it says goes into files: a pipe would break with this process, and the command of that."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=out,
            stderr=err,
            start_new_session=True,
            env=dict(os.environ, LC_ALL="C", LANG="C"),  # its words are parsed
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # What runs as root is not ours to kill; it keeps its lock, and whoever restores waits for it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            message = "{}: no answer within {:g} s".format(os.path.basename(command[0]), timeout_s)
            return Finished(TIMED_OUT, "", message)
        return Finished(status, _text(out), _text(err))


def _text(output: BinaryIO) -> str:
    output.seek(0)
    return output.read(1 << 16).decode("utf-8", "replace")
