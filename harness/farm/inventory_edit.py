"""Changing devices.toml: comments and order survive, and the file is replaced whole or not at all."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from harness.errors import ConfigurationError, UsageError
from harness.farm.inventory import DeviceEntry, parse_inventory
from harness.link.private_files import replace_file

_HEADER = "Boards for edgebench. `bench device add` and `remove` edit this file; by hand is fine as well."

#: Written in this order, each only where it differs from what a missing key means.
_FIELDS = ("profile", "host", "user", "port", "identity", "python", "workspace", "proxy_jump")


def add_device(path: Path, entry: DeviceEntry, *, replace: bool = False) -> None:
    """Write `entry` into the inventory, which is created where needed; UsageError if the name is taken."""
    document = _document(path)
    devices = document.setdefault("devices", tomlkit.table(is_super_table=True))
    if entry.name in devices and not replace:
        raise UsageError(
            f"{path}: there is a device {entry.name!r} already",
            f"take another name, or give --replace; `bench device remove {entry.name}` forgets it",
        )
    if entry.name in devices:
        _update(devices[entry.name], _values(entry))
    else:
        table = tomlkit.inline_table() if isinstance(devices, InlineTable) else tomlkit.table()
        table.update(_values(entry))
        devices[entry.name] = table
    _save(path, document)


def set_python(path: Path, name: str, python: str) -> None:
    """Name another interpreter for a device and leave the rest of the file as it is."""
    document = _document(path)
    devices = document.get("devices", {})
    if name not in devices:
        raise UsageError(f"{path}: there is no device {name!r}", "`bench device list` shows what there is")
    devices[name]["python"] = python
    _save(path, document)


def remove_device(path: Path, name: str) -> None:
    """Take the device out of the inventory; UsageError if it is not there."""
    document = _document(path)
    devices = document.get("devices", {})
    if name not in devices:
        raise UsageError(f"{path}: there is no device {name!r}", "`bench device list` shows what there is")
    del devices[name]
    _save(path, document)


def _document(path: Path) -> tomlkit.TOMLDocument:
    if not path.exists():
        document = tomlkit.document()
        document.add(tomlkit.comment(_HEADER))
        document.add(tomlkit.nl())
        return document
    try:
        return tomlkit.parse(path.read_text("utf-8"))
    except (TOMLKitError, OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: cannot be edited: {error}"]) from error


def _save(path: Path, document: tomlkit.TOMLDocument) -> None:
    text = tomlkit.dumps(document)
    # What we write we must be able to read, whatever layout the file had before.
    parse_inventory(path, text)
    replace_file(path, text)


def _values(entry: DeviceEntry) -> dict[str, Any]:
    defaults = DeviceEntry(entry.name)
    values = {name: getattr(entry, name) for name in _FIELDS}
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if name == "profile" or value != getattr(defaults, name)
    }


def _update(table: object, values: dict[str, Any]) -> None:
    """Set the values in place, so that comments beside them stay."""
    items = cast("MutableMapping[str, Any]", table)
    for key in [key for key in items if key not in values]:
        del items[key]
    items.update(values)
