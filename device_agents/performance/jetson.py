"""The levers of a Jetson: the power mode (nvpmodel) and the lock of all clocks (jetson_clocks).

Order. `jetson_clocks --store` comes before anything is changed, so that its file holds the state as it was
found: lower limits, idle states, the memory clock's override, which cores are on. Then the power mode, then
the lock, which holds for the mode it is set in. Back: first `--restore`, because an upper limit cannot be
set below a lower one that is still locked; then the old power mode, which writes the limits of its
configuration; then `--restore` once more where somebody had set other lower limits by hand.

The file lies in a folder that only root may write. `--restore` writes whatever paths its file names, as
root: in a folder of the user's, whoever may run it could write any file of the system.
"""

import os
import stat
from typing import Dict, List, Optional, Tuple

from device_agents.boards import cpufreq, generic_linux, nvpmodel
from device_agents.boards.host import Host
from device_agents.performance.lease import Change
from device_agents.performance.levers import BY_OTHERS, Lever, Moved, PutBack, refused, why
from device_agents.performance.root_commands import CHANGE_TIMEOUT_S

STORE_FOLDER = "/run/edgebench"
STORE = STORE_FOLDER + "/clocks.conf"

_ID = "nvpmodel"
_STAGE = "stage"
_STORED, _LOCKED = "stored", "locked"

_FOLDER_REMEDY = "docs/devices.md says how to have it made at each start"


def is_jetson(host: Host) -> bool:
    """Whether the board has NVIDIA's tools."""
    return host.commands.path("nvpmodel") is not None or host.commands.path("jetson_clocks") is not None


class PowerMode(Lever):
    """nvpmodel: how many cores, which upper limits. The only lever that outlives a restart."""

    name = "power_mode"
    persists = True

    def plan(self) -> Tuple[Optional[Change], List[str]]:
        """From the present mode to the best, where that can be undone without a restart."""
        modes = {mode.id: mode for mode in nvpmodel.modes(self.host.files)}
        best = nvpmodel.best_mode(list(modes.values()))
        now = nvpmodel.current_id(self.host)
        if best is None:
            return None, ["power mode: {} names no mode, so it stays".format(nvpmodel.CONF)]
        if now is None or now not in modes:
            said = "cannot be told" if now is None else "{} is not in {}".format(now, nvpmodel.CONF)
            return None, ["power mode: which one is set {}, so it stays".format(said)]
        if now == best.id:
            return None, []
        if best.gating != modes[now].gating:
            # It may work now, while the GPU is unused since the start, and then not back after the job.
            return None, [
                "power mode {}: reboot needed, it uses other parts of the GPU than {}; set it by hand: "
                "sudo nvpmodel -m {}, and confirm the reboot".format(best.label, modes[now].label, best.id)
            ]
        return Change(self.name, {_ID: str(now)}, {_ID: str(best.id)}), []

    def set(self, change: Change) -> Moved:
        """Change it and ask again: the tool may do nothing, and say so only in words."""
        number = change.after[_ID]
        problem = self._switch(number)
        now = self._now()
        return Moved(now != int(change.before[_ID]), [problem] if problem else [])

    def put_back(self, change: Change, half_done: bool) -> PutBack:
        """The old mode, unless somebody chose a third meanwhile."""
        before, after = int(change.before[_ID]), int(change.after[_ID])
        now = self._now()
        if now == before:
            if half_done:  # the tool notes the new mode when it has set all of it
                self._switch(str(before))
            return PutBack(False, [])
        if now is not None and now != after:
            labels = [nvpmodel.named(self.host, number) for number in (now, before, after)]
            return PutBack(False, [BY_OTHERS.format("power mode", *labels)])
        problem = self._switch(str(before))
        return PutBack(problem is not None, [problem] if problem else [])

    def _switch(self, number: str) -> Optional[str]:
        """Why the mode is not set, None if it is. Standard input is empty, so no question is answered."""
        finished = self.host.commands.run_as_root("nvpmodel", "-m", number, timeout_s=CHANGE_TIMEOUT_S)
        if self._now() == int(number):
            return None
        mode = "power mode {}".format(nvpmodel.named(self.host, int(number)))
        if "eboot" in finished.stdout + finished.stderr or (finished.status == 0 and not finished.stderr):
            return "{}: reboot needed, set it by hand: sudo nvpmodel -m {}".format(mode, number)
        return "{}: {}".format(mode, why(finished))

    def _now(self) -> Optional[int]:
        """Asked of the tool; its status file only where it does not answer."""
        asked = nvpmodel.query(self.host)
        return asked[0] if asked is not None else nvpmodel.current_id(self.host)


