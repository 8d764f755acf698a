"""`bench report`: write the report of a run that is in the database."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.markup import escape

from harness.commands import console
from harness.commands.results_table import show_results
from harness.outputs import check_folder, write_outputs
from harness.store import DEFAULT_PATH, Store
from reports.record import to_json


def report(
    run_id: str = typer.Argument("latest", metavar="RUN", help="A run's id or its beginning, or latest."),
    out: Path | None = typer.Option(None, help="Folder for report.html, results.json and results.csv."),
    store: str = typer.Option(str(DEFAULT_PATH), help="Result database: an SQLite file or a database URL."),
    list_runs: bool = typer.Option(False, "--list", help="List the runs instead."),
    as_json: bool = typer.Option(False, "--json", help="Print results.json instead of the table."),
) -> None:
    """Write the report of an earlier run again.

    Example: bench report latest --out nightly/
    """
    opened = Store.open(store, create=False)
    if list_runs:
        for run in opened.runs():
            state = "interrupted" if run.interrupted else "finished" if run.finished_at else "unfinished"
            console.out.print(escape(f"{run.id}  {run.started_at}  {state}  {' '.join(run.command)}"))
        return
    run = opened.run(run_id)
    folder = out or DEFAULT_PATH.parent / run.id
    check_folder(folder)
    results, files = write_outputs(opened, run.id, folder)
    if as_json:
        console.out.print_json(json.dumps(to_json(results)), ensure_ascii=True)
        return
    show_results(results)
    console.out.print(f"\nReport: {files.report}")
