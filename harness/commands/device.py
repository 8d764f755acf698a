"""`bench device`: which boards there are, and taking them into the inventory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.errors import HostKeyUnknown, UsageError
from harness.farm.inventory import (
    LOCAL,
    DeviceEntry,
    Inventory,
    default_inventories,
    did_you_mean,
    find_inventory,
    known_hosts_beside,
    load_inventory,
    name_fault,
)
from harness.farm.inventory_edit import remove_device
from harness.link.host_keys import HostKey, is_fingerprint, read_known_hosts, unpin
from harness.link.ssh_address import parse_destination
from profiles.devices import device_profile_names

if TYPE_CHECKING:
    from harness.link.authorized_keys import Password
    from harness.link.ssh_address import SshAddress

device_app = typer.Typer(no_args_is_help=True, help="Boards to measure on.")

InventoryOption = Annotated[
    Path | None,
    typer.Option("--inventory", metavar="FILE", help="Inventory to use instead of devices.toml."),
]


@device_app.command("list")
def list_devices(
    inventory: InventoryOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the boards of the inventory.

    Example: bench device list --json
    """
    found = load_inventory(inventory)
    if as_json:
        typer.echo(json.dumps(_listing(found), indent=2))
        return
    table = Table("name", "profile", "address", "host key", box=None, pad_edge=False)
    table.add_row(LOCAL, "generic-linux", "this machine", "")
    for entry in found.devices.values():
        keys = ", ".join(key.fingerprint for key in _pinned(entry)) or "none pinned"
        table.add_row(entry.name, entry.profile, escape(_address(entry)), keys)
    # Lines of a log or a pipe are not cut to a terminal's width.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if not found.devices:
        typer.echo("No boards yet. Add one: bench device add NAME USER@HOST", err=True)


@device_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What you want to call the board.")],
    destination: Annotated[str, typer.Argument(metavar="USER@HOST[:PORT]", help="Or an ssh_config alias.")],
    profile: Annotated[
        str | None, typer.Option(metavar="P", help="Kind of board. Default: what its device tree says.")
    ] = None,
    identity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key to log in with.", dir_okay=False)
    ] = None,
    python: Annotated[str, typer.Option(metavar="PATH", help="Python on the board.")] = "python3",
    workspace: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder for edgebench on the board.")
    ] = None,
    proxy_jump: Annotated[
        str | None, typer.Option(metavar="[USER@]HOST[:PORT],..", help="Servers to go through.")
    ] = None,
    host_key: Annotated[
        str | None, typer.Option(metavar="SHA256:...", help="The fingerprint its host key has to have.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Pin whatever host key it shows now.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a board of that name.")] = False,
    inventory: InventoryOption = None,
) -> None:
    """Add a board: pin its host key and make sure that a key login works.

    The fingerprint is on the board: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub. If the board takes no
    key of yours, its password is asked for once, to install one.

    Example: bench device add nano-01 bench@10.0.0.21 --profile jetson-nano --host-key SHA256:...
    """
    # Imports paramiko, which the other commands do without.
    from harness.farm.enrolment import enrol

    _check_words(name, profile, host_key, yes)
    path = _inventory_to_edit(inventory)
    if path.exists() and name in load_inventory(path).devices and not replace:
        raise UsageError(
            f"{path}: there is a device {name!r} already", "take another name, or give --replace"
        )
    target = parse_destination(destination)
    entry = DeviceEntry(
        name,
        profile=profile or DeviceEntry(name).profile,
        host=target.host,
        user=target.user,
        port=target.port,
        identity=identity.expanduser().absolute() if identity else None,
        python=python,
        workspace=workspace or DeviceEntry(name).workspace,
        proxy_jump=proxy_jump,
        inventory=path,
    )
    fingerprint = host_key.rstrip("=") if host_key else None
    enrolled = enrol(
        entry,
        _Terminal(name, yes),
        fingerprint=fingerprint,
        replace_existing=replace,
        detects_profile=profile is None,
    )
    key = enrolled.host_key
    typer.echo(f"Added {name} ({_address(enrolled.entry)}) to {path}, host key {key.type} {key.fingerprint}")
    if enrolled.twins:
        typer.echo(
            f"Warning: {', '.join(enrolled.twins)} has the same host key. Boards flashed from one image can "
            "be taken for each other; make new keys on one: rm /etc/ssh/ssh_host_* && ssh-keygen -A",
            err=True,
        )


