"""The stand-in commands of a family of boards, laid over a tree that is a board for the tests.

Those that virtual boards have too lie in harness/lab/jetson/standins, the others in tests/captures/commands.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.lab.jetson import standins

_REPOSITORY = Path(__file__).parents[2]
_COMMANDS = _REPOSITORY / "tests" / "captures" / "commands"
_OF_THE_LAB = standins.JETSON.parent

#: Families with commands of their own; a tree belongs to the one its name begins with.
FAMILIES = tuple(sorted(folder.name for folder in _COMMANDS.iterdir() if folder.is_dir()))


def lay_commands(family: str, root: Path) -> None:
    """Copy a family's commands below `root`; those of the tests win."""
    for place in (_OF_THE_LAB / family, _COMMANDS / family):
        if place.is_dir():
            shutil.copytree(place, root, symlinks=True, dirs_exist_ok=True)
