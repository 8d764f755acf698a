"""The seam to a board: start a command there, talk to its standard streams, learn how it ended.

Everything else (sending files, deploying the agent, following a job) is built on these few calls, so a
board needs nothing but a POSIX shell and Python, and a new way to reach boards is one class.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.errors import AgentError, LinkLost, LinkTimeout

#: How much of a command's standard error is kept for messages.
STDERR_LIMIT_BYTES = 8192

#: What to do about a board that says what no agent would.
OUTPUT_REMEDY = "if the board's login shell prints something (in .bashrc, say), make it silent for commands"


class Channel(Protocol):
    """A command running on the board."""

    def write(self, data: bytes, timeout_s: float) -> None:
        """Send all of `data` to its standard input.

        Raises LinkLost when it or the link is gone, LinkTimeout when nothing moves for `timeout_s`.
        """

    def finish_input(self) -> None:
        """Close its standard input."""

    def read(self, limit: int, timeout_s: float) -> bytes:
        """At most `limit` bytes of its standard output as soon as there are any; empty at its end.

        Raises LinkTimeout when nothing comes for `timeout_s`, LinkLost when the connection breaks.
        """

    def wait(self, timeout_s: float) -> int:
        """Its exit status, -N when a signal N ended it; raises LinkTimeout or LinkLost."""

    def stderr_tail(self) -> str:
        """The last of what it wrote to standard error so far."""

    def close(self) -> None:
        """End it and free what it holds; never raises."""


class Transport(Protocol):
    """A way to one board. Safe to use from one thread at a time."""

    #: What messages call the board.
    name: str

    def start(self, command: Sequence[str]) -> Channel:
        """Start `command` (program and arguments) on the board, connecting first where needed.

        Raises Unreachable, AccessDenied, HostKeyMismatch, HostKeyUnknown, LinkLost or LinkTimeout.
        """

    def close(self) -> None:
        """Hang up; never raises."""


@dataclass(frozen=True)
class Completed:
    """How a command ended and what it said."""

    status: int
    stdout: bytes
    stderr: str


def run_command(
    transport: Transport,
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout_s: float = 30.0,
    stdout_limit: int = 4 << 20,
    within_s: float | None = None,
) -> Completed:
    """Run `command` to its end; `timeout_s` bounds each wait, `within_s` all of them together.

    Raises AgentError when it says more than `stdout_limit` bytes.
    """
    give_up = None if within_s is None else time.monotonic() + within_s
    channel = transport.start(command)
    try:
        unread = _write_all(channel, stdin, timeout_s)
        chunks: list[bytes] = []
        size = 0
        while chunk := channel.read(65536, timeout_s):
            chunks.append(chunk)
            size += len(chunk)
            if size > stdout_limit:
                raise AgentError(
                    f"{transport.name}: a command said more than {stdout_limit} bytes and did not end",
                    OUTPUT_REMEDY,
                    "bad_protocol",
                )
            if give_up is not None and time.monotonic() > give_up:
                raise LinkTimeout(f"{transport.name}: an answer was not complete within {within_s:g} s")
        status = channel.wait(timeout_s)
        if unread is not None and status == 0:
            raise unread
        return Completed(status, b"".join(chunks), channel.stderr_tail())
    finally:
        channel.close()


def _write_all(channel: Channel, stdin: bytes, timeout_s: float) -> LinkLost | None:
    """Give a command its input; the error if it stopped reading, for its status may say why."""
    try:
        if stdin:
            channel.write(stdin, timeout_s)
        channel.finish_input()
    except LinkLost as error:
        return error
    return None


def shell_line(command: Sequence[str]) -> str:
    """`command` as one line for a POSIX shell; a leading ~/ of a word stays expandable."""
    return " ".join(_word(word) for word in command)


def checked_line(command: Sequence[str]) -> str:
    """`shell_line` of a command that can be carried; ValueError names what cannot."""
    if not command:
        raise ValueError("a command needs at least a program")
    for word in command:
        if "\0" in word:
            raise ValueError(f"the argument {word!r} holds a NUL character, which no command line can carry")
    return shell_line(command)


def _word(word: str) -> str:
    if word == "~" or not word.startswith("~/"):
        return shlex.quote(word) if word != "~" else word
    return "~/" + shlex.quote(word[2:])
