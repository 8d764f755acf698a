"""Naming a lease renews it; apart from the leases themselves, which most commands need not load."""

import contextlib

from device_agents.workspace import Workspace, WorkspaceError


def show_life(workspace: Workspace) -> None:
    """Renew the lease of this command, if it is the present one; that is no reason for a command to fail."""
    if workspace.lease is None:
        return
    from device_agents.leases import Leases

    with contextlib.suppress(OSError, WorkspaceError):
        Leases(workspace).renew()
