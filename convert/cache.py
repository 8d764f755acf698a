"""A content-addressed cache: a folder for each key, complete or not there at all.

An entry is made in a folder beside it and renamed into place, so readers never see half of one, and
of two processes that make the same entry the first to finish wins. What a killed process has begun is
removed by the next that makes something.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from convert.errors import ConversionFailed
from convert.held_folders import held_folder

Value = TypeVar("Value")

_BUILDING = ".building-"
_READ_SIZE = 1 << 20


def cache_key(content: dict[str, Any]) -> str:
    """The key of an entry that depends on `content` (plain JSON values) and nothing else."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_SIZE):
            digest.update(block)
    return digest.hexdigest()


def kept(
    cache: Path,
    kind: str,
    key: str,
    read: Callable[[Path], Value | None],
    fill: Callable[[Path], dict[str, Any]],
) -> Value:
    """What `read` makes of the entry, which `fill` makes first if it is missing or damaged.

    Raises what `fill` does, and ConversionFailed `cache_damaged` for an entry that cannot be read back.
    """
    entry = find_entry(cache, kind, key)
    value = read(entry) if entry else None
    if value is None:
        entry = make_entry(cache, kind, key, fill, replace=entry is not None)
        value = read(entry)
    if value is None:
        raise ConversionFailed(
            f"{entry} cannot be read back", reason="cache_damaged", remedy=f"Remove {cache}"
        )
    return value


def find_entry(cache: Path, kind: str, key: str) -> Path | None:
    """The folder of a complete entry, or None."""
    entry = cache / kind / key
    return entry if (entry / "entry.json").is_file() else None


def make_entry(
    cache: Path, kind: str, key: str, fill: Callable[[Path], dict[str, Any]], *, replace: bool = False
) -> Path:
    """The folder of the entry, filled by `fill`, whose return value becomes its entry.json.

    `replace` discards an entry that is there but was found damaged. Nothing is kept when `fill` raises.
    """
    home = cache / kind
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    entry = home / key
    with held_folder(home, _BUILDING) as building:
        content = fill(building)
        (building / "entry.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        for file in building.rglob("*"):
            file.chmod(0o700 if file.is_dir() else 0o600)
        if replace and entry.exists():
            _discard(entry, home)
        try:
            building.rename(entry)
        except OSError:
            # Someone else made the same entry meanwhile; by its key it is as good as ours.
            if find_entry(cache, kind, key) is None:
                raise
        return entry


def _discard(entry: Path, home: Path) -> None:
    """Out of the way first: an entry must not be seen while its files go one by one."""
    with held_folder(home, _BUILDING) as aside, suppress(FileNotFoundError):  # another process was faster
        entry.rename(aside / "damaged")


def read_entry(entry: Path) -> dict[str, Any] | None:
    """The entry.json of an entry, None if it cannot be read."""
    try:
        content = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
