"""The byte stream under an SSH connection: TCP, a proxy command, or a channel through a jump host."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, TYPE_CHECKING

from harness.errors import Unreachable
from harness.link.ssh_address import SshAddress

if TYPE_CHECKING:
    import paramiko

#: Data that the other side does not acknowledge for this long ends a TCP connection. With keepalives
#: every 15 s a vanished board is noticed within that time, also while nobody reads or writes.
SILENCE_LIMIT_S = 60.0

#: How much of a proxy command's last words goes into a message.
_PROXY_WORDS = 500


class WatchedStream:
    """What paramiko writes to and reads from, with a limit on how long a write may stand still.

    paramiko itself retries a blocked write for ever.
    """

    def __init__(self, inner: socket.socket | paramiko.Channel, proxy: ProxyProcess | None = None) -> None:
        self._inner = inner
        self._proxy = proxy
        self._blocked_since: float | None = None
        #: May be set anew before each write.
        self.stall_limit_s = SILENCE_LIMIT_S
        #: Whether a write was given up.
        self.stalled = False
        #: paramiko looks at this name of CPython's sockets when it hangs up.
        self._closed = False

    def send(self, data: bytes) -> int:
        """As socket.send; OSError once nothing has moved for `stall_limit_s`."""
        try:
            sent = self._inner.send(data)
        except TimeoutError:
            now = time.monotonic()
            self._blocked_since = self._blocked_since or now
            if now - self._blocked_since < self.stall_limit_s:
                raise
            self.stalled = True
            raise ConnectionAbortedError(f"nothing was taken for {self.stall_limit_s:g} s") from None
        self._blocked_since = None
        return sent

    def recv(self, limit: int) -> bytes:
        """As socket.recv."""
        return self._inner.recv(limit)

    def settimeout(self, timeout_s: float | None) -> None:
        """As socket.settimeout."""
        self._inner.settimeout(timeout_s)

    def close(self) -> None:
        """Hang up, and end the proxy command."""
        self._closed = True
        self._inner.close()
        if self._proxy:
            self._proxy.end()

    def last_words(self) -> str:
        """What a proxy command said on its standard error, as an appendix to a message."""
        words = self._proxy.last_words() if self._proxy else ""
        return f" (proxy command: {words})" if words else ""


class ProxyProcess:
    """A running proxy command, in its own process group."""

    def __init__(self, command: str, stream: socket.socket) -> None:
        self._lock = threading.Lock()
        self._words = ""
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed in end)
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=stream.fileno(),
            stdout=stream.fileno(),
            stderr=self._stderr,
            start_new_session=True,
        )

    def last_words(self) -> str:
        """The end of what it wrote to standard error, on one line."""
        with self._lock:
            if not self._stderr.closed:
                size = self._stderr.seek(0, os.SEEK_END)
                self._stderr.seek(max(0, size - _PROXY_WORDS))
                self._words = " ".join(self._stderr.read().decode("utf-8", "replace").split())
            return self._words

    def end(self) -> None:
        """Kill its group and reap it; paramiko's thread may do so before we ask for the last words."""
        self.last_words()
        with self._lock:
            if self._process.returncode is None:
                try:
                    os.killpg(self._process.pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    self._process.kill()
                self._process.wait()
            self._stderr.close()


def open_stream(address: SshAddress, label: str, jump: paramiko.Transport | None) -> WatchedStream:
    """Connect to `address`, through `jump` if there is one; raises Unreachable."""
    if jump is not None:
        return WatchedStream(_jump_channel(address, label, jump))
    if address.proxy_command is not None:
        ours, theirs = socket.socketpair()
        with theirs:
            return WatchedStream(ours, ProxyProcess(address.proxy_command, theirs))
    try:
        stream = socket.create_connection((address.host, address.port), timeout=address.connect_timeout_s)
    except socket.gaierror as error:
        raise Unreachable(
            f"{label}: the host name {address.host!r} cannot be resolved ({error.strerror})",
            "check the name, or give an address",
        ) from error
    except OSError as error:
        raise Unreachable(
            f"{label}: no connection to {address.host} port {address.port}: {error.strerror or error}",
            "check that the board is up, in this network, and runs an SSH server there",
        ) from error
    _tune(stream)
    return WatchedStream(stream)


def _jump_channel(address: SshAddress, label: str, jump: paramiko.Transport) -> paramiko.Channel:
    import paramiko

    try:
        return jump.open_channel(
            "direct-tcpip",
            (address.host, address.port),
            ("127.0.0.1", 0),
            timeout=address.connect_timeout_s,
        )
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise Unreachable(
            f"{label}: the jump host could not connect to {address.host} port {address.port}: {error}",
            "check that the board is up and that the jump host allows forwarding",
        ) from error


def _tune(stream: socket.socket) -> None:
    """Small packets at once; an end for connections whose other side is gone."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENCE_LIMIT_S * 1000))
    elif sys.platform == "darwin":
        # TCP_RXT_CONNDROPTIME of <netinet/tcp.h>, which the socket module does not name; seconds.
        stream.setsockopt(socket.IPPROTO_TCP, 0x80, int(SILENCE_LIMIT_S))
