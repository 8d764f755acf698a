"""`local` as a board: commands run here, through the same POSIX shell line that SSH would carry."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO

from harness.errors import LinkLost, LinkTimeout
from harness.link.stderr_tail import StderrTail
from harness.link.transport import checked_line

#: How long a wait sleeps between two looks at a process; a pidfd would do, but macOS has none.
_LONGEST_NAP_S = 0.02

#: How much output is taken in while input is written; as much as an SSH session's window.
_EARLY_OUTPUT_BYTES = 4 << 20


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
    """A child process and its three pipes."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._name = name
        self._process = process
        self._stdin = _opened(process.stdin)
        self._stdout = _opened(process.stdout)
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self._stderr = _Drain(_opened(process.stderr))
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
            time.sleep(nap)
            nap = min(nap * 2, _LONGEST_NAP_S)
        # What it said last may still be in the pipe; a grandchild may hold that open for ever.
        self._stderr.settle(0.2)
        return status

    def stderr_tail(self) -> str:
        """The last of what it wrote to standard error so far."""
        return self._stderr.tail.text()

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
        self._stderr.close()
        self._stdin.close()
        self._stdout.close()

    def _can_write(self, timeout_s: float) -> bool:
        """Wait until it takes input, or else has output that has to be read first: a pipe holds only 64 KiB.

        SSH takes in as much output unasked; what works there has to work here.
        """
        self._refuse_if_closed(self._stdin)
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            if len(self._early) < _EARLY_OUTPUT_BYTES and not self._output_ended:
                selector.register(self._stdout, selectors.EVENT_READ)
            ready = [key.fileobj for key, _ in selector.select(timeout_s)]
        if not ready:
            raise LinkTimeout(f"{self._name}: the command took no input for {timeout_s:g} s")
        return self._stdin in ready

    def _await_output(self, timeout_s: float) -> None:
        self._refuse_if_closed(self._stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise LinkTimeout(f"{self._name}: the command said nothing for {timeout_s:g} s")

    def _refuse_if_closed(self, stream: IO[bytes]) -> None:
        if stream.closed:
            raise LinkLost(f"{self._name}: this end of the command is closed")


class _Drain:
    """A thread that empties a pipe into a StderrTail, so that a chatty command never blocks on it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.tail = StderrTail()
        self._pipe = pipe
        # Closing a descriptor under a blocked read is undefined; the thread is woken through this instead.
        self._wake_reader, self._wake_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
        self._thread.start()

    def settle(self, timeout_s: float) -> None:
        """Wait for the end of the pipe, at most that long."""
        self._thread.join(timeout_s)

    def close(self) -> None:
        """Stop reading, whoever may still hold the other end."""
        os.close(self._wake_writer)
        self._thread.join()
        os.close(self._wake_reader)
        self._pipe.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                data = os.read(self._pipe.fileno(), 65536) if self._pipe in ready else b""
                if not data:
                    return
                self.tail.add(data)


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
