"""Which board of a kind to take: the first that answers and measures nothing now."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import DeviceError
from harness.farm.inventory import DeviceEntry
from harness.link.device_session import DeviceSession


def free_board(
    boards: Sequence[DeviceEntry], open_session: Callable[[DeviceEntry], DeviceSession]
) -> DeviceEntry:
    """The first board that is free; of busy ones the one busy longest; the first if none answers.

    A single board is taken as it is: whether it answers shows when it is used.
    """
    if len(boards) == 1:
        return boards[0]
    busy: list[tuple[float, DeviceEntry]] = []
    for board in boards:
        session = open_session(board)
        try:
            probe = session.open(["null"])
        except DeviceError:
            continue  # the others may answer; if none does, using the first one says why
        finally:
            session.close()
        if probe.busy_with is None:
            return board
        busy.append((probe.busy_since or 0.0, board))
    return min(busy, key=lambda pair: pair[0])[1] if busy else boards[0]
