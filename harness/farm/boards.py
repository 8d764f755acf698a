"""The boards a command line means, and sessions with them."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.farm.connecting import open_transport
from harness.farm.free_board import free_board
from harness.farm.inventory import DeviceEntry, load_inventory
from harness.farm.selection import candidates
from harness.link.device_session import DeviceSession


def load_boards(selectors: Sequence[str], inventory: Path | None) -> dict[str, DeviceEntry]:
    """The boards of the command line by their names, in order; raises UsageError for an unknown one."""
    known = load_inventory(inventory)
    boards: dict[str, DeviceEntry] = {}
    for selector in selectors:
        entry = free_board(candidates(selector, known), open_session)
        boards[entry.name] = entry
    return boards


def possible_boards(selectors: Sequence[str], inventory: Path | None) -> Iterator[dict[str, DeviceEntry]]:
    """Every choice of boards that the command line may have meant; one unless it names kinds of boards."""
    known = load_inventory(inventory)
    for entries in itertools.product(*(candidates(selector, known) for selector in selectors)):
        yield {entry.name: entry for entry in entries}


def open_session(entry: DeviceEntry) -> DeviceSession:
    """A session with a board; `local` runs the Python that runs us, where the runtimes are installed."""
    python, workspace = entry.python, entry.workspace
    if entry.is_local:
        python = sys.executable
        workspace = os.environ.get("EDGEBENCH_CACHE_DIR") or workspace
    return DeviceSession(open_transport(entry), python=python, workspace=workspace)
