"""The kinds of boards there are, and which one this is: by its device tree, never by what somebody typed."""

from typing import List

from device_agents.boards.board import Board
from device_agents.boards.generic_linux import GenericLinux
from device_agents.boards.host import Host
from device_agents.boards.linux_files import LinuxFiles


def compatible(files: LinuxFiles) -> List[str]:
    """The device tree's `compatible` strings, most specific first."""
    for path in ("/proc/device-tree/compatible", "/sys/firmware/devicetree/base/compatible"):
        text = files.text(path)
        if text:
            return text.split()
    return []


def this_board(host: Host) -> Board:
    """The board behind `host`."""
    return GenericLinux(host)
