"""Which boards there are: devices.toml as frozen dataclasses, every fault found at once.

Search order: the file given, ./devices.toml, then the user's own. Host keys lie beside the inventory.
Unless a file is given, the virtual boards that are up (`bench lab`) follow after those of the inventory.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cattrs
from cattrs import ClassValidationError
from cattrs.gen import make_dict_structure_fn, override

from harness.errors import ConfigurationError
from harness.farm.user_files import config_dir
from harness.places import lab_home
from profiles.devices import device_profile_names

FILE_NAME = "devices.toml"
LOCAL = "local"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class DeviceEntry:
    """One board: a table of devices.toml, or what `local` or `user@host` stands for."""

    name: str
    #: Kind of board, a name of profiles/devices.
    profile: str = "generic-linux"
    #: Host name, address or ssh_config alias; None is this machine.
    host: str | None = None
    user: str | None = None
    port: int | None = None
    #: Private key file.
    identity: Path | None = None
    #: The Python interpreter on the board.
    python: str = "python3"
    #: Where the agent keeps its files on the board.
    workspace: str = "~/.cache/edgebench"
    #: [user@]host[:port] of the servers to go through, several with commas.
    proxy_jump: str | None = None
    #: The inventory file it is from; its pinned host keys lie beside that. None for ad-hoc boards.
    inventory: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return self.host is None


@dataclass(frozen=True)
class Inventory:
    """The boards of one devices.toml, in its order; `path` is None when there is no file at all."""

    path: Path | None
    devices: Mapping[str, DeviceEntry]


#: What a table of devices.toml may say: the name is its header and the file is known.
_KEYS = tuple(field.name for field in fields(DeviceEntry) if field.name not in ("name", "inventory"))


def known_hosts_beside(inventory: Path) -> Path:
    """The file with the pinned host keys of an inventory: devices.toml -> devices.known_hosts."""
    return inventory.with_name(inventory.stem + ".known_hosts")


def find_inventory(given: Path | None = None) -> Path | None:
    """The inventory file to use, or None where there is none; a given one has to exist."""
    if given is not None:
        if not given.is_file():
            raise ConfigurationError(
                [f"{given}: no such inventory file"],
                f"create it with `bench device add NAME USER@HOST --inventory {given}`",
            )
        return given
    return next((path for path in default_inventories() if path.is_file()), None)


def default_inventories() -> tuple[Path, Path]:
    """Where an inventory is looked for when none is given, in this order."""
    return Path(FILE_NAME), config_dir() / FILE_NAME


def load_inventory(given: Path | None = None) -> Inventory:
    """The inventory of `given` or of the first default place; raises ConfigurationError with every fault.

    Without `given` the lab's boards are added, whose entries name the lab's inventory as theirs.
    """
    path = find_inventory(given)
    own = _read(path) if path else Inventory(None, MappingProxyType({}))
    lab = lab_home() / FILE_NAME
    if given is not None or not lab.is_file():
        return own
    return replace(own, devices=MappingProxyType({**own.devices, **_others(_read(lab), own)}))


def _others(lab: Inventory, own: Inventory) -> dict[str, DeviceEntry]:
    """The lab's boards but for those whose names the user gave to boards of their own."""
    return {name: entry for name, entry in lab.devices.items() if name not in own.devices}


def _read(path: Path) -> Inventory:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: cannot be read: {error}"]) from error
    return parse_inventory(path, text)


def parse_inventory(path: Path, text: str) -> Inventory:
    """The inventory in `text`; `path` is where it is from or will be."""
    try:
        return _structured(path, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{path}:{_position(str(error))}"]) from error


def name_fault(name: str) -> str | None:
    """Why `name` cannot be the name of a board, or None."""
    if name == LOCAL:
        return f"{name!r} is reserved for this machine"
    if not _NAME.fullmatch(name) or name.startswith("-"):
        return f"{name!r} is not a device name (1 to 64 of A-Z a-z 0-9 . _ -, not starting with -)"
    return None


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """A closing half sentence that names the nearest known word, or lists the few there are."""
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _structured(path: Path, document: dict[str, Any]) -> Inventory:
    faults = [
        f"{path}: {key}: unknown key{did_you_mean(key, ('devices',))}" for key in document if key != "devices"
    ]
    tables = document.get("devices", {})
    if not isinstance(tables, dict):
        raise ConfigurationError([*faults, f"{path}: devices: has to be tables like [devices.nano-01]"])
    devices: dict[str, DeviceEntry] = {}
    for name, table in tables.items():
        try:
            devices[name] = _entry(path, name, table)
        except ConfigurationError as error:
            faults += error.faults
    if faults:
        raise ConfigurationError(faults)
    return Inventory(path, MappingProxyType(devices))


def _entry(path: Path, name: str, table: object) -> DeviceEntry:
    """One table as a DeviceEntry; raises ConfigurationError with all its faults."""
    where = f"{path}: devices.{name}"
    if not isinstance(table, dict):
        raise ConfigurationError([f"{where}: {table!r} is not a table like [devices.nano-01]"])
    faults = [f"{where}: {fault}" for fault in [name_fault(name)] if fault]
    faults += [f"{where}.{key}: unknown key{did_you_mean(key, _KEYS)}" for key in table if key not in _KEYS]
    if "host" not in table:
        faults.append(f"{where}.host: is missing; give a host name, an address or an alias of ssh_config")
    known = {key: value for key, value in table.items() if key in _KEYS}
    try:
        entry = _CONVERTER.structure(known | {"name": name, "inventory": path}, DeviceEntry)
    except ClassValidationError as error:
        faults += [f"{where}.{note.name}: {fault}" for fault, note in error.group_exceptions()[0]]
    if faults:
        raise ConfigurationError(faults)
    # The file may be used from any folder.
    return replace(entry, identity=entry.identity and path.parent / entry.identity.expanduser())


def _position(message: str) -> str:
    """What tomllib says as `... (at line 3, column 7)` as an editor reads it: `3:7: ...`."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if found is None:
        return f" {message}"
    return f"{found[2]}:{found[3]}: {found[1]}" if found[2] else f" {found[1]} (at the end of the file)"


# --- fields: TOML's own types, never coerced -------------------------------------------------------


def _string(value: object, _type: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    if not value.strip() or "\n" in value or "\0" in value:
        raise ValueError(f"{value!r} has to be one line that is not empty")
    return value


def _host(value: object, _type: object) -> str:
    text = _string(value, _type)
    if re.search(r"[\s@/]", text) or text.startswith("-"):
        raise ValueError(f"{text!r} is not a host name; the user and the port have fields of their own")
    return text


def _port(value: object, _type: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an integer")
    if not 0 < value < 65536:
        raise ValueError(f"{value} is not a port (1 to 65535)")
    return value


def _profile(value: object, _type: object) -> str:
    text = _string(value, _type)
    known = device_profile_names()
    if text not in known:
        raise ValueError(f"{text!r} is not a device profile{did_you_mean(text, known)}")
    return text


def _path(value: object, _type: object) -> Path:
    return Path(_string(value, _type))


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(
        DeviceEntry,
        make_dict_structure_fn(
            DeviceEntry,
            converter,
            profile=override(struct_hook=_profile),
            host=override(struct_hook=_host),
            user=override(struct_hook=_string),
            port=override(struct_hook=_port),
            identity=override(struct_hook=_path),
            python=override(struct_hook=_string),
            workspace=override(struct_hook=_string),
            proxy_jump=override(struct_hook=_string),
        ),
    )
    converter.register_structure_hook(Path, lambda value, _: value)
    return converter


_CONVERTER = _converter()
