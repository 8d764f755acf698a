"""From a board of the inventory to a Transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import DeviceError
from harness.farm.inventory import DeviceEntry, known_hosts_beside
from harness.farm.user_files import user_known_hosts
from harness.link.host_keys import HostTrust
from harness.link.local import LocalTransport
from harness.link.ssh_address import SshAddress, SshTarget
from harness.link.transport import Transport

if TYPE_CHECKING:
    from harness.link.ssh_config import SshSettings


def open_transport(entry: DeviceEntry, settings: SshSettings | None = None) -> Transport:
    """The way to `entry`; the connection itself is made by the first command.

    `settings` are read from the user's OpenSSH files where not given.
    """
    if entry.is_local:
        return LocalTransport(entry.name)
    # Imports paramiko (0.1 s): only where a board is reached by SSH.
    from harness.link.ssh import SshTransport

    return SshTransport(entry.name, ssh_address(entry, settings))


def ssh_address(entry: DeviceEntry, settings: SshSettings | None = None) -> SshAddress:
    """Where and how `entry` is reached by SSH, ~/.ssh/config included."""
    if entry.host is None:
        raise DeviceError(f"{entry.name}: is this machine and has no SSH address")
    if settings is None:
        from harness.link.ssh_config import SshSettings

        settings = SshSettings(user_known_hosts())
    return settings.resolve(
        SshTarget(
            host=entry.host,
            user=entry.user,
            port=entry.port,
            identity=entry.identity,
            proxy_jump=entry.proxy_jump,
            trust=inventory_trust(entry),
        )
    )


def inventory_trust(entry: DeviceEntry) -> HostTrust | None:
    """The pinned keys of a board of the inventory, under its name; None for ad-hoc boards."""
    if entry.inventory is None:
        return None
    user = f"{entry.user}@" if entry.user else ""
    port = f":{entry.port}" if entry.port else ""
    return HostTrust(
        entry.name,
        (known_hosts_beside(entry.inventory),),
        f"bench device add {entry.name} {user}{entry.host}{port} --inventory {entry.inventory} --replace "
        "--host-key {fingerprint}",
    )
