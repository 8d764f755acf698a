"""The commands about leases: ask for the board and wait for it, renew, give back, end somebody else's."""

import os
import select
import time
from typing import BinaryIO, List, Optional

from device_agents.leases import Holder, Leases, Ticket
from device_agents.protocol import LeaseReply, encode
from device_agents.workspace import Workspace

#: How often somebody who waits looks, and tells who has the board. Each look reads a small file.
POLL_S = 2.0
TELL_S = 5.0

#: The controller answers whatever it is told. One that has not for this long is gone, and must neither get
#: the board nor keep others from it.
DEAF_S = 30.0


def lease(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    """`lease WORDS WAIT_S`: take the board, or wait for it while standard input stays open."""
    leases, words, give_up = Leases(workspace), arguments[0], time.monotonic() + float(arguments[1])
    if workspace.lease is None:
        raise ValueError("no --lease is named")
    ticket: Optional[Ticket] = None
    told = heard = time.monotonic()
    try:
        while True:
            holder, now = leases.take(words, ticket), time.monotonic()
            if holder is None:
                out.write(encode(LeaseReply("granted")))
                return 0
            if now >= give_up:
                out.write(encode(_reply("refused", holder)))
                return 0
            if ticket is None or now - told >= TELL_S:
                ticket, told = ticket or leases.enter_queue(words), now
                out.write(encode(_reply("waiting", holder)))
                out.flush()
            if select.select([0], [], [], min(POLL_S, give_up - now))[0]:
                if not os.read(0, 4096):
                    return 1  # whoever asked has hung up
                heard = time.monotonic()
            if time.monotonic() - heard > DEAF_S:
                return 1
    finally:
        if ticket is not None:
            ticket.leave()


def renew(workspace: Workspace, _arguments: List[str], out: BinaryIO) -> int:
    """Say whether the lease is the present one; naming it has renewed it already."""
    leases = Leases(workspace)
    out.write(encode(LeaseReply("granted") if leases.renew() else _reply("refused", leases.holder())))
    return 0


def release(workspace: Workspace, _arguments: List[str], out: BinaryIO) -> int:
    """Give the board back."""
    out.write(encode(LeaseReply("released" if Leases(workspace).release() else "free")))
    return 0


def evict(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    """`evict [ID]`: end somebody's lease, or that one, unless a job is running, which has to end first."""
    holder = Leases(workspace).evict(arguments[0] if arguments else None)
    if holder is None:
        out.write(encode(LeaseReply("free")))
    else:
        out.write(encode(_reply("released" if holder.job is None else "running", holder)))
    return 0


def _reply(state: str, holder: Optional[Holder]) -> LeaseReply:
    if holder is None:
        return LeaseReply(state)
    return LeaseReply(state, holder.words[:500], holder.held_s, holder.job, holder.lease)
