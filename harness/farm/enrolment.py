"""Taking a board into the inventory: host key, key login, a look at the board, and only then the files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from harness.errors import AccessDenied, HostKeyMismatch
from harness.farm.board_check import check_board
from harness.farm.connecting import ssh_address
from harness.farm.inventory import DeviceEntry, known_hosts_beside
from harness.farm.inventory_edit import add_device
from harness.farm.user_files import config_dir
from harness.link.authorized_keys import (
    Password,
    generate_identity,
    install_public_key,
    takes_passwords,
    usable_public_key,
)
from harness.link.host_keys import HostKey, HostTrust, pin, same_key_elsewhere
from harness.link.ssh import SshTransport
from harness.link.ssh_address import SshAddress
from harness.link.ssh_connection import connect, fetch_host_key
from harness.link.transport import Transport

#: Tried in turn for a fingerprint that is not of the key shown first.
_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")


class Dialog(Protocol):
    """The person at the terminal, if there is one."""

    def approve(self, key: HostKey) -> None:
        """Return if `key` is the board's; raises a BenchError if not, or if nobody can be asked."""

    def password(self, address: SshAddress) -> Password | None:
        """The password of the account on the board, asked for once; None if nobody can be asked."""

    def tell(self, line: str) -> None:
        """Say what happens."""


@dataclass(frozen=True)
class Enrolled:
    """A board that is now in the inventory."""

    entry: DeviceEntry
    host_key: HostKey
    #: Other boards with the same host key: flashed from one image.
    twins: tuple[str, ...]


def enrol(
    entry: DeviceEntry,
    dialog: Dialog,
    *,
    fingerprint: str | None = None,
    replace_existing: bool = False,
    detects_profile: bool = False,
    check: Callable[[DeviceEntry, Transport], str | None] = check_board,
) -> Enrolled:
    """Make `entry` a board of its inventory. Nothing is written unless all of it works.

    With `detects_profile` its profile is what its device tree says; without, a difference is told.
    """
    inventory = entry.inventory
    assert inventory is not None
    address = ssh_address(entry)
    host_key = find_host_key(address, entry.name, fingerprint)
    if fingerprint is None:
        dialog.approve(host_key)
    address = replace(address, trust=HostTrust(entry.name, (), "", approved=(host_key,)))
    entry, address = _with_key_login(entry, address, host_key, dialog)
    transport = SshTransport(entry.name, address)
    try:
        found = check(entry, transport)
    finally:
        transport.close()
    entry = _with_profile(entry, found, dialog, detects_profile=detects_profile)
    known_hosts = known_hosts_beside(inventory)
    twins = tuple(same_key_elsewhere(known_hosts, entry.name, [host_key]))
    # A pinned key without a device does no harm, a device without its key cannot be used: keys first.
    pin(known_hosts, entry.name, [host_key])
    add_device(inventory, entry, replace=replace_existing)
    return Enrolled(entry, host_key, twins)


def _with_profile(
    entry: DeviceEntry, found: str | None, dialog: Dialog, *, detects_profile: bool
) -> DeviceEntry:
    if found is None or found == entry.profile:
        return entry
    if detects_profile:
        dialog.tell(f"its device tree says that it is a {found}")
        return replace(entry, profile=found)
    dialog.tell(f"its device tree says that it is a {found}, not a {entry.profile}; its own word counts")
    return entry


def find_host_key(address: SshAddress, board: str, fingerprint: str | None) -> HostKey:
    """The key the board shows, or of its several keys the one with `fingerprint`.

    Raises HostKeyMismatch when it has none with that fingerprint.
    """
    first = fetch_host_key(address, board)
    if fingerprint is None or first.fingerprint == fingerprint:
        return first
    shown = {first}
    for key_type in _KEY_TYPES:
        key = fetch_host_key(address, board, key_type)
        if key.fingerprint == fingerprint:
            return key
        shown.add(key)
    listing = ", ".join(sorted(f"{key.type} {key.fingerprint}" for key in shown))
    raise HostKeyMismatch(
        f"{board}: {address} has no host key {fingerprint}; it shows {listing}",
        "read the fingerprint on the board itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub. "
        "If it differs from what is shown here, somebody is between you and the board",
    )


def _with_key_login(
    entry: DeviceEntry, address: SshAddress, host_key: HostKey, dialog: Dialog
) -> tuple[DeviceEntry, SshAddress]:
    """Entry and address with which a key login works, after installing a key where that is needed."""
    try:
        connect(address, entry.name).close()
        return entry, address
    except AccessDenied as denied:
        own = config_dir() / "id_ed25519"
        if entry.identity is None and own.is_file():
            return _with_own_key(entry, address, host_key, dialog, own)
        return _with_installed_key(entry, address, host_key, dialog, denied)


def _with_own_key(
    entry: DeviceEntry, address: SshAddress, host_key: HostKey, dialog: Dialog, own: Path
) -> tuple[DeviceEntry, SshAddress]:
    """As above, with the key that edgebench made for an earlier board."""
    entry, address = replace(entry, identity=own), replace(address, identities=(own,), identities_only=True)
    try:
        connect(address, entry.name).close()
    except AccessDenied as denied:
        return _with_installed_key(entry, address, host_key, dialog, denied)
    return entry, address


def _with_installed_key(
    entry: DeviceEntry, address: SshAddress, host_key: HostKey, dialog: Dialog, denied: AccessDenied
) -> tuple[DeviceEntry, SshAddress]:
    """Put a key onto the board with the account's password, and log in with it."""
    skipped: list[str] = []
    public_key = usable_public_key(address, skipped)
    if public_key is None and entry.identity is not None:
        raise denied
    if not takes_passwords(address, entry.name, host_key):
        raise denied
    password = dialog.password(address)
    if password is None:
        raise denied
    if public_key is None:
        own = config_dir() / "id_ed25519"
        public_key = generate_identity(own)
        dialog.tell(f"made a key for boards: {own}")
        entry, address = (
            replace(entry, identity=own),
            replace(address, identities=(own,), identities_only=True),
        )
    install_public_key(address, entry.name, host_key, password, public_key)
    try:
        connect(address, entry.name).close()
    except AccessDenied as error:
        raise AccessDenied(
            f"{entry.name}: a key was put into ~/.ssh/authorized_keys, but the board still refuses it",
            "look at its log, and at AuthorizedKeysFile and StrictModes in its sshd_config",
        ) from error
    dialog.tell("installed your public key on the board; the password is not kept")
    return entry, address
