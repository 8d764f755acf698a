"""`bench verify`: recompute every figure of a run from its raw samples."""

from __future__ import annotations

from dataclasses import fields

import typer
from rich.markup import escape

from harness.commands import console
from harness.store import DEFAULT_PATH, Samples, Store
from reports.record import Record, Summary
from reports.statistics import summarize

EXIT_DIFFERENT = 3


def verify(
    run_id: str = typer.Argument("latest", metavar="RUN", help="A run's id or its beginning, or latest."),
    store: str = typer.Option(str(DEFAULT_PATH), help="Result database: an SQLite file or a database URL."),
) -> None:
    """Recompute every latency figure of a run from its raw samples and say which differ.

    Example: bench verify latest
    """
    opened = Store.open(store, create=False)
    results = opened.results(run_id)
    faults = 0
    for record in results.records:
        if record.status != "ok":
            continue
        differences = _differences(record, opened.samples(results.run.id, record.case))
        faults += bool(differences)
        words = "; ".join(differences) if differences else "as recorded"
        console.out.print(escape(f"{record.case.label}: {words}"))
    console.out.print(f"{faults} of {len(results.records)} records differ from their samples")
    if faults:
        raise typer.Exit(EXIT_DIFFERENT)


def _differences(record: Record, samples: Samples) -> list[str]:
    found = []
    for series, kept in (("latency", record.latency_ms), ("compute", record.compute_ms)):
        if kept is None or not samples.get(series):
            found.append(f"{series}: no samples")
            continue
        found += [f"{series} {name}" for name in _changed(kept, summarize(samples[series]))]
    return found


def _changed(kept: Summary, again: Summary) -> list[str]:
    return [f.name for f in fields(Summary) if getattr(kept, f.name) != getattr(again, f.name)]
