"""The files a run leaves: results.json, results.csv and report.html, each complete or not there."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import UsageError
from harness.store import Store
from reports.files import write_atomically
from reports.record import Results, to_json


@dataclass(frozen=True)
class OutputFiles:
    """Where they are."""

    report: Path
    json: Path
    csv: Path


@dataclass(frozen=True)
class Ended:
    """When a run ended, and whether the user stopped it."""

    at: str
    interrupted: bool


def write_outputs(
    store: Store, run_id: str, folder: Path, ended: Ended | None = None
) -> tuple[Results, OutputFiles]:
    """Write all three from what the database holds; raises UsageError when `folder` cannot be written.

    `ended` is how a run ends that the database does not call ended yet.
    """
    # pandas and plotly take a third of a second to import; by now nothing is being measured any more.
    from reports.csv_export import write_csv
    from reports.html.page import write_report

    results = store.results(run_id)
    if ended is not None:
        run = replace(results.run, finished_at=ended.at, interrupted=ended.interrupted)
        results = replace(results, run=run)
    samples = {
        index: store.samples(results.run.id, record.case)
        for index, record in enumerate(results.records)
        if record.status == "ok"
    }
    files = OutputFiles(folder / "report.html", folder / "results.json", folder / "results.csv")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(results, files.json)
        write_csv(results, files.csv)
        write_report(results, samples, files.report)
    except OSError as error:
        raise UsageError(
            f"cannot write the report to {folder}: {error.strerror}",
            f"the results are safe in {store.place}; write them with `bench report {run_id} --out FOLDER`",
        ) from error
    return results, files


def check_folder(folder: Path) -> None:
    """Find out before hours of measuring that the results could not be written; raises UsageError."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UsageError(f"--out {folder}: {existing} is not a folder")
    try:
        # Asked for its rights, root may write everywhere; /proc and read-only disks know better.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UsageError(f"--out {folder}: {existing} cannot be written to: {error.strerror}") from error


def _write_json(results: Results, path: Path) -> None:
    write_atomically(path, json.dumps(to_json(results), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
