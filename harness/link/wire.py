"""Messages of the agent read off a channel, one line each, within bounds."""

from __future__ import annotations

import json
import time
from typing import Any, TypeVar

from device_agents.protocol import (
    MAX_LINE_BYTES,
    PROTOCOL_VERSION,
    CommandFailed,
    ProtocolError,
    decode,
)
from harness.errors import AgentError, BoardBusy, BoardFull, DeviceError, LeaseLost, LinkTimeout, reason_word
from harness.link.transport import OUTPUT_REMEDY, Channel

T = TypeVar("T")

#: A line may come in pieces; all of them have to come within this many times what one may take.
LINE_PATIENCE = 5

#: How much of an agent's words on a failed command is kept, characters.
MAX_WORDS = 8000


class LineReader:
    """Whole lines of a channel's output; `consumed` counts the bytes of those handed out."""

    def __init__(self, channel: Channel, device: str) -> None:
        self._channel = channel
        self._device = device
        self._buffer = bytearray()
        self.consumed = 0

    def line(self, timeout_s: float) -> bytes | None:
        """The next line, newline included, or None at the end of the output.

        Raises LinkTimeout when nothing comes for `timeout_s`, or the line's end not in a few times that.
        """
        give_up = time.monotonic() + LINE_PATIENCE * timeout_s
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0:
                line = bytes(self._buffer[: end + 1])
                del self._buffer[: end + 1]
                self.consumed += len(line)
                return line
            if len(self._buffer) > MAX_LINE_BYTES:
                raise AgentError(
                    f"{self._device}: the agent sent a line of more than {MAX_LINE_BYTES} bytes",
                    OUTPUT_REMEDY,
                    "bad_protocol",
                )
            if time.monotonic() > give_up:
                raise LinkTimeout(
                    f"{self._device}: a line was not complete within {LINE_PATIENCE * timeout_s:g} s"
                )
            searched = len(self._buffer)
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
        spoken = _protocol_of(line)
        if spoken not in (None, PROTOCOL_VERSION):
            raise protocol_mismatch(device, spoken) from error
        raise AgentError(
            f"{device}: the agent said something that is not of its protocol: {error}",
            OUTPUT_REMEDY,
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


def protocol_mismatch(device: str, spoken: object) -> AgentError:
    """The error of an agent that speaks another protocol than this harness."""
    return AgentError(
        f"{device}: its agent speaks protocol {str(spoken)[:20]}, this edgebench {PROTOCOL_VERSION}",
        "update edgebench on this computer, or remove the agent's folder `agents` on the board: "
        "the one that fits is sent again then",
        reason="protocol_mismatch",
    )


def _protocol_of(line: bytes) -> object:
    """The number that a message which cannot be understood gives of its protocol, if it gives one."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return None
    number = body.get("protocol") if isinstance(body, dict) else None
    return number if type(number) is int else None


def command_error(device: str, failed: CommandFailed) -> DeviceError:
    """The error that a failed command of the agent is here."""
    message = f"{device}: {failed.message[:MAX_WORDS]}"
    if failed.reason == "disk_full":
        return BoardFull(message, f"free some space on the board, or run `bench device clean {device}`")
    if failed.reason == "board_busy":
        remedy = f"wait until that has ended; if that run is no more: bench device release {device}"
        return BoardBusy(message, remedy)
    if failed.reason == "lease_lost":
        return LeaseLost(message, "run again with --resume")
    if failed.reason == "protocol_mismatch":
        remedy = "update edgebench on this computer, or remove the agent's folder `agents` on the board"
        return AgentError(message, remedy, failed.reason)
    if failed.reason == "job_lost":
        remedy = "see whether the board restarted; a `workspace` on its disk, not in memory, outlives that"
        return AgentError(message, remedy, failed.reason)
    return AgentError(message, reason=reason_word(failed.reason, "agent_error"))
