"""Which board of a kind to take: the first that answers and that nobody has now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from harness.errors import DeviceError
from harness.farm.inventory import DeviceEntry
from harness.link.device_session import DeviceSession


def free_board(
    boards: Sequence[DeviceEntry],
    open_session: Callable[[DeviceEntry], DeviceSession],
    claim: Callable[[DeviceSession], bool] = lambda _session: True,
) -> DeviceEntry:
    """The first board that is free; of busy ones the one busy longest; the first if none answers.

    `claim` makes a free board one's own before somebody else finds it free too, and says whether it did.
    A single board is taken as it is: whether it answers shows when it is used.
    """
    if len(boards) == 1:
        return boards[0]
    busy: list[tuple[float, DeviceEntry]] = []
    for board in boards:
        session = open_session(board)
        try:
            probe = session.open(["null"])
            if probe.busy_with is None and claim(session):
                return board
        except DeviceError:
            continue  # the others may answer; if none does, using the first one says why
        finally:
            session.close()
        busy.append((time.time() if probe.busy_since is None else probe.busy_since, board))
    return min(busy, key=lambda pair: pair[0])[1] if busy else boards[0]
