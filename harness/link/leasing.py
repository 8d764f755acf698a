"""Asking a board for its lease, and waiting for it, across broken connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from device_agents.protocol import LeaseReply
from harness.errors import AgentError, LinkError, LinkLost, LinkTimeout
from harness.link.transport import Transport
from harness.link.wire import LineReader, message_of_kind

#: Whoever waits looks this often whether it should stop.
TICK_S = 0.5

#: The board tells every few seconds who has it (TELL_S of the agent's lease_commands.py).
SILENCE_S = 60.0

_WRITE_TIMEOUT_S = 20.0

_STATES = ("waiting", "granted", "refused")


def lease_replies(
    transport: Transport,
    command: Sequence[str],
    wait_s: float,
    pause: Callable[[int, LinkError], int],
) -> Iterator[LeaseReply | None]:
    """What the board says until it has granted or refused; None every half second meanwhile.

    `command` lacks its last word, how long the agent may wait. A broken connection is renewed after a
    `pause` (Patience.wait); the wait goes on with what is left of it.
    """
    give_up = time.monotonic() + wait_s
    breaks = 0
    while True:
        left_s = max(0.0, give_up - time.monotonic())
        try:
            for reply in _replies(transport, [*command, f"{left_s:.1f}"]):
                if time.monotonic() > give_up + SILENCE_S:
                    raise AgentError(
                        f"{transport.name}: the agent neither gives the board nor refuses it",
                        reason="bad_protocol",
                    )
                breaks = 0 if reply is not None else breaks
                yield reply
                if reply is not None and reply.state != "waiting":
                    return
        except LinkError as error:
            breaks = pause(breaks, error)


def _replies(transport: Transport, command: Sequence[str]) -> Iterator[LeaseReply | None]:
    channel = transport.start(command)
    try:
        lines = LineReader(channel, transport.name)
        heard = time.monotonic()
        while True:
            try:
                line = lines.line(TICK_S)
            except LinkTimeout:
                if time.monotonic() - heard > SILENCE_S:
                    raise
                yield None
                continue
            if line is None:
                said = channel.stderr_tail().strip()[-200:]
                raise LinkLost(f"{transport.name}: the wait for the board broke off {said}".rstrip())
            heard = time.monotonic()
            reply = message_of_kind(transport.name, LeaseReply, line)
            if reply.state not in _STATES:
                raise AgentError(
                    f"{transport.name}: the agent answers {reply.state[:80]!r} to who has the board",
                    reason="bad_protocol",
                )
            if reply.state == "waiting":
                # So that the board knows that somebody is there. If the agent is gone, the next line says so.
                with suppress(LinkLost):
                    channel.write(b"\n", _WRITE_TIMEOUT_S)
            yield reply
    finally:
        channel.close()  # ends the agent's wait, which reads its standard input
