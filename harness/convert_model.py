"""Converts one model into a folder: what is there already is kept, the rest made and recorded one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from convert.workshop import Workshop
from harness.conversion_files import ConversionFolder
from harness.conversions import ModelConversion
from harness.errors import BenchError
from harness.models import BenchModel
from harness.wanted import ConversionOptions, Wanted, conversion_keys

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


def find_finished(
    model: BenchModel,
    wanted: Sequence[Wanted],
    options: ConversionOptions,
    folder: ConversionFolder,
    *,
    compatibility: bool,
) -> dict[Wanted, Record]:
    """What an earlier command made of the same things; loads no model and starts no process."""
    found = folder.finished(model.name, conversion_keys(model, wanted, options))
    return {
        entry: record
        for entry, record in found.items()
        if not compatibility or record.get("runtimes") is not None
    }


def convert_model(
    model: BenchModel,
    wanted: Sequence[Wanted],
    options: ConversionOptions,
    folder: ConversionFolder,
    workshop: Workshop,
    tell: Callable[[Record], None],
    *,
    compatibility: bool,
) -> Outcome:
    """Makes what is not there yet, each told and recorded as it ends; one failing never stops the others.

    Raises UsageError for shapes or data that do not fit, and for files that are in the way.
    """
    finished = find_finished(model, wanted, options, folder, compatibility=compatibility)
    missing = [entry for entry in wanted if entry not in finished]
    if not missing:
        return Outcome(tuple(finished[entry] for entry in wanted), len(finished))
    folder.check(model.name, missing)
    conversion = ModelConversion(model, options, workshop, compatibility=compatibility)
    for note in conversion.read(missing):
        workshop.tell(note)
    keys = conversion_keys(model, missing, options)
    records = dict(finished)
    for entry in missing:
        started = time.perf_counter()
        try:
            made = conversion.make(entry)
            record = folder.keep(model.name, made, options, keys[entry])
        except BenchError as error:
            record = folder.keep_failure(model.name, entry, error, time.perf_counter() - started)
        records[entry] = record
        tell(record)
    return Outcome(tuple(records[entry] for entry in wanted), len(finished))
