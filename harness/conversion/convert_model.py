"""Converts one model into a folder: what is there already is kept, the rest made and recorded one by one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from convert.workshop import Workshop
from harness.conversion.conversion_files import ConversionFolder
from harness.conversion.conversions import ModelConversion
from harness.conversion.runtime_checks import is_settled
from harness.conversion.wanted import ConversionOptions, Wanted, conversion_keys
from harness.errors import BenchError
from harness.models import BenchModel

Record = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The records of what was wanted, in that order, and how many of them were there already."""

    records: tuple[Record, ...]
    found: int

    @property
    def complete(self) -> bool:
        """Whether everything that was wanted is there."""
        return all(record["status"] == "ok" for record in self.records)


class ConversionObserver(Protocol):
    """Is told how it goes; `number` of `total` that have to be made."""

    def started(self, wanted: Wanted, number: int, total: int) -> None:
        """An artifact is being made."""

    def ended(self, record: Record, number: int, total: int) -> None:
        """It is made, or failed."""


def find_finished(
    model: BenchModel,
    wanted: Sequence[Wanted],
    options: ConversionOptions,
    folder: ConversionFolder,
    toolchains: Path,
    *,
    compatibility: bool,
) -> dict[Wanted, Record]:
    """What an earlier command made of the same things; loads no model and starts no process."""
    found = folder.finished(model.name, conversion_keys(model, wanted, options))
    return {
        entry: record
        for entry, record in found.items()
        if not compatibility or is_settled(record.get("runtimes"), toolchains)
    }


def convert_model(
    model: BenchModel,
    wanted: Sequence[Wanted],
    options: ConversionOptions,
    folder: ConversionFolder,
    workshop: Workshop,
    observer: ConversionObserver,
    *,
    compatibility: bool,
) -> Outcome:
    """Makes what is not there yet, each recorded and told as it ends; one failing never stops the others.

    Raises UsageError for shapes or data that do not fit, and for files that are in the way.
    """
    finished = find_finished(model, wanted, options, folder, workshop.toolchains, compatibility=compatibility)
    missing = [entry for entry in wanted if entry not in finished]
    if not missing:
        return Outcome(tuple(finished[entry] for entry in wanted), len(finished))
    folder.check(model.name, missing)
    conversion = ModelConversion(model, options, workshop, compatibility=compatibility)
    for note in conversion.read(missing):
        workshop.tell(note)
    keys = conversion_keys(model, missing, options)
    records = dict(finished)
    for number, entry in enumerate(missing, 1):
        observer.started(entry, number, len(missing))
        started = time.perf_counter()
        try:
            made = conversion.make(entry)
            record = folder.keep(model.name, made, options, keys[entry])
        except BenchError as error:
            record = folder.keep_failure(model.name, entry, error, time.perf_counter() - started)
        records[entry] = record
        observer.ended(record, number, len(missing))
    return Outcome(tuple(records[entry] for entry in wanted), len(finished))
