"""The boards a command line means, and sessions with them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.farm.connecting import open_transport
from harness.farm.free_board import free_board
from harness.farm.inventory import DeviceEntry, load_inventory
from harness.farm.selection import candidates
from harness.link.device_session import DeviceSession


def load_boards(selectors: Sequence[str], inventory: Path | None) -> dict[str, DeviceEntry]:
    """The boards of the command line by their names, in order; raises UsageError for an unknown one."""
    chosen = [free_board(boards, open_session) for boards in possible_boards(selectors, inventory)]
    return {entry.name: entry for entry in chosen}


def possible_boards(selectors: Sequence[str], inventory: Path | None) -> list[tuple[DeviceEntry, ...]]:
    """For each word of the command line the boards that it may mean; raises UsageError for an unknown one."""
    known = load_inventory(inventory)
    return [candidates(selector, known) for selector in selectors]


def open_session(entry: DeviceEntry, lease: str | None = None) -> DeviceSession:
    """A session with a board; `local` runs the Python that runs us, where the runtimes are installed.

    `lease` names the run that the session is part of (harness/board_lease.py).
    """
    python, workspace = entry.python, entry.workspace
    if entry.is_local:
        python = sys.executable
        workspace = os.environ.get("EDGEBENCH_CACHE_DIR") or workspace
    return DeviceSession(open_transport(entry), python=python, workspace=workspace, lease=lease)