class Clocks(Lever):
    """jetson_clocks: lower limits raised to the upper ones, idle states off, memory at its highest clock."""

    name = "clocks"

    def plan(self) -> Tuple[Optional[Change], List[str]]:
        """The lock, where its undoing can be kept safe."""
        limits = cpufreq.limits(self.host.files)
        if self.host.commands.path("jetson_clocks") is None:
            return None, ["clocks: jetson_clocks is not on this board, so they stay"]
        if not _minima(limits):
            return None, ["clocks: their limits in /sys cannot be read, so they stay"]
        if not _loose(limits) and PowerMode(self.host).plan()[0] is None:
            return None, []  # locked already, and no other mode will loosen them
        fault = _folder_fault(self.host)
        if fault:
            return None, ["clocks: {}, so they stay; {}".format(fault, _FOLDER_REMEDY)]
        return Change(self.name, {_STAGE: _STORED}, {_STAGE: _STORED}), []

    def prepare(self, change: Change) -> Tuple[Optional[Change], Optional[str]]:
        """Have the tool note the present state. Only when that is whole, undoing may use it.

        Nobody's lease was open, so a file that is there is left from before. The tool would ask whether to
        overwrite it, and it writes line by line.
        """
        self._forget_store()
        finished = self.host.commands.run_as_root(
            "jetson_clocks", "--store", STORE, timeout_s=CHANGE_TIMEOUT_S
        )
        if finished.status != 0:
            return None, "clocks: {}".format(why(finished))
        folder = self.host.files.path(STORE_FOLDER)
        if os.access(folder, os.R_OK | os.X_OK) and _is_empty(self.host.files.path(STORE)):
            return None, "clocks: jetson_clocks --store {} wrote nothing: {}".format(STORE, finished.reason)
        return change._replace(after={_STAGE: _LOCKED}), None

    def set(self, change: Change) -> Moved:  # noqa: ARG002 - there is only one way to lock
        """Lock; the tool ends with status 0 whatever happened, so the limits are read."""
        finished = self.host.commands.run_as_root("jetson_clocks", timeout_s=CHANGE_TIMEOUT_S)
        loose = _loose(cpufreq.limits(self.host.files))
        if not loose:
            return Moved(True, [])
        names = ", ".join(cpufreq.short_name(os.path.dirname(path)) for path in loose)
        return Moved(not refused(finished), ["clocks of {} are not locked: {}".format(names, why(finished))])

    def put_back(self, change: Change, half_done: bool) -> PutBack:  # noqa: ARG002 - its file is whole
        """Unlock. Whether it worked shows at the end, in the limits (`settle`)."""
        if change.after.get(_STAGE) == _LOCKED:
            self.host.commands.run_as_root("jetson_clocks", "--restore", STORE, timeout_s=CHANGE_TIMEOUT_S)
        return PutBack(False, [])

    def settle(self, change: Optional[Change], limits: Dict[str, str]) -> PutBack:
        """Bring every limit to what it was, when all else is put back; then the tool's file may go.

        Without a `change` only the power mode moved them.
        """
        wrong = self._wrong(limits)
        if change is not None and any(cpufreq.is_minimum(path) for path in wrong):
            self.put_back(change, half_done=False)
            wrong = self._wrong(limits)
        reasons = {}
        for path in sorted(wrong, key=cpufreq.is_minimum):  # upper limits first
            reasons[path] = why(self.host.commands.write_as_root(path, wrong[path]))
        wrong = self._wrong(limits)
        problems = [
            "{} is {}, was {}: {}".format(path, self.host.files.text(path), before, reasons.get(path, ""))
            for path, before in sorted(wrong.items())
        ]
        # Upper limits that somebody had set by hand may be out of reach for this user, and stay so.
        pending = change is not None and any(cpufreq.is_minimum(path) for path in wrong)
        if change is not None and not pending:
            self._forget_store()
        return PutBack(pending, problems)

    def changed_by_others(self, before: Dict[str, str], after: Dict[str, str]) -> List[str]:
        """Lower limits that are neither what they were nor what the lock made of them."""
        told = []
        for path, now in sorted(_minima(cpufreq.limits(self.host.files)).items()):
            known = (before.get(path), after.get(path))
            if now in known or None in known or self._lowered_to_cool(path, now):
                continue
            told.append(BY_OTHERS.format(path, now, *known))
        return told

    def _wrong(self, limits: Dict[str, str]) -> Dict[str, str]:
        """Limits that are not what they were, with that value."""
        wrong = {}
        for path, before in limits.items():
            now = self.host.files.text(path)
            if now is None or now == before or (_below(now, before) and self._lowered_to_cool(path, now)):
                continue
            wrong[path] = before
        return wrong

    def _lowered_to_cool(self, path: str, now: str) -> bool:
        """Whether a limit is the kernel's own: to cool, it lowers the upper one, and with it the lower.

        What was set is kept and comes back when the board is cool.
        """
        if not generic_linux.cooling_active(self.host.files):
            return False
        return not cpufreq.is_minimum(path) or now == self.host.files.text(cpufreq.maximum_of(path))

    def _forget_store(self) -> None:
        folder = self.host.files.path(STORE_FOLDER)
        if os.path.lexists(self.host.files.path(STORE)) or not os.access(folder, os.X_OK):
            self.host.commands.run_as_root("rm", "-f", STORE)


def _is_empty(path: str) -> bool:
    """By its size: sudo adds the agent's umask to its own, so only root may read what root wrote."""
    try:
        return os.stat(path).st_size == 0
    except OSError:
        return True


def _minima(limits: Dict[str, str]) -> Dict[str, str]:
    return {path: value for path, value in limits.items() if cpufreq.is_minimum(path)}


def _loose(limits: Dict[str, str]) -> List[str]:
    return [path for path in sorted(_minima(limits)) if limits[path] != limits.get(cpufreq.maximum_of(path))]


def _below(now: str, before: str) -> bool:
    return now.isdecimal() and before.isdecimal() and int(now) < int(before)


def _folder_fault(host: Host) -> Optional[str]:
    """Why the folder for the tool's file cannot be trusted; None if only root may write there."""
    try:
        found = os.lstat(host.files.path(STORE_FOLDER))
        root = os.stat(host.files.path("/"))
    except OSError:
        return "the folder {} is not there".format(STORE_FOLDER)
    if not stat.S_ISDIR(found.st_mode):
        return "{} is no folder".format(STORE_FOLDER)
    if found.st_uid != root.st_uid or found.st_mode & 0o022:
        return "others than root may write in {}".format(STORE_FOLDER)
    return None
