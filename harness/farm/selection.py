"""From the word after `--device` to a board."""

from __future__ import annotations

import difflib

from harness.errors import UsageError
from harness.farm.inventory import LOCAL, DeviceEntry, Inventory
from harness.link.ssh_address import parse_destination
from profiles.devices import device_profile_names


def resolve(selector: str, inventory: Inventory) -> DeviceEntry:
    """The board that `selector` means: the first of `candidates`."""
    return candidates(selector, inventory)[0]


def candidates(selector: str, inventory: Inventory) -> tuple[DeviceEntry, ...]:
    """All boards that `selector` may mean, in the inventory's order; never empty.

    A selector is an inventory name, a profile name, `user@host[:port]` or `local`; inventory names win, and
    real boards over virtual ones of the same profile.
    Raises UsageError for anything else.
    """
    if selector == LOCAL:
        return (DeviceEntry(LOCAL),)
    if selector in inventory.devices:
        return (inventory.devices[selector],)
    if "@" in selector:
        target = parse_destination(selector)
        return (DeviceEntry(selector, host=target.host, user=target.user, port=target.port),)
    of_profile = tuple(entry for entry in inventory.devices.values() if entry.profile == selector)
    # The lab's boards stand for a kind only where the inventory itself has none of it.
    real = tuple(entry for entry in of_profile if entry.inventory == inventory.path)
    if of_profile:
        return real or of_profile
    raise _unknown(selector, inventory)


def _unknown(selector: str, inventory: Inventory) -> UsageError:
    place = f"in {inventory.path}" if inventory.path else "in any inventory (there is none yet)"
    if selector in device_profile_names():
        return UsageError(
            f"no device of profile {selector!r} {place}",
            f"add one: bench device add NAME USER@HOST --profile {selector}",
        )
    names = [LOCAL, *inventory.devices, *device_profile_names()]
    near = difflib.get_close_matches(selector, names, 3, 0.5)
    hint = f"did you mean {' or '.join(near)}? Or " if near else ""
    return UsageError(
        f"no device {selector!r} {place}",
        f"{hint}`bench device list` shows what there is; user@host and local need no inventory",
    )
