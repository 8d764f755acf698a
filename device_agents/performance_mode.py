"""Performance mode: clocks and power raised for a job, and restored whatever happens to the agent."""

import time
from typing import Optional

from device_agents.boards.board import Board
from device_agents.boards.host import Host
from device_agents.protocol import PerformanceModeRestored, PerformanceModeSet
from device_agents.workspace import Workspace


class PerformanceMode:
    """The mode of one job."""

    def __init__(self, workspace: Workspace, host: Host, board: Board, mode: str) -> None:
        self._mode = mode

    def enter(self) -> PerformanceModeSet:
        """Raise clocks and power as far as this user may; never raises."""
        return PerformanceModeSet(time.time(), self._mode, False, {}, {}, [])

    def leave(self) -> PerformanceModeRestored:
        """Put back what `enter` changed; never raises, and twice changes nothing."""
        return PerformanceModeRestored(time.time(), True, {}, [])


def restore_leftovers(workspace: Workspace, host: Host) -> Optional[PerformanceModeRestored]:
    """Put back what an agent that died with its guard left changed; None where there is nothing."""
    return None
