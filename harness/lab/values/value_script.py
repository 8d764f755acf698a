"""A script of a virtual board's values: at which second what becomes what, out of a TOML file.

[[step]]
at = 5                    # seconds from the start
temperature_c = 82.4      # a name, or the path of a file
throttled = true
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigurationError, UsageError
from harness.lab.values.board_values import BoardValues

#: A day: longer is a slip of the pen, milliseconds perhaps.
_LONGEST_S = 86400.0


@dataclass(frozen=True)
class Step:
    """Values that change together."""

    #: Seconds from the start.
    at_s: float
    values: Mapping[str, object]


def read_script(path: Path, board: BoardValues) -> tuple[Step, ...]:
    """The steps of a file, checked against that board; raises ConfigurationError with all faults."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: {error}"], "a script is a TOML file") from error
    tables = document.get("step")
    faults = [f"{path}: {key}: unknown key; a script has [[step]] only" for key in document if key != "step"]
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(
            [*faults, f"{path}: there are no steps"], "[[step]] with `at` in seconds, and a value"
        )
    steps: list[Step] = []
    remedies: list[str] = []
    for number, table in enumerate(tables, start=1):
        try:
            steps.append(_step(table, steps[-1].at_s if steps else 0.0, board))
        except UsageError as error:
            faults.append(f"{path}: step {number}: {error.message}")
            remedies.append(error.remedy or "")
    if faults:
        raise ConfigurationError(faults, next(filter(None, remedies), None))
    return tuple(steps)


def _step(table: Mapping[str, object], earliest_s: float, board: BoardValues) -> Step:
    at = table.get("at")
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not earliest_s <= at <= _LONGEST_S:
        raise UsageError(
            f"at = {at!r} is no time",
            f"seconds from the start, not before those of the step before ({earliest_s:g})",
        )
    values = {name: board.checked(name, value) for name, value in table.items() if name != "at"}
    if not values:
        raise UsageError("changes nothing", "name what it changes, as in temperature_c = 82.4")
    return Step(float(at), values)
