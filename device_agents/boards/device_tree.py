"""The device tree as Linux shows it: by whom and what a board is, told by its own firmware."""

import struct
from typing import List, Optional

from device_agents.boards.linux_files import LinuxFiles

#: The same tree twice. /proc/device-tree is a link that not every container and virtual board can have.
TREES = ("/proc/device-tree", "/sys/firmware/devicetree/base")


def compatible(files: LinuxFiles) -> List[str]:
    """The device tree's `compatible` strings, most specific first."""
    for tree in TREES:
        text = files.text(tree + "/compatible")
        if text:
            return text.split()
    return []


def model(files: LinuxFiles) -> Optional[str]:
    """What the board calls itself."""
    for tree in TREES:
        text = files.text(tree + "/model")
        if text:
            return text
    return None


def number(files: LinuxFiles, path: str) -> Optional[int]:
    """A property that is one cell: four bytes, the highest first."""
    for tree in TREES:
        try:
            with open(files.path(tree + path), "rb") as file:
                return int(struct.unpack(">I", file.read(5))[0])
        except (OSError, struct.error):
            continue
    return None