@device_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The board to forget.")], inventory: InventoryOption = None
) -> None:
    """Forget a board and its host key; the board itself is not touched.

    Example: bench device remove nano-01
    """
    path = find_inventory(inventory)
    if path is None:
        raise UsageError(
            f"there is no device {name!r}: there is no inventory", "bench device add NAME USER@HOST"
        )
    remove_device(path, name)
    unpin(known_hosts_beside(path), name)
    typer.echo(f"Removed {name} from {path}")


class _Terminal:
    """Questions of an enrolment, asked on the terminal if there is one."""

    def __init__(self, board: str, yes: bool) -> None:
        self._board = board
        self._yes = yes

    def approve(self, key: HostKey) -> None:
        """Ask whether it is the board's key, unless --yes said so."""
        typer.echo(f"{self._board} shows the host key {key.type} {key.fingerprint}")
        if self._yes:
            return
        if not _is_interactive():
            raise UsageError(
                f"{self._board}: nobody is there to confirm its host key {key.fingerprint}",
                f"compare it with the board's own, then give --host-key {key.fingerprint}, or --yes",
            )
        if not typer.confirm("Is that what the board itself says (ssh-keygen -lf)?", default=False):
            raise HostKeyUnknown(f"{self._board}: its host key was not confirmed; nothing was written")

    def password(self, address: SshAddress) -> Password | None:
        """Ask for it once, without echo."""
        from harness.link.authorized_keys import Password

        if not _is_interactive():
            return None
        typer.echo(f"{self._board} accepts no key of yours yet. Its password installs one and is not kept.")
        return Password(typer.prompt(f"Password of {address}", hide_input=True))

    def tell(self, line: str) -> None:
        """Print it."""
        typer.echo(f"{self._board}: {line}")


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _check_words(name: str, profile: str | None, host_key: str | None, yes: bool) -> None:
    fault = name_fault(name)
    if fault:
        raise UsageError(fault, "take another name")
    known = device_profile_names()
    if profile is not None and profile not in known:
        raise UsageError(f"--profile: there is no device profile {profile!r}{did_you_mean(profile, known)}")
    if host_key and yes:
        raise UsageError("--host-key and --yes contradict each other", "give --host-key alone")
    if host_key and not is_fingerprint(host_key):
        raise UsageError(
            f"--host-key: {host_key!r} is not a fingerprint (SHA256: and 43 characters)",
            "on the board: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        )


def _inventory_to_edit(given: Path | None) -> Path:
    """The file given, the one in use, or else the user's own, which is then created."""
    return (given or find_inventory() or default_inventories()[-1]).absolute()


def _pinned(entry: DeviceEntry) -> list[HostKey]:
    if entry.inventory is None:
        return []
    lines = read_known_hosts(known_hosts_beside(entry.inventory))
    return [line.key for line in lines if line.names(entry.name)]


def _address(entry: DeviceEntry) -> str:
    user = f"{entry.user}@" if entry.user else ""
    port = f":{entry.port}" if entry.port else ""
    jump = f" via {entry.proxy_jump}" if entry.proxy_jump else ""
    return f"{user}{entry.host}{port}{jump}"


def _listing(inventory: Inventory) -> dict[str, object]:
    devices = [
        {
            "name": entry.name,
            "profile": entry.profile,
            "host": entry.host,
            "user": entry.user,
            "port": entry.port,
            "identity": str(entry.identity) if entry.identity else None,
            "python": entry.python,
            "workspace": entry.workspace,
            "proxy_jump": entry.proxy_jump,
            "host_keys": [{"type": key.type, "fingerprint": key.fingerprint} for key in _pinned(entry)],
        }
        for entry in inventory.devices.values()
    ]
    return {"inventory": str(inventory.path) if inventory.path else None, "devices": devices}
