"""`local` as a board: commands run here, through the same POSIX shell line that SSH would carry."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import IO

from harness.errors import LinkLost, LinkTimeout
from harness.link.stderr_tail import StderrTail
from harness.link.transport import checked_line

#: How long a wait sleeps between two looks at a process; a pidfd would do, but macOS has none.
_LONGEST_NAP_S = 0.02

#: How much output is taken in while input is written; as much as an SSH session's window.
_EARLY_OUTPUT_BYTES = 4 << 20

#: More than a pipe holds: what a command said before it ended is within that.
_LAST_WORDS_BYTES = 2 << 20


class LocalTransport:
    """The machine we run on. A command has its own process group, so Ctrl-C here does not reach it."""

    def __init__(self, name: str = "local") -> None:
        self.name = name

    def start(self, command: Sequence[str]) -> LocalChannel:
        """Start `command` through `sh`, as sshd would: the same quoting, `~/` and exit status 127."""
        line = checked_line(command)
        try:
            process = subprocess.Popen(
                # exec: the shell is replaced, so the status and the signals are the command's own.
                ["/bin/sh", "-c", "exec " + line],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                umask=0o077,
            )
        except OSError as error:
            raise LinkLost(f"{self.name}: cannot start {command[0]!r}: {error}") from error
        return LocalChannel(self.name, process)

    def close(self) -> None:
        """Nothing to hang up; channels close themselves."""


class LocalChannel:
    """A child process and its three pipes.

    Standard error is taken in by every call that waits, so that a chatty command never blocks on it: a thread
    for that would cost each of many boards one, and a selector of its own kind (poll) costs no descriptor.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._name = name
        self._process = process
        self._stdin = _opened(process.stdin)
        self._stdout = _opened(process.stdout)
        self._stderr = _opened(process.stderr)
        for stream in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(stream.fileno(), False)
        self._tail = StderrTail()
        self._stderr_ended = False
        #: Output read while input was written.
        self._early = bytearray()
        self._output_ended = False
        self._closed = False

    def write(self, data: bytes, timeout_s: float) -> None:
        """Send all of `data`; `timeout_s` bounds each standstill, not the whole."""
        rest = memoryview(data)
        while rest:
            if self._can_write(timeout_s):
                try:
                    rest = rest[os.write(self._stdin.fileno(), rest) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise LinkLost(
                        f"{self._name}: the command stopped reading its input ({error})"
                    ) from error
            else:
                output = os.read(self._stdout.fileno(), 65536)
                self._early += output
                self._output_ended = not output

    def finish_input(self) -> None:
        """Close its standard input; closing twice is fine."""
        self._stdin.close()

    def read(self, limit: int, timeout_s: float) -> bytes:
        """At most `limit` bytes of its standard output; empty at its end."""
        if self._early:
            data = bytes(self._early[:limit])
            del self._early[:limit]
            return data
        while True:
            self._await_output(timeout_s)
            try:
                return os.read(self._stdout.fileno(), limit)
            except BlockingIOError:
                continue
            except OSError as error:
                raise LinkLost(f"{self._name}: reading the command's output failed ({error})") from error

    def wait(self, timeout_s: float) -> int:
        """Its exit status, -N when signal N ended it."""
        deadline = time.monotonic() + timeout_s
        nap = 0.0005
        while (status := _status(self._process)) is None:
            if time.monotonic() >= deadline:
                raise LinkTimeout(f"{self._name}: the command did not end within {timeout_s:g} s")
            if self._stderr_ended:
                time.sleep(nap)
            else:
                self._ready({}, nap)
            nap = min(nap * 2, _LONGEST_NAP_S)
        self._take_last_words()
        return status

    def stderr_tail(self) -> str:
        """The last of what it wrote to standard error so far."""
        self._take_last_words()
        return self._tail.text()

    def close(self) -> None:
        """Kill its whole process group (detached jobs have left that) and free the pipes."""
        if self._closed:
            return
        self._closed = True
        # The process is not reaped yet (see _status), so this id cannot be anybody else's.
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                # Gone, or (macOS says EPERM) only a zombie is left.
                self._process.kill()
            self._process.wait()
        for stream in (self._stdin, self._stdout, self._stderr):
            stream.close()

    def _can_write(self, timeout_s: float) -> bool:
        """Wait until it takes input, or else has output that has to be read first: a pipe holds only 64 KiB.

        SSH takes in as much output unasked; what works there has to work here.
        """
        self._refuse_if_closed(self._stdin)
        wanted = {self._stdin: selectors.EVENT_WRITE}
        if len(self._early) < _EARLY_OUTPUT_BYTES and not self._output_ended:
            wanted[self._stdout] = selectors.EVENT_READ
        ready = self._await(wanted, timeout_s)
        if not ready:
            raise LinkTimeout(f"{self._name}: the command took no input for {timeout_s:g} s")
        return self._stdin in ready

    def _await_output(self, timeout_s: float) -> None:
        self._refuse_if_closed(self._stdout)
        if not self._await({self._stdout: selectors.EVENT_READ}, timeout_s):
            raise LinkTimeout(f"{self._name}: the command said nothing for {timeout_s:g} s")

    def _await(self, wanted: Mapping[IO[bytes], int], timeout_s: float) -> list[IO[bytes]]:
        """Those of `wanted` that are ready, as soon as one is; none when `timeout_s` have passed."""
        deadline = time.monotonic() + timeout_s
        while not (ready := self._ready(wanted, deadline - time.monotonic())):
            if time.monotonic() >= deadline:
                break
        return ready

    def _ready(self, wanted: Mapping[IO[bytes], int], timeout_s: float) -> list[IO[bytes]]:
        """Those of `wanted` that are ready within `timeout_s`; none also when standard error was taken in."""
        with selectors.PollSelector() as selector:
            for stream, events in wanted.items():
                selector.register(stream, events)
            if not self._stderr_ended:
                selector.register(self._stderr, selectors.EVENT_READ)
            # poll takes a negative time for no limit.
            ready = [key.fileobj for key, _ in selector.select(max(0.0, timeout_s))]
        if self._stderr in ready:
            self._take_stderr()
        return [stream for stream in wanted if stream in ready]

    def _take_stderr(self) -> int:
        """Keep what is in its standard error now; the number of bytes."""
        if self._stderr_ended or self._stderr.closed:
            return 0
        try:
            data = os.read(self._stderr.fileno(), 65536)
        except BlockingIOError:
            return 0
        self._stderr_ended = not data
        self._tail.add(data)
        return len(data)

    def _take_last_words(self) -> None:
        """What is in its standard error now; something it left behind may go on writing there for ever."""
        taken = 0
        while taken < _LAST_WORDS_BYTES and (size := self._take_stderr()):
            taken += size

    def _refuse_if_closed(self, stream: IO[bytes]) -> None:
        if stream.closed:
            raise LinkLost(f"{self._name}: this end of the command is closed")


def _opened(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _status(process: subprocess.Popen[bytes]) -> int | None:
    """How the process ended, or None while it runs.

    Without reaping it where the system lets us: its id, which names its group, then stays its own.
    """
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.poll()
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
