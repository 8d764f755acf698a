"""The machine the agent looks at: its files and its commands, of "/" or of a recorded tree.

The variable EDGEBENCH_BOARD_ROOT names a folder that stands in for "/": files are read there, and commands
are those of its own usr/bin and the like. Virtual boards and the agent's own tests live in such trees.
"""

import os
from typing import NamedTuple

from device_agents.boards import commands
from device_agents.boards.commands import Commands
from device_agents.boards.linux_files import LinuxFiles

ROOT_VARIABLE = commands.ROOT_VARIABLE


class Host(NamedTuple):
    """Files and commands under one root."""

    files: LinuxFiles
    commands: Commands

    @property
    def root(self) -> str:
        """Where it begins: / or the tree that stands in for it."""
        return self.files.root


def host_at(root: str) -> Host:
    """The host under `root`."""
    return Host(LinuxFiles(root), Commands(root))


def this_host() -> Host:
    """The machine this process runs on, or the tree that ROOT_VARIABLE names."""
    return host_at(os.environ.get(ROOT_VARIABLE) or "/")
