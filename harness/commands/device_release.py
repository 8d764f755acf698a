"""`bench device release`: end the lease of a run that is no more, or that has to make room."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.markup import escape

from harness.board_lease import board_busy
from harness.commands import console
from harness.commands.device_check import InventoryOption, NameArgument
from harness.errors import BoardBusy
from harness.farm.boards import load_boards, open_session
from harness.link.device_session import DeviceSession
from reports.plain_text import plain
from reports.units import moment

#: Somebody's next job may begin between the end of the one that was cancelled and the end of its lease.
_TRIES = 5


def release(
    name: NameArgument,
    force: Annotated[bool, typer.Option("--force", help="Cancel the job that is running, too.")] = False,
    inventory: InventoryOption = None,
) -> None:
    """End the lease of whoever has a board, and say whose it was.

    A lease ends by itself two minutes after its run died. A run that is alive waits for the board again.

    Example: bench device release nano-01
    """
    (entry,) = load_boards([name], inventory).values()
    session = open_session(entry)
    try:
        session.open(["null"])
        words = _released(session, force)
    finally:
        session.close()
    console.out.print(f"{escape(entry.name)}: {words}")


def _released(session: DeviceSession, force: bool) -> str:
    cancelled: list[str] = []
    for _ in range(_TRIES):
        reply = session.evict()
        if reply.state == "running" and reply.job is not None and force:
            session.cancel(reply.job)
            cancelled.append(plain(reply.job, 100))
            continue
        jobs = f", whose job {', '.join(cancelled)} was cancelled" if cancelled else ""
        if reply.state == "released":
            since = moment(time.time() - max(0.0, reply.held_s or 0.0))
            holder = escape(plain(reply.holder or "a run", 200))
            return f"no longer held by {holder}{jobs}; it had it since {since}"
        if reply.state == "free":
            return f"is free{jobs}"
        break
    busy = board_busy(session.device, reply)
    raise BoardBusy(
        f"{busy.message}, and job {plain(reply.job or '', 100)} is being measured",
        "wait until it has ended, or give --force to cancel it",
    )
