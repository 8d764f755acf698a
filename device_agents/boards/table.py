"""The kinds of boards there are, and which one this is: by its device tree, never by what somebody typed.

Each is imported when it is found: a process has one board.
"""

import re
from typing import Callable, Tuple

from device_agents.boards.board import Board
from device_agents.boards.device_tree import compatible as compatible
from device_agents.boards.generic_linux import GenericLinux
from device_agents.boards.host import Host


def _raspberry_pi(host: Host) -> Board:
    from device_agents.boards.raspberry_pi import RaspberryPi

    return RaspberryPi(host)


def _jetson(host: Host) -> Board:
    from device_agents.boards.jetson import Jetson

    return Jetson(host)


#: Boards by a `compatible` string that only they have. A carrier board puts its own in front of these.
BOARDS: Tuple[Tuple[str, Callable[[Host], Board]], ...] = (
    (r"raspberrypi,.+|brcm,bcm(2835|2836|2837|2711|2712)", _raspberry_pi),
    (r"nvidia,tegra(210|186|194|234|264)", _jetson),
)


def this_board(host: Host) -> Board:
    """The board behind `host`; any other is plain Linux."""
    names = compatible(host.files)
    for pattern, board in BOARDS:
        if any(re.fullmatch(pattern, name) for name in names):
            return board(host)
    return GenericLinux(host)
