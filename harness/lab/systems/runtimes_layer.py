"""The runtimes that boards come up with: what `bench device setup` leaves on a bare board, kept as a layer.

It is made once for a root and a set of packages, by that very command's code on a board that lives no longer,
and lies between the root and each board's own changes. So boards of several kinds share it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import LabError
from harness.farm.board_packages import BoardPlatform, Pin, packages_for, pip_pin, possible_runtimes
from harness.farm.board_setup import SetupOutcome, plan_setup, set_up
from harness.farm.boards import open_session
from harness.farm.inventory import DeviceEntry
from harness.lab.boards.board import Board
from harness.lab.boards.kinds import Kind
from harness.lab.machine.programs import call
from harness.lab.systems.roots import GLIBC, PYTHON, root_folder
from harness.link.device_session import DeviceSession

Tell = Callable[[str], None]

#: What is of one board and not of its runtimes: the blobs are the wheels once more.
_NOT_KEPT = frozenset({"blobs", "jobs", "engines", "lock"})
#: Raised when what is kept changes.
_RECIPE = 1


@dataclass(frozen=True)
class RuntimesLayer:
    """Where the layer is, or will be once it is made."""

    folder: Path
    runtimes: tuple[str, ...]
    #: All that is fetched for it.
    pins: tuple[Pin, ...]

    @property
    def is_made(self) -> bool:
        """Whether boards can lie on it."""
        return self.folder.is_dir()

    @property
    def tree(self) -> Path:
        """What is laid over the root."""
        return self.folder / "tree"

    @property
    def python(self) -> str:
        """The interpreter that has the runtimes, by its path on a board."""
        return (self.folder / "python").read_text("utf-8")


def layer_of(roots: Path, kind: Kind) -> RuntimesLayer | None:
    """The layer for boards of that kind; None where there is nothing to install."""
    if not kind.is_emulated:
        return None
    features = frozenset(kind.cpuinfo.get("Features", "").split())
    platform = BoardPlatform("aarch64", PYTHON, GLIBC, features)
    runtimes = possible_runtimes(platform)
    pins = (*packages_for(platform, runtimes), pip_pin(platform))
    words = json.dumps([root_folder(roots).name, [pin.exact for pin in pins], _RECIPE])
    folder = roots / f"runtimes-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
    return RuntimesLayer(folder, runtimes, pins)


def make_layer(layer: RuntimesLayer, board: Board, entry: DeviceEntry, tell: Tell) -> None:
    """Set the bare `board` up, which `entry` reaches, and keep the outcome; raises CaseError or LabError."""
    began = time.monotonic()
    partial = layer.folder.with_name(layer.folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "tree").mkdir(parents=True)
    try:
        outcome = _set_up(layer, entry, partial / "wheels", tell)
        _keep(board, Path(outcome.python).parents[2], partial / "tree")
        (partial / "python").write_text(outcome.python, "utf-8")
        shutil.rmtree(partial / "wheels")
        partial.rename(layer.folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    tell(f"made in {time.monotonic() - began:.0f} s")


def _set_up(layer: RuntimesLayer, entry: DeviceEntry, wheels: Path, tell: Tell) -> SetupOutcome:
    """What `bench device setup` does."""

    def session_with(python: str) -> DeviceSession:
        return open_session(replace(entry, python=python))

    session = open_session(entry)
    try:
        session.open(["null"])
        plan = plan_setup(session.examine(), layer.runtimes, None, entry.name)
        if plan.everything != layer.pins:
            raise LabError(
                f"{entry.name}: asks for {', '.join(pin.exact for pin in plan.everything)} and not for "
                f"{', '.join(pin.exact for pin in layer.pins)}, what a board of its kind should get"
            )
        return set_up(plan, session, session_with, wheels, tell)
    finally:
        session.close()


def _keep(board: Board, workspace: Path, tree: Path) -> None:
    """Copy the agent's folder out of the running board, with all owners and modes from `/` down."""
    root = board.root_seen_from_here
    inside = workspace.relative_to("/")
    names = sorted(path.name for path in (root / inside).iterdir() if path.name not in _NOT_KEPT)
    paths = [str(inside / name) for name in names]
    call("sh", "-c", 'cd "$0" && to=$1 && shift && cp -a --parents "$@" "$to"', root, tree, *paths)
