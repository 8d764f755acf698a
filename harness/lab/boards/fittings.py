"""What boards of one kind are started with, beyond the files that say who they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.lab.jetson.software import JetsonSoftware


@dataclass(frozen=True)
class Fittings:
    """A bare board's, unless a layer of runtimes or a Jetson's software is named."""

    #: The folders its tree lies on, the root last.
    lowers: tuple[Path, ...]
    #: The interpreter of this machine that it has in its root's place.
    host_python: Path | None = None
    #: What the agent runs with by the inventory, where that is not `python3`.
    agent_python: str | None = None
    jetson: JetsonSoftware | None = None
