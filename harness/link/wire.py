"""Messages of the agent read off a channel, one line each, within bounds."""

from __future__ import annotations

from typing import Any, TypeVar

from device_agents.protocol import MAX_LINE_BYTES, CommandFailed, ProtocolError, decode
from harness.errors import AgentError, BoardBusy, BoardFull, DeviceError
from harness.link.transport import Channel

T = TypeVar("T")


class LineReader:
    """Whole lines of a channel's output; `consumed` counts the bytes of those handed out."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._buffer = bytearray()
        self.consumed = 0

    def line(self, timeout_s: float) -> bytes | None:
        """The next line, newline included, or None at the end of the output."""
        while True:
            end = self._buffer.find(b"\n")
            if end >= 0:
                line = bytes(self._buffer[: end + 1])
                del self._buffer[: end + 1]
                self.consumed += len(line)
                return line
            if len(self._buffer) > MAX_LINE_BYTES:
                raise AgentError(
                    f"the agent sent a line of more than {MAX_LINE_BYTES} bytes", reason="bad_protocol"
                )
            piece = self._channel.read(65536, timeout_s)
            if not piece:
                # Half a line at the end is a cut link; the line is asked for again from `consumed`.
                return None
            self._buffer += piece


def message_of(device: str, line: bytes) -> Any:
    """The message of a line; a CommandFailed is raised as what it means here."""
    try:
        message = decode(line)
    except ProtocolError as error:
        raise AgentError(
            f"{device}: the agent said something that is not of its protocol: {error}",
            "if the board's login shell prints something (in .bashrc, say), make it silent for commands",
            reason="bad_protocol",
        ) from error
    if isinstance(message, CommandFailed):
        raise command_error(device, message)
    return message


def message_of_kind(device: str, kind: type[T], line: bytes) -> T:
    """The message of a line, which has to be of that kind."""
    message = message_of(device, line)
    if not isinstance(message, kind):
        raise AgentError(
            f"{device}: the agent sent {type(message).__name__} where {kind.__name__} was due",
            reason="bad_protocol",
        )
    return message


def command_error(device: str, failed: CommandFailed) -> DeviceError:
    """The error that a failed command of the agent is here."""
    message = f"{device}: {failed.message}"
    if failed.reason == "disk_full":
        return BoardFull(message, f"free some space on the board, or run `bench device clean {device}`")
    if failed.reason == "board_busy":
        return BoardBusy(message, "wait for the other job, or give --wait a longer time")
    return AgentError(message, reason=failed.reason)
