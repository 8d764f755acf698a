"""Boards over SSH: one connection each, used for many commands and renewed when it is dead."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import paramiko

from harness.errors import LinkError, LinkLost, LinkTimeout, Unreachable
from harness.link.ssh_address import SshAddress
from harness.link.ssh_connection import SIGNAL_BASE, SshConnection, connect, deadline
from harness.link.stderr_tail import StderrTail
from harness.link.transport import checked_line

#: For opening a session and starting a command on a connection that works.
_START_TIMEOUT_S = 20.0

#: On a connection used before: after a suspended laptop or a changed network it may hang, not fail.
_REUSE_TIMEOUT_S = 8.0


class SshTransport:
    """One board reached by SSH. Nothing is connected before the first command."""

    def __init__(self, name: str, address: SshAddress) -> None:
        self.name = name
        self._address = address
        self._connection: SshConnection | None = None

    def start(self, command: Sequence[str]) -> SshChannel:
        """Start `command` in the user's shell on the board, connecting first where needed."""
        line = checked_line(command).encode("utf-8", "surrogateescape")
        connection, session = self._session()
        with deadline(connection, self.name, _START_TIMEOUT_S, "starting a command"):
            # Bytes, because file names need not be UTF-8.
            session.exec_command(line)
        return SshChannel(self.name, connection, session)

    def close(self) -> None:
        """Hang up; commands in flight lose their link."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _session(self) -> tuple[SshConnection, paramiko.Channel]:
        """A session on the present connection, or on a new one if that one is dead.

        Trying again is safe here: no command was sent yet.
        """
        if self._connection is not None and self._connection.is_alive:
            try:
                return self._connection, self._connection.open_session(self.name, _REUSE_TIMEOUT_S)
            except Unreachable:
                raise
            except LinkError:
                pass
        self.close()
        self._connection = connect(self._address, self.name)
        return self._connection, self._connection.open_session(self.name, _START_TIMEOUT_S)


class SshChannel:
    """A command running at the other end of a session."""

    def __init__(self, name: str, connection: SshConnection, session: paramiko.Channel) -> None:
        self._name = name
        self._connection = connection
        self._session = session
        # paramiko's own wait counts by the wall clock: set back by hours, it would wait for hours.
        self._arrived = threading.Event()
        session.in_buffer.set_event(self._arrived)
        self._stderr = StderrTail()
        # Standard error shares the session's flow control: unread, it would in the end stop the command.
        self._drain = threading.Thread(target=self._drain_stderr, name=f"{name} stderr", daemon=True)
        self._drain.start()

    def write(self, data: bytes, timeout_s: float) -> None:
        """Send all of `data`; `timeout_s` bounds each standstill, not the whole."""
        self._session.settimeout(timeout_s)
        self._connection.stream.stall_limit_s = timeout_s
        rest = memoryview(data)
        try:
            while rest:
                sent = self._session.send(rest[:_CHUNK_BYTES].tobytes())
                if not sent:
                    raise self._lost("the command stopped reading its input")
                rest = rest[sent:]
        except TimeoutError as error:
            raise LinkTimeout(f"{self._name}: the command took no input for {timeout_s:g} s") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if self._connection.stream.stalled:
                self._connection.close()
                raise LinkTimeout(f"{self._name}: the board took no data for {timeout_s:g} s") from error
            raise self._lost("the command stopped reading its input") from error

    def finish_input(self) -> None:
        """Close its standard input; whether it is still there shows at the next read."""
        try:
            self._session.shutdown_write()
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost("the command has ended") from error

    def read(self, limit: int, timeout_s: float) -> bytes:
        """At most `limit` bytes of its standard output; empty at its end."""
        self._session.settimeout(timeout_s)
        if not self._arrived.wait(timeout_s):
            raise LinkTimeout(f"{self._name}: the command said nothing for {timeout_s:g} s")
        try:
            data = self._session.recv(limit)
        except TimeoutError as error:
            raise LinkTimeout(f"{self._name}: the command said nothing for {timeout_s:g} s") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost("the session was closed") from error
        # paramiko ends the stream for a broken connection just as for a finished command.
        if not data and not self._session.eof_received and not self._has_status():
            raise self._lost("the session was closed")
        return data

    def wait(self, timeout_s: float) -> int:
        """Its exit status, -N when signal N ended it (128 when the server has no name for the signal)."""
        if not self._session.status_event.wait(timeout_s):
            raise LinkTimeout(f"{self._name}: the command did not end within {timeout_s:g} s")
        if not self._has_status():
            raise self._lost("the session ended without an exit status")
        # Its last words may still be under way; something it left behind may hold the stream open for ever.
        self._drain.join(0.2)
        status = self._session.exit_status
        return status - SIGNAL_BASE if status <= SIGNAL_BASE else status

    def stderr_tail(self) -> str:
        """The last of what it wrote to standard error so far."""
        return self._stderr.text()

    def close(self) -> None:
        """Close the session: the command gets end of file and SIGPIPE, no more; never raises."""
        try:
            self._session.close()
        except (paramiko.SSHException, EOFError, OSError):
            # Only a message to the server could fail; the session is closed on this side.
            return

    def _has_status(self) -> bool:
        return self._session.exit_status != -1

    def _lost(self, otherwise: str) -> LinkLost:
        """LinkLost that says whether the connection or only the command is gone."""
        if self._connection.is_alive:
            return LinkLost(f"{self._name}: {otherwise}")
        return LinkLost(f"{self._name}: the connection broke")

    def _drain_stderr(self) -> None:
        while True:
            try:
                data = self._session.recv_stderr(_CHUNK_BYTES)
            except TimeoutError:
                continue
            except (paramiko.SSHException, EOFError, OSError):
                return
            if not data:
                return
            self._stderr.add(data)


#: What is handed to paramiko at once; it cuts packets of 32 KiB from it.
_CHUNK_BYTES = 32 << 10
