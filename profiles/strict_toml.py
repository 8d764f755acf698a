"""TOML files as frozen dataclasses: types never coerced, every fault found at once and named by its field."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.errors import ForbiddenExtraKeysError

T = TypeVar("T")


class InvalidFile(Exception):
    """A file cannot be used; `faults` names each with the file and its line or field."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def load(path: Path, kind: type[T]) -> T:
    """The file's content as `kind`; raises InvalidFile with all faults."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InvalidFile([f"{path}:{_position(str(error))}"]) from error
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise InvalidFile([f"{path}: {words}"]) from error
    return structure(table, kind, str(path))


def structure(table: dict[str, Any], kind: type[T], where: str) -> T:
    """A parsed table as `kind`; `where` opens each fault."""
    try:
        return _CONVERTER.structure(table, kind)
    except cattrs.ClassValidationError as error:
        faults = cattrs.transform_error(error, path="", format_exception=_words)
        raise InvalidFile([f"{where}: {_field_first(fault)}" for fault in faults]) from error


def _field_first(fault: str) -> str:
    """The library's `what @ .field` as `field: what`."""
    what, found, field = fault.rpartition(" @ ")
    if not found:
        return fault
    field = field.removeprefix(".")
    return f"{field}: {what}" if field else what


def _words(error: BaseException, kind: type | None) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in dataclasses.fields(error.cl)]
        return ", ".join(_unknown_key(key, known) for key in sorted(error.extra_fields))
    if isinstance(error, KeyError):
        return "is missing"
    return str(error) or f"is not {getattr(kind, '__name__', kind)}"


def _unknown_key(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"unknown key {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}")


def _position(message: str) -> str:
    """The library's `... (at line 3, column 7)` as an editor reads it: `3:7: ...`."""
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    return f"{found[2]}:{found[3]}: {found[1]}" if found else f" {message}"


def _exactly(*kinds: type) -> Any:
    """A hook that takes a TOML value only as it is: no 3 for "3", no true for 1."""

    def hook(value: object, wanted: type) -> object:
        if isinstance(value, bool) and bool not in kinds:
            raise TypeError(f"{value!r} is not {_NAMES[wanted]}")
        if not isinstance(value, kinds):
            raise TypeError(f"{value!r} is not {_NAMES[wanted]}")
        return wanted(value)

    return hook


_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def _path(value: object, _wanted: type) -> Path:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is not a path")
    return Path(value)


def _list(hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A hook that takes a TOML array only: "pi" is not the devices p and i."""

    def of_array(value: object, wanted: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is not a list")
        return hook(value, wanted)

    return of_array


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _exactly(str))
    converter.register_structure_hook(int, _exactly(int))
    converter.register_structure_hook(float, _exactly(int, float))
    converter.register_structure_hook(bool, _exactly(bool))
    converter.register_structure_hook(Path, _path)
    strict = converter.copy()
    strict.register_structure_hook_factory(
        lambda wanted: getattr(wanted, "__origin__", None) is tuple,
        lambda wanted: _list(converter.get_structure_hook(wanted)),
    )
    return strict


_CONVERTER = _converter()
