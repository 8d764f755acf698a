"""Running the board's own commands: never waits long, never raises for one that is missing or fails."""

import os
import signal
import subprocess
from typing import List, NamedTuple, Optional

#: Where boards keep their commands. A non-interactive SSH session has half of this on its PATH, and trtexec
#: is on nobody's.
FOLDERS = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/opt/vc/bin",
    "/usr/src/tensorrt/bin",
)

#: A command that says nothing for so long hangs: vcgencmd takes 10 ms, nvpmodel -m some seconds.
TIMEOUT_S = 10.0

#: As a shell reports them.
NOT_FOUND = 127
TIMED_OUT = 124

_OUTPUT_LIMIT = 1 << 20

#: Names the tree that stands in for "/" (host.py).
ROOT_VARIABLE = "EDGEBENCH_BOARD_ROOT"

#: How long a killed command may take to be gone.
_END_S = 1.0


class Finished(NamedTuple):
    """How a command ended and what it said; a missing one has status 127, one that hung 124."""

    status: int
    stdout: str
    stderr: str

    @property
    def reason(self) -> str:
        """Why it failed, in one line of its own words."""
        lines = [line.strip() for line in (self.stderr + "\n" + self.stdout).splitlines() if line.strip()]
        return lines[0][:300] if lines else "status {}".format(self.status)


class Commands:
    """The commands under `root`."""

    def __init__(self, root: str = "/") -> None:
        self.root = root

    @property
    def is_root(self) -> bool:
        """Whether root's commands may be run directly. In a recorded tree its own sudo decides."""
        return self.root == "/" and os.geteuid() == 0

    def path(self, name: str) -> Optional[str]:
        """Where the command lies, as the board sees it; None if it has none."""
        for folder in FOLDERS:
            inside = os.path.join(folder, name)
            found = self._outside(inside)
            if os.path.isfile(found) and os.access(found, os.X_OK):
                return inside
        return None

    def run(
        self, name: str, *arguments: str, stdin: Optional[str] = None, timeout_s: float = TIMEOUT_S
    ) -> Finished:
        """Run a command as the agent's own user."""
        path = self.path(name)
        if path is None:
            return Finished(NOT_FOUND, "", "{}: not found on this board".format(name))
        return _run([self._outside(path)] + list(arguments), stdin, timeout_s, self.root)

    def run_as_root(
        self, name: str, *arguments: str, stdin: Optional[str] = None, timeout_s: float = TIMEOUT_S
    ) -> Finished:
        """Run a command as root: directly, or by `sudo -n`, which refuses instead of asking for a password.

        sudo is given the full path, because a narrow sudoers file names full paths.
        """
        if self.is_root:
            return self.run(name, *arguments, stdin=stdin, timeout_s=timeout_s)
        path = self.path(name)
        if path is None:
            return Finished(NOT_FOUND, "", "{}: not found on this board".format(name))
        return self.run("sudo", "-n", path, *arguments, stdin=stdin, timeout_s=timeout_s)

    def write_as_root(self, path: str, text: str) -> Finished:
        """Write a file of /sys: directly where allowed, else by `sudo -n tee PATH`."""
        if self.root == "/":
            try:
                with open(path, "w") as file:
                    file.write(text)
                return Finished(0, "", "")
            except PermissionError:
                pass
            except OSError as error:
                return Finished(1, "", "{}: {}".format(path, error.strerror))
        return self.run_as_root("tee", path, stdin=text)

    def _outside(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))


def _run(command: List[str], stdin: Optional[str], timeout_s: float, root: str) -> Finished:
    """In a session of its own, so that what hangs is killed with everything it started."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=_environment(root),
        )
    except OSError as error:
        return Finished(126, "", "{}: {}".format(command[0], error.strerror))
    try:
        out, err = process.communicate(stdin.encode("utf-8") if stdin is not None else None, timeout_s)
    except subprocess.TimeoutExpired:
        _abandon(process)
        name = os.path.basename(command[0])
        return Finished(TIMED_OUT, "", "{}: no answer within {:g} s".format(name, timeout_s))
    return Finished(process.returncode, _text(out), _text(err))


def _abandon(process: "subprocess.Popen[bytes]") -> None:
    """End a command that hangs, and wait for nobody: a daemon it left behind may hold the pipes for ever."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (PermissionError, ProcessLookupError):
        pass  # sudo runs as root and is not ours to kill; it is left to itself
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                pass  # what was still to be written has no reader
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        pass


def _environment(root: str) -> "dict[str, str]":
    """The agent's own, in plain English: commands' words are parsed. Those of a tree have to find it."""
    variables = dict(os.environ, LC_ALL="C", LANG="C")
    if root != "/":
        variables[ROOT_VARIABLE] = root
    return variables


def _text(output: bytes) -> str:
    return output[:_OUTPUT_LIMIT].decode("utf-8", "replace")
