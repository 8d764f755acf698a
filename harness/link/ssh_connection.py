"""An authenticated SSH connection: stream, key exchange, host key check, authentication, in this order.

Everything paramiko raises on the way is translated here; nothing of a connection survives a failure.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import paramiko
from paramiko.common import MSG_CHANNEL_REQUEST

from harness.errors import AccessDenied, LinkLost, LinkTimeout, Unreachable
from harness.link.handshakes import HANDSHAKES
from harness.link.host_keys import HostKey
from harness.link.ssh_address import SshAddress
from harness.link.ssh_keys import OfferedKey, offered_keys
from harness.link.ssh_stream import WatchedStream, open_stream

if TYPE_CHECKING:
    import socket

#: Bytes in flight per channel; at 100 ms of round trip this still carries 40 MB/s.
WINDOW_BYTES = 4 << 20
PACKET_BYTES = 32 << 10

#: An exit-signal is kept in paramiko's exit_status as this minus the signal's number: -1 is taken.
SIGNAL_BASE = -1000

#: Signals are named on the wire; a name outside RFC 4254's list (SIGBUS) comes as "SIG@openssh.com".
_UNNAMED_SIGNAL = 128

# paramiko's own threads log tracebacks of what we report as errors ourselves.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class SshConnection:
    """A connection ready for commands, with the jump hosts it goes through."""

    def __init__(
        self, transport: paramiko.Transport, stream: WatchedStream, close: Callable[[], None]
    ) -> None:
        self.transport = transport
        self.stream = stream
        self._close = close

    @property
    def is_alive(self) -> bool:
        """Whether it is not known to be dead."""
        return self.transport.is_active()

    def open_session(self, board: str, timeout_s: float) -> paramiko.Channel:
        """A channel for one command; LinkLost or LinkTimeout mean that the connection is of no more use."""
        try:
            return self.transport.open_session(WINDOW_BYTES, PACKET_BYTES, timeout=timeout_s)
        except paramiko.ChannelException as error:
            raise Unreachable(
                f"{board}: the SSH server refuses another session ({error.text})",
                "raise MaxSessions in its sshd_config, or end other work on this connection",
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if self.is_alive:
                raise LinkTimeout(f"{board}: no session could be opened within {timeout_s:g} s") from error
            raise LinkLost(f"{board}: the connection broke ({_words(error)})") from error

    def close(self) -> None:
        """Hang up, jump hosts included."""
        self._close()


def connect(address: SshAddress, board: str) -> SshConnection:
    """Connect and authenticate with keys.

    Raises Unreachable, LinkTimeout, HostKeyUnknown, HostKeyMismatch or AccessDenied.
    """
    with _handshaken(address, board) as (transport, stream, cleanup):
        address.trust.check(board, shown_key(transport))
        authenticate(transport, address, board)
        transport.set_keepalive(int(address.keepalive_s))
        return SshConnection(transport, stream, cleanup.pop_all().close)


def fetch_host_key(address: SshAddress, board: str, key_type: str | None = None) -> HostKey:
    """The key the server shows, unchecked and without authenticating; of `key_type` if that is given.

    Jump hosts on the way are checked and authenticated to as always.
    """
    with _handshaken(address, board, (key_type,) if key_type else None) as (transport, _, _):
        return shown_key(transport)


@contextmanager
def handshaken_unchecked(address: SshAddress, board: str, expected: HostKey) -> Iterator[paramiko.Transport]:
    """A connection to a server that shows `expected`, before authentication; hung up at the end."""
    with _handshaken(address, board, (expected.type,)) as (transport, _, _):
        if shown_key(transport) != expected:
            raise Unreachable(f"{board}: showed another host key than a moment ago")
        yield transport


@contextmanager
def _handshaken(
    address: SshAddress, board: str, key_types: tuple[str, ...] | None = None
) -> Iterator[tuple[paramiko.Transport, WatchedStream, ExitStack]]:
    """A connection after key exchange; all of it is closed at the end unless the stack is emptied.

    The block is for logging in: as long as it lasts, others may have to wait with theirs (handshakes.py).
    """
    with ExitStack() as cleanup:
        jump: paramiko.Transport | None = None
        for hop in address.jumps:
            label = f"{board}: jump host {hop}"
            with HANDSHAKES.at(hop.host, hop.port):
                stream = open_stream(hop, label, jump)
                with HANDSHAKES.computing():
                    jump = _key_exchange(stream, hop, label, _pinned_types(hop), cleanup)
                    hop.trust.check(label, shown_key(jump))
                    authenticate(jump, hop, label)
            jump.set_keepalive(int(hop.keepalive_s))
        with HANDSHAKES.at(address.host, address.port):
            stream = open_stream(address, board, jump)
            wanted = _pinned_types(address) if key_types is None else key_types
            with HANDSHAKES.computing():
                yield _key_exchange(stream, address, board, wanted, cleanup), stream, cleanup


def _key_exchange(
    stream: WatchedStream, address: SshAddress, label: str, key_types: tuple[str, ...], cleanup: ExitStack
) -> paramiko.Transport:
    cleanup.callback(stream.close)
    transport = _SignalAwareTransport(
        cast("socket.socket", stream),
        default_window_size=WINDOW_BYTES,
        default_max_packet_size=PACKET_BYTES,
    )
    cleanup.callback(transport.close)
    _prefer(transport, key_types)
    transport.banner_timeout = transport.handshake_timeout = address.connect_timeout_s
    transport.auth_timeout = address.connect_timeout_s
    try:
        transport.start_client(timeout=2 * address.connect_timeout_s)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise Unreachable(
            f"{label}: {address.host} port {address.port} does not talk SSH with us: {_words(error)}"
            f"{stream.last_words()}",
            "check that an SSH server listens there; a full or starting one hangs up as well",
        ) from error
    if transport.host_key is None:
        raise LinkTimeout(f"{label}: key exchange took longer than {2 * address.connect_timeout_s:g} s")
    return transport


def shown_key(transport: paramiko.Transport) -> HostKey:
    """The host key of this connection; its signature is verified by the key exchange."""
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.asbytes())


def authenticate(transport: paramiko.Transport, address: SshAddress, label: str) -> None:
    """Log in with the first key that is accepted; raises AccessDenied naming what was tried."""
    tried: list[str] = []
    skipped: list[str] = []
    why = ""
    with offered_keys(address, skipped) as keys:
        for offered in keys:
            tried.append(offered.source)
            accepted, why = _offer(transport, address, label, offered)
            if accepted:
                return
            if why:
                break
    raise _denied(address, label, why, tried, skipped)


def _offer(
    transport: paramiko.Transport, address: SshAddress, label: str, offered: OfferedKey
) -> tuple[bool, str]:
    """Whether the key was accepted; otherwise why no further key needs to be tried, or nothing."""
    try:
        missing = transport.auth_publickey(address.user, offered.key)
    except paramiko.BadAuthenticationType as error:
        return False, f"it allows only {', '.join(error.allowed_types)}"
    except paramiko.AuthenticationException as error:
        if "timeout" in str(error).lower():
            raise LinkTimeout(
                f"{label}: no answer to a login within {address.connect_timeout_s:g} s"
            ) from error
        if transport.is_active():
            return False, ""
        if getattr(transport, "said_goodbye", False):
            return False, "it hung up after so many keys"
        raise LinkLost(f"{label}: the connection broke during the login") from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise LinkLost(f"{label}: the connection broke during the login ({_words(error)})") from error
    if transport.is_authenticated():
        return True, ""
    return False, f"besides a key it wants {', '.join(missing)}"


def _denied(address: SshAddress, label: str, why: str, tried: list[str], skipped: list[str]) -> AccessDenied:
    offered = (
        f"accepted none of the keys offered: {', '.join(tried)}" if tried else "got no key: none was found"
    )
    details = "".join(f"; {note}" for note in ([why] if why else []) + skipped)
    port = f"-p {address.port} " if address.port != 22 else ""
    return AccessDenied(
        f"{label}: {address} {offered}{details}",
        f"put your key there with `ssh-copy-id {port}{address.user}@{address.host}`, "
        "or load it into ssh-agent, or name it as `identity`",
    )


def _pinned_types(address: SshAddress) -> tuple[str, ...]:
    return tuple(line.key.type for line in address.trust.pinned() if not line.marker)


def _prefer(transport: paramiko.Transport, key_types: tuple[str, ...]) -> None:
    """Ask for the pinned types of host key first: a server has several, and any other would not match.

    And for AES-GCM: measured over loopback, it carries twice what AES-CTR with a separate MAC does.
    """
    options = transport.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda name: "gcm" not in name)
    wanted: list[str] = []
    for key_type in key_types:
        wanted += ("rsa-sha2-512", "rsa-sha2-256") if key_type == "ssh-rsa" else (key_type,)
    known = list(options.key_types)
    first = [name for name in wanted if name in known]
    options.key_types = [*first, *(name for name in known if name not in first)]


def _words(error: BaseException) -> str:
    """What an error says; EOFError and timeouts say nothing themselves."""
    return str(error) or ("the other side hung up" if isinstance(error, EOFError) else type(error).__name__)


def _handle_channel_request(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """Record exit-signal: paramiko ignores it, which would make a killed command look like a broken link."""
    start = message.packet.tell()
    if message.get_text() != "exit-signal":
        message.packet.seek(start)
        channel._handle_request(message)  # type: ignore[attr-defined]  # noqa: SLF001
        return
    message.get_boolean()
    name = message.get_text()
    number = getattr(signal, f"SIG{name}", None)
    known = isinstance(number, signal.Signals)
    channel.exit_status = SIGNAL_BASE - int(cast("signal.Signals", number)) if known else _UNNAMED_SIGNAL
    channel.status_event.set()


class _SignalAwareTransport(paramiko.Transport):
    _channel_handler_table: dict[int, Any] = {  # noqa: RUF012  (overrides paramiko's class attribute)
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]  # noqa: SLF001
        MSG_CHANNEL_REQUEST: _handle_channel_request,
    }
    #: Whether the server said that it hangs up; a link that breaks says nothing.
    said_goodbye = False

    def run(self) -> None:
        """As paramiko's, but for a link that breaks just when a channel is being opened.

        That channel does not know its transport yet, over which paramiko's thread falls (5.1, _unlink).
        """
        try:
            super().run()
        except AttributeError:
            for channel in list(self._channels.values()):  # type: ignore[attr-defined]
                with suppress(AttributeError):
                    channel._unlink()  # noqa: SLF001
            self.active = False
            self.packetizer.close()
            self.sock.close()

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        self.said_goodbye = True
        super()._parse_disconnect(message)  # type: ignore[misc]


@contextmanager
def deadline(connection: SshConnection, board: str, timeout_s: float, what: str) -> Iterator[None]:
    """For calls of paramiko that wait without end: hangs up after `timeout_s` and says LinkTimeout."""
    expired = threading.Event()

    def hang_up() -> None:
        expired.set()
        connection.transport.close()

    timer = threading.Timer(timeout_s, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (paramiko.SSHException, EOFError, OSError) as error:
        if expired.is_set():
            raise LinkTimeout(f"{board}: {what} took longer than {timeout_s:g} s") from error
        raise LinkLost(f"{board}: the connection broke during {what} ({_words(error)})") from error
    finally:
        timer.cancel()
