"""The lease: what an agent is about to change on the board, written before it does, gone once it is put back.

One file in the workspace. It is replaced whole and reaches the disk before the change begins, so after any
death it names at least everything that was changed. A power cut may leave the board in another power mode,
which persists, and then the lease is there as well.
"""

import contextlib
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional

from device_agents.boards.linux_files import LinuxFiles
from device_agents.workspace import Workspace

_VERSION = 1


class Change(NamedTuple):
    """What one lever changes, setting by setting: what was before it and what it makes of it."""

    lever: str
    before: Dict[str, str]
    after: Dict[str, str]


class Lease(NamedTuple):
    """What one job changes."""

    #: Which boot; clocks and governors do not survive the next.
    boot_id: Optional[str]
    #: Who took it and when (Unix time), for people.
    owner: str
    since: float
    #: In the order in which they are made; put back from the last to the first.
    changes: List[Change]
    #: Every limit of the clocks (cpufreq.limits) before the first change; empty where no lever moves several.
    limits_before: Dict[str, str]
    #: The same after the last, once all is set; empty before that.
    limits_after: Dict[str, str]
    #: Restoring has begun: what is neither before nor after is its own half-done work.
    restoring: bool


class LeaseError(Exception):
    """The file is there and cannot be understood."""


def boot_id(files: LinuxFiles) -> Optional[str]:
    """A word that changes with each start of the system."""
    return files.text("/proc/sys/kernel/random/boot_id")


def write(workspace: Workspace, lease: Lease) -> None:
    """Replace the lease; it is on the disk when this returns. Raises OSError."""
    body = dict(lease._asdict(), version=_VERSION, changes=[change._asdict() for change in lease.changes])
    part = workspace.performance_lease + ".part"
    with open(part, "w") as file:
        json.dump(body, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, workspace.performance_lease)
    _sync_folder(workspace.root)


def read(workspace: Workspace) -> Optional[Lease]:
    """The lease, or None if there is none; raises LeaseError."""
    try:
        with open(workspace.performance_lease, "rb") as file:
            body = json.loads(file.read().decode("utf-8"))
        if body["version"] != _VERSION:
            raise LeaseError("{}: version {!r}".format(workspace.performance_lease, body["version"]))
        return Lease(
            boot_id=body["boot_id"],
            owner=str(body["owner"]),
            since=float(body["since"]),
            changes=[
                Change(str(change["lever"]), _strings(change["before"]), _strings(change["after"]))
                for change in body["changes"]
            ],
            limits_before=_strings(body["limits_before"]),
            limits_after=_strings(body["limits_after"]),
            restoring=bool(body["restoring"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LeaseError("{}: {}".format(workspace.performance_lease, error)) from error


def remove(workspace: Workspace) -> None:
    """All is put back. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(workspace.performance_lease)
    _sync_folder(workspace.root)


def _strings(body: Any) -> Dict[str, str]:
    return {str(key): str(value) for key, value in body.items()}


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
