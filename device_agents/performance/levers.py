"""What the performance mode moves: one class for each kind of lever, and which of them a board has."""

from typing import List, NamedTuple, Optional, Tuple

from device_agents.boards import cpufreq
from device_agents.boards.commands import NOT_FOUND, Finished
from device_agents.boards.host import Host
from device_agents.performance.lease import Change

#: Where the reader finds what to do about a refusal.
REMEDY = "docs/devices.md has the sudoers file that allows it"

BY_OTHERS = (
    "{} is {}, neither what it was ({}) nor what the job made of it ({}): somebody else changed it, it stays"
)


class Moved(NamedTuple):
    """How setting a lever went: whether anything changed at all, and what is not as it should be."""

    touched: bool
    problems: List[str]


class PutBack(NamedTuple):
    """How putting back went: `pending` if something of ours is still there and a later try may help."""

    pending: bool
    problems: List[str]


class Lever:
    """A setting of the board, or several that one command moves. Nothing here raises for what fails."""

    name = ""
    #: Whether it outlives a restart of the board.
    persists = False

    def __init__(self, host: Host) -> None:
        self.host = host

    def plan(self) -> Tuple[Optional[Change], List[str]]:
        """What is to be changed, None if that is nothing; and what cannot be, each with the remedy."""
        raise NotImplementedError

    def prepare(self, change: Change) -> Tuple[Optional[Change], Optional[str]]:
        """What comes before any lever moves: the change as it is to be made, or why it cannot be."""
        return change, None

    def set(self, change: Change) -> Moved:
        """Make the change and look whether it took."""
        raise NotImplementedError

    def put_back(self, change: Change, half_done: bool) -> PutBack:
        """Undo the change wherever it is still ours; twice, or once more after half of it, is as once.

        `half_done`: whoever made it died while raising, perhaps in the midst of this change.
        """
        raise NotImplementedError


class Governor(Lever):
    """The cpufreq governor of each policy: `performance` keeps the highest clock. Gone after a restart."""

    name = "governor"
    wanted = "performance"

    def plan(self) -> Tuple[Optional[Change], List[str]]:
        """Every policy that offers it and has another one."""
        policies = cpufreq.policies(self.host.files)
        if not policies:
            return None, ["this system has no cpufreq in /sys, so no clock can be set; it stays as it is"]
        before, problems = {}, []
        for policy in policies:
            path, name = policy + "/scaling_governor", cpufreq.short_name(policy)
            value = self.host.files.text(path)
            if value is None:
                problems.append("governor of {}: {} cannot be read, so it stays".format(name, path))
            elif value != self.wanted:
                if self.wanted in cpufreq.governors_offered(self.host.files, policy):
                    before[path] = value
                else:
                    problems.append("governor of {}: the kernel offers no {}".format(name, self.wanted))
        if not before:
            return None, problems
        return Change(self.name, before, dict.fromkeys(before, self.wanted)), problems

    def set(self, change: Change) -> Moved:
        """Write each, read each again."""
        failed, reason = [], ""
        for path in change.before:
            finished = self.host.commands.write_as_root(path, self.wanted)
            if self.host.files.text(path) != self.wanted:
                failed.append(_policy_of(path))
                reason = why(finished)
        touched = any(self.host.files.text(path) != value for path, value in change.before.items())
        return Moved(touched, ["governor of {}: {}".format(", ".join(failed), reason)] if failed else [])

    def put_back(self, change: Change, half_done: bool) -> PutBack:  # noqa: ARG002 - a word is written whole
        """Each as it was, unless somebody else has changed it meanwhile."""
        pending, problems = False, []
        for path, before in change.before.items():
            now, name = self.host.files.text(path), "governor of {}".format(_policy_of(path))
            if now == before:
                continue
            if now is None:
                problems.append("{}: {} cannot be read any more; it was {}".format(name, path, before))
            elif now != change.after.get(path):
                problems.append(BY_OTHERS.format(name, now, before, change.after.get(path)))
            else:
                finished = self.host.commands.write_as_root(path, before)
                if self.host.files.text(path) != before:
                    pending = True
                    problems.append("{} is still {}, was {}: {}".format(name, now, before, why(finished)))
        return PutBack(pending, problems)


def why(finished: Finished) -> str:
    """Why a command of root's did nothing, with the remedy where sudo is the reason."""
    if "sudo" in finished.reason or finished.status == NOT_FOUND:
        return "{}; {}".format(finished.reason, REMEDY)
    return finished.reason if finished.status else "it did not take"


def refused(finished: Finished) -> bool:
    """Whether sudo did not even start the command."""
    return finished.status != 0 and finished.reason.startswith("sudo")


def _policy_of(path: str) -> str:
    return cpufreq.short_name(path.rpartition("/")[0])
