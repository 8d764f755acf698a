"""A board's memory limit, as a control group; its processes are found and ended by the same group.

Version 1 (a `memory` hierarchy of its own) and version 2 (one hierarchy for all).
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from harness.errors import LabError

MOUNT = Path("/sys/fs/cgroup")
_END_TIMEOUT_S = 5.0


def memory_hierarchy(mount: Path = MOUNT) -> Path:
    """Where groups with a memory limit are made; raises LabError where there is no such place."""
    if (mount / "memory" / "memory.limit_in_bytes").exists():
        return mount / "memory"
    controllers = mount / "cgroup.controllers"
    if controllers.exists() and "memory" in controllers.read_text().split():
        return mount
    raise LabError(
        f"{mount}: there is no memory controller here, so a board's memory cannot be limited",
        "mount one, or start Linux with cgroup_enable=memory",
    )


def make_group(group: Path, limit_bytes: int) -> None:
    """A group below that of the lab, with a limit for memory and none for swap on top."""
    try:
        if (group.parent.parent / "cgroup.subtree_control").exists():
            for above in (group.parent.parent, group.parent):
                above.mkdir(exist_ok=True)
                (above / "cgroup.subtree_control").write_text("+memory")
        group.mkdir(parents=True, exist_ok=True)
        _limit(group, limit_bytes)
    except OSError as error:
        raise LabError(f"{group}: a memory limit cannot be set: {error.strerror}") from error


def _limit(group: Path, limit_bytes: int) -> None:
    if (group / "memory.max").exists():
        (group / "memory.max").write_text(str(limit_bytes))
        with_swap = group / "memory.swap.max"
        swap = "0"
    else:
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        with_swap = group / "memory.memsw.limit_in_bytes"
        swap = str(limit_bytes)
    # Kernels may be built without accounting of swap.
    if with_swap.exists():
        with_swap.write_text(swap)


def enter(group: Path, pid: int) -> None:
    """Put a process into the group; what it starts from now on is in it as well."""
    try:
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise LabError(f"{group}: process {pid} cannot be put there: {error.strerror}") from error


def processes(group: Path) -> list[int]:
    """The processes in the group; none where it is not there."""
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def end_processes(group: Path) -> None:
    """End every process in the group, at once and without a word; raises LabError where they stay."""
    deadline = time.monotonic() + _END_TIMEOUT_S
    while left := processes(group):
        _kill(group)
        if time.monotonic() > deadline:
            raise LabError(f"{group}: processes {left} do not end")
        time.sleep(0.02)


def _kill(group: Path) -> None:
    for pid in processes(group):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove_group(group: Path) -> None:
    """End every process in the group and remove it; nothing happens where it is not there."""
    deadline = time.monotonic() + _END_TIMEOUT_S
    while group.exists():
        _kill(group)
        try:
            group.rmdir()
        except OSError as error:
            if time.monotonic() > deadline:
                left = processes(group)
                raise LabError(
                    f"{group}: cannot be removed, processes {left} stay: {error.strerror}"
                ) from error
            time.sleep(0.02)
