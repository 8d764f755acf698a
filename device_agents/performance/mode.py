"""Performance mode: clocks and power raised for a job, and restored whatever happens to the agent.

Before the first change a lease is written (performance/lease.py) and a guard is started
(performance/guard.py). The supervisor puts the board back itself; if it is killed, the guard does; if both
are, the next command does.
"""

import time
from typing import BinaryIO, List, Optional, Tuple

from device_agents.boards import cpufreq
from device_agents.boards.host import Host
from device_agents.performance import guard, jetson, lease, restoring
from device_agents.performance.guard import Guard
from device_agents.performance.lease import Change, Lease
from device_agents.performance.levers import Governor, Lever
from device_agents.protocol import PerformanceModeRestored, PerformanceModeSet
from device_agents.workspace import Workspace

#: Who looks whether the owner of a lease lives holds its lock for a moment.
_OWNER_PATIENCE_S = 5.0

_Planned = List[Tuple[Lever, Change]]


class PerformanceMode:
    """The mode of one job."""

    def __init__(self, workspace: Workspace, host: Host, mode: str) -> None:
        # Which levers there are shows in the tools and files of the board, not in its family's name.
        self._workspace = workspace
        self._host = restoring.for_changes(host, workspace)
        self._mode = mode
        self._hold: Optional[BinaryIO] = None
        self._guard: Optional[Guard] = None
        self._left: Optional[PerformanceModeRestored] = None

    def enter(self) -> PerformanceModeSet:
        """Raise clocks and power as far as this user may; never raises."""
        before = restoring.describe(self._host)
        problems: List[str] = []
        try:
            self._raise(problems)
        except OSError as error:
            problems.append("{}; nothing more was changed".format(restoring.words_of(error)))
        after = restoring.describe(self._host)
        return PerformanceModeSet(time.time(), self._mode, not problems, before, after, problems)

    def leave(self) -> PerformanceModeRestored:
        """Put back what `enter` changed; never raises, and twice changes nothing."""
        if self._left is not None:
            return self._left
        if self._hold is None:
            told = PerformanceModeRestored(time.time(), True, restoring.describe(self._host), [])
        else:
            told = restoring.restore_own(self._workspace, self._host).told
        death = self._guard.death() if self._guard is not None else None
        if death is not None:
            told.problems.append("the guard had died of {}; the supervisor put all back itself".format(death))
        self._release()
        self._left = told
        return told

    # --- raising ----------------------------------------------------------------------------------

    def _raise(self, problems: List[str]) -> None:
        self._hold = restoring.take_ownership(self._workspace, _OWNER_PATIENCE_S)
        if self._hold is None:
            problems.append("another job on this board has the performance mode; nothing was changed")
            return
        planned = self._plan(problems) if self._is_clear(problems) else []
        if not planned or not self._has_guard(problems):
            self._release()
            return
        if not self._set(planned, problems):
            problems += restoring.restore_own(self._workspace, self._host).told.problems
            self._release()

    def _is_clear(self, problems: List[str]) -> bool:
        """Whether nothing is left from an earlier job."""
        if not self._workspace.is_raised():
            return True
        left = restoring.restore_own(self._workspace, self._host)
        if left.pending:
            problems.append("what an earlier job raised is not put back yet; nothing was changed")
            problems += left.told.problems
        return not left.pending

    def _plan(self, problems: List[str]) -> _Planned:
        levers: List[Lever] = [Governor(self._host)]
        if jetson.is_jetson(self._host):
            levers = [jetson.PowerMode(self._host), jetson.Clocks(self._host)]
        planned = []
        for lever in levers:
            change, faults = lever.plan()
            problems += faults
            if change is not None:
                planned.append((lever, change))
        return planned

    def _has_guard(self, problems: List[str]) -> bool:
        self._guard = Guard(guard.spawn(self._workspace, self._host))
        if not self._guard.is_ready():
            problems.append("the guard that would put all back did not start; nothing was changed")
            return False
        return True

    def _set(self, planned: _Planned, problems: List[str]) -> bool:
        """Move the levers, all of which the lease names before the first moves; whether any did."""
        named = Lease(
            boot_id=lease.boot_id(self._host.files),
            owner=(self._workspace.holder() or ("", 0.0))[0],
            since=time.time(),
            changes=[change for _, change in planned],
            limits_before=cpufreq.limits(self._host.files),
            limits_after={},
            restoring=False,
        )
        lease.write(self._workspace, named)
        prepared = []
        for lever, change in planned:
            ready, fault = lever.prepare(change)
            if ready is not None:
                prepared.append((lever, ready))
            if fault is not None:
                problems.append(fault)
        named = named._replace(changes=[change for _, change in prepared])
        lease.write(self._workspace, named)
        touched = False
        for lever, change in prepared:
            moved = lever.set(change)
            problems += moved.problems
            touched |= moved.touched
        lease.write(self._workspace, named._replace(limits_after=cpufreq.limits(self._host.files)))
        return touched

    def _release(self) -> None:
        if self._hold is not None:
            self._hold.close()
            self._hold = None
        if self._guard is not None:
            self._guard.end()
            self._guard = None


def restore_leftovers(workspace: Workspace, host: Host) -> Optional[PerformanceModeRestored]:
    """Put back what an agent that died with its guard left changed; None where there is nothing.

    Nor where the job that changed it lives. One stat where there is no lease. Never raises.
    """
    restored = restoring.restore_orphan(workspace, host, owner_patience_s=0.0)
    return None if restored is None else restored.told
