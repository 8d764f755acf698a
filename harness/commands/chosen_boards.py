"""Which boards a run gets where a kind of board leaves the choice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from harness.board_lease import claim, holder_words
from harness.farm.boards import open_session
from harness.farm.free_board import free_board
from harness.farm.inventory import DeviceEntry
from harness.link.device_session import DeviceSession
from harness.store import Store

#: Of boards of the same kinds so many choices are looked at for a run that can be resumed.
MAX_COMBINATIONS = 1000

#: For each word of the command line the boards that it may mean.
Possible = Sequence[tuple[DeviceEntry, ...]]


def choose_boards(
    possible: Possible, store: Store | None, identity: Callable[[Sequence[str]], str], run_id: str
) -> tuple[dict[str, DeviceEntry], frozenset[str]]:
    """The boards of the run by name, and which of them are claimed for it already.

    The latest unfinished run in `store` that can be resumed has made its choice; else the first free board is
    taken, and claimed before another controller takes it too.
    """
    if store is not None:
        begun = _begun(possible, store, identity)
        if begun is not None:
            return begun, frozenset()
    claimed: set[str] = set()

    def claim_it(session: DeviceSession) -> bool:
        if not claim(session, holder_words(f"run {run_id}")):
            return False
        claimed.add(session.device)
        return True

    chosen = [free_board(boards, lambda entry: open_session(entry, run_id), claim_it) for boards in possible]
    return {entry.name: entry for entry in chosen}, frozenset(claimed)


def _begun(
    possible: Possible, store: Store, identity: Callable[[Sequence[str]], str]
) -> dict[str, DeviceEntry] | None:
    if all(len(boards) == 1 for boards in possible):
        return None
    found = []
    for combination in itertools.islice(itertools.product(*possible), MAX_COMBINATIONS):
        boards = {entry.name: entry for entry in combination}
        run = store.unfinished(identity(list(boards)))
        if run is not None:
            found.append((run.started_at, run.id, boards))
    return max(found, key=lambda each: each[:2])[2] if found else None
