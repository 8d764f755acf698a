"""Putting back what a lease names. Any agent may, at any time, as often as need be, never two at once."""

import contextlib
import os
import time
from typing import BinaryIO, ContextManager, Dict, List, NamedTuple, Optional

from device_agents.boards import cpufreq, generic_linux, nvpmodel
from device_agents.boards.host import Host
from device_agents.performance import holds, lease
from device_agents.performance.jetson import Clocks, PowerMode
from device_agents.performance.lease import Change, Lease, LeaseError
from device_agents.performance.levers import Governor, Lever, PutBack
from device_agents.performance.root_commands import RootCommands
from device_agents.protocol import PerformanceModeRestored
from device_agents.workspace import Workspace

#: Unlock before the power mode goes back; see jetson.py.
_LEVERS = (Clocks, PowerMode, Governor)

#: How long somebody else's restoring is waited for: a few commands of at most 30 s, seconds as a rule.
RESTORING_PATIENCE_S = 120.0


class Restored(NamedTuple):
    """What is told of it, and whether a later try may do better."""

    told: PerformanceModeRestored
    pending: bool


def for_changes(host: Host, workspace: Workspace) -> Host:
    """`host` with commands that others can wait for."""
    if isinstance(host.commands, RootCommands):
        return host
    lock_file = os.path.join(workspace.root, "performance.running")
    return host._replace(commands=RootCommands(host.commands.root, lock_file))


def take_ownership(workspace: Workspace, patience_s: float) -> Optional[BinaryIO]:
    """Become who may open a lease; whoever has this lives, and its lease is nobody else's business."""
    return holds.take(os.path.join(workspace.root, "performance.owner"), patience_s)


def restore_orphan(workspace: Workspace, host: Host, owner_patience_s: float) -> Optional[Restored]:
    """Put back what a dead agent's lease names; None where there is no lease or its owner lives."""
    if not workspace.is_raised():
        return None
    try:
        with _one_at_a_time(workspace) as mine:
            if not mine or not workspace.is_raised():
                return None
            owner = take_ownership(workspace, owner_patience_s)
            if owner is None:
                return None
            with owner:
                return _restore(workspace, for_changes(host, workspace))
    except OSError as error:
        return _told(host, [words_of(error)], pending=True)


def restore_own(workspace: Workspace, host: Host) -> Restored:
    """Put back what the lease of this very process names."""
    try:
        with _one_at_a_time(workspace) as mine:
            if not mine:
                message = "another process is at work on the board and does not end; it stays raised"
                return _told(host, [message], pending=True)
            return _restore(workspace, for_changes(host, workspace))
    except OSError as error:
        return _told(host, [words_of(error)], pending=True)


def describe(host: Host) -> Dict[str, str]:
    """Power mode, governors and limits as they are, for people."""
    found: Dict[str, str] = {}
    if host.commands.path("nvpmodel") is not None:
        found["power mode"] = nvpmodel.current_mode(host) or "unknown"
    governor = generic_linux.governor(host.files)
    if governor is not None:
        found["governor"] = governor
    limits = cpufreq.limits(host.files)
    for path, low in limits.items():
        high = limits.get(cpufreq.maximum_of(path))
        if not cpufreq.is_minimum(path) or high is None:
            continue
        folder = os.path.dirname(path)
        per_mhz = 1e3 if "cpufreq" in path else 1e6
        name = cpufreq.short_name(folder) if "cpufreq" in path else "gpu " + os.path.basename(folder)
        found[name] = "{} to {} MHz".format(_mhz(low, per_mhz), _mhz(high, per_mhz))
    return found


def words_of(error: OSError) -> str:
    """What went wrong with which file, for people."""
    return "{}: {}".format(error.filename, error.strerror) if error.filename else str(error)


def _one_at_a_time(workspace: Workspace) -> ContextManager[bool]:
    return holds.held(os.path.join(workspace.root, "performance.restoring"), RESTORING_PATIENCE_S)


def _restore(workspace: Workspace, host: Host) -> Restored:
    try:
        found = lease.read(workspace)
        if found is None:
            return _told(host, [], pending=False)
        assert isinstance(host.commands, RootCommands)
        if not host.commands.wait_until_idle():
            return _told(
                host, ["a command that changes the board does not end; it stays raised"], pending=True
            )
        result = _Restoring(workspace, host, found).run()
        if not result.pending:
            lease.remove(workspace)
        return result
    except LeaseError as error:
        advice = "set governor and power mode by hand, then remove that file"
        return _told(host, ["what a job changed cannot be read: {}; {}".format(error, advice)], pending=True)


class _Restoring:
    """One pass over a lease."""

    def __init__(self, workspace: Workspace, host: Host, found: Lease) -> None:
        self._workspace = workspace
        self._host = host
        self._lease = found
        now = lease.boot_id(host.files)
        self._restarted = found.boot_id is not None and now is not None and found.boot_id != now
        self._problems: List[str] = []

    def run(self) -> Restored:
        """Lever by lever, then the limits that several of them move."""
        self._begin()
        pending = False
        for kind in _LEVERS:
            change = self._change(kind)
            # What does not outlive a restart is as it was, or as somebody set it since.
            if change is not None and (kind.persists or not self._restarted):
                pending |= self._note(
                    kind(self._host).put_back(change, half_done=not self._lease.limits_after)
                )
        clocks = self._change(Clocks)
        if not self._restarted and (clocks is not None or self._change(PowerMode) is not None):
            pending |= self._note(Clocks(self._host).settle(clocks, self._lease.limits_before))
        return _told(self._host, self._problems, pending)

    def _begin(self) -> None:
        """See what others changed, once: later, what is half restored would look like it."""
        change = self._change(Clocks)
        if self._lease.restoring:
            return
        if change is not None and self._lease.limits_after and not self._restarted:
            others = Clocks(self._host).changed_by_others(self._lease.limits_before, self._lease.limits_after)
            if others:
                self._problems += others
                kept = [kept for kept in self._lease.changes if kept is not change]
                self._lease = self._lease._replace(changes=kept)
        self._lease = self._lease._replace(restoring=True)
        # A full disk must not keep the board raised; a second pass then takes our own half-done work for
        # somebody else's, and says so.
        with contextlib.suppress(OSError):
            lease.write(self._workspace, self._lease)

    def _change(self, kind: "type[Lever]") -> Optional[Change]:
        return next((change for change in self._lease.changes if change.lever == kind.name), None)

    def _note(self, done: PutBack) -> bool:
        self._problems += done.problems
        return done.pending


def _told(host: Host, problems: List[str], pending: bool) -> Restored:
    return Restored(PerformanceModeRestored(time.time(), not problems, describe(host), problems), pending)


def _mhz(text: str, per_mhz: float) -> str:
    return "{:g}".format(round(int(text) / per_mhz, 1)) if text.isdecimal() else text
