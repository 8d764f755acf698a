"""What of a virtual board can be changed while it runs: how a value is checked, and how it is laid down."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Check = Callable[[object], object]

COLDEST_C, HOTTEST_C = -40, 125
_MOST_KHZ = 10_000_000


class WrongValue(Exception):
    """What is wrong with a value, as the end of a sentence that begins with it."""


@dataclass(frozen=True)
class Setting:
    """Something of a board that can be changed while it runs."""

    #: What it takes, for people.
    takes: str
    #: The value as it is laid down; raises WrongValue with what is wrong.
    check: Check
    #: Changes the files below the stand-ins' folder.
    lay: Callable[[Path, Any], None]


def numbers(low: float, high: float) -> Check:
    """A number within bounds."""

    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise WrongValue("is no number")
        if not low <= value <= high:
            raise WrongValue(f"is not from {low:g} to {high:g}")
        return float(value)

    return check


def whole_numbers(low: int, high: int) -> Check:
    """An integer within bounds."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongValue("is no whole number")
        if not low <= value <= high:
            raise WrongValue(f"is not from {low} to {high}")
        return value

    return check


def truth(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise WrongValue("is neither true nor false")
    return value


def line(value: object) -> str:
    """One line of text."""
    if not isinstance(value, str) or len(value.splitlines()) > 1:
        raise WrongValue("is not one line of text")
    return value.rstrip("\n")


def one_of(*words: str) -> Check:
    """One of these words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise WrongValue(f"is none of {', '.join(words)}")
        return value

    return check


def clock(lay: Callable[[Path, int], None], what: str) -> Setting:
    """A clock in kHz."""
    return Setting(f"{what}, kHz", whole_numbers(1, _MOST_KHZ), lay)


def degrees(lay: Callable[[Path, float], None], what: str) -> Setting:
    """A temperature in degrees Celsius."""
    return Setting(f"{what}, °C", numbers(COLDEST_C, HOTTEST_C), lay)


def millidegrees(celsius: float) -> str:
    """As a thermal zone says it."""
    return str(round(celsius * 1000))


def replace_values(stand_ins: Path, files: Mapping[str, str]) -> None:
    """Give files of a running board other contents: who reads meanwhile sees the old one or the new.

    Paths are below the stand-ins. Each lies in a folder that the board sees, so that it sees the new file.
    """
    for path, text in files.items():
        target = (stand_ins / path).resolve()  # of all cores' links to one policy
        descriptor, fresh = tempfile.mkstemp(prefix=".", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, 0o644)
                file.write(text + "\n")
            Path(fresh).replace(target)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
