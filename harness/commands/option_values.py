"""Values of options in the forms people write them; what is none of these is a UsageError."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.errors import UsageError

_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?$", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def words(option: str | None) -> tuple[str, ...] | None:
    """Words with commas between them, each once; None for none."""
    if not option:
        return None
    return tuple(dict.fromkeys(word.strip() for word in option.split(",") if word.strip())) or None


def numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Whole numbers above 0 with commas between them; None for none."""
    found = words(text)
    if found is None:
        return None
    try:
        values = tuple(int(word) for word in found)
    except ValueError:
        raise UsageError(f"{option} {text}: not numbers", f"for example {option} 1,4,16") from None
    if min(values) < 1:
        raise UsageError(f"{option} {text}: numbers from 1 on", f"for example {option} 1,4,16")
    return values


def shapes(options: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes by input name from words such as name=1,3,224,224."""
    found: dict[str, tuple[int, ...]] = {}
    for option in options:
        name, _, sizes = option.rpartition("=")
        try:
            shape = tuple(int(size) for size in sizes.split(",")) if sizes else ()
        except ValueError:
            name = ""
        if not name:
            raise UsageError(f"--shape {option}: not of the form name=1,3,224,224")
        found[name] = shape
    return found


def memory_size(option: str, text: str | None) -> int | None:
    """Bytes from 4GB (decimal), 4GiB (binary) or a plain number; None for none."""
    if text is None:
        return None
    found = _SIZE.match(text.strip())
    size = float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()] if found else 0.0
    if size < 1:
        raise UsageError(f"{option} {text}: not a size", f"for example {option} 4GB or {option} 512MiB")
    return int(size)
