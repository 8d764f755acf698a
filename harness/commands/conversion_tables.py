"""What `bench convert` shows: a line as each artifact ends, then one table and what to know about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from harness.commands import console
from harness.conversion_files import FILE_NAME
from harness.convert_model import Outcome
from harness.model_folder import SUMMARY_NAME
from reports.plain_text import plain
from reports.units import ABSENT, plural, seconds, size

Record = Mapping[str, Any]

#: Room for the tools on a terminal; a log has all of it.
_CONVERTER_WIDTH = 40


class ConversionDisplay:
    """Tells on standard error how it goes."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._ended = 0

    def ended(self, record: Record) -> None:
        """One artifact is made, or failed."""
        self._ended += 1
        what = f"{_safe(record['model'])} · {_safe(record['target'])} · {_precision(record)}"
        count = f"[dim]{self._ended}/{self._total}[/]"
        if record["status"] == "ok":
            figures = f"{size(record['bytes'])}  cosine {_cosine(record)}  {seconds(record['seconds'])}"
            console.err.print(f"{count} {what}  [bold]{figures}[/]")
        else:
            failure = record["failure"]
            console.err.print(
                f"{count} {what}  [red]failed[/] {_safe(failure['reason'])}: {_safe(failure['message'], 500)}"
            )


class FolderDisplay:
    """Tells on standard error which model is done and how."""

    def started(self, number: int, total: int, model: str) -> None:
        """A model's process is started."""
        console.err.print(f"[dim]{number}/{total}[/] {_safe(model)}")

    def line(self, text: str) -> None:
        """What the process says meanwhile."""
        console.err.print(f"    [dim]{_safe(text, 500)}[/]")

    def ended(self, number: int, total: int, record: Record, *, found: bool) -> None:
        """A model is through."""
        lead = f"[dim]{number}/{total}[/] {_safe(record['model'])}"
        if record["status"] == "ok":
            made = "there already" if found else f"ok  {_seconds(record)}"
            console.err.print(f"{lead}  [green]{made}[/]")
        else:
            console.err.print(f"{lead}  [red]failed: {_safe(record['failure']['reason'])}[/]")


def show_records(outcome: Outcome, out: Path) -> None:
    """The table of one model's artifacts, warnings and failures below it."""
    table = Table(box=None, pad_edge=False)
    for name in ("model", "target", "precision"):
        table.add_column(name, no_wrap=True)
    for name in ("size", "cosine", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("runtimes", no_wrap=True)
    limit = _CONVERTER_WIDTH if console.out.is_terminal else None
    table.add_column("made by", max_width=limit, no_wrap=limit is not None, overflow="ellipsis")
    for record in outcome.records:
        table.add_row(*_row(record))
    console.out.print(table)
    _show_warnings(outcome.records)
    _show_failures(record["failure"] for record in outcome.records if record["failure"])
    if outcome.found:
        found = f"{outcome.found} of {plural(len(outcome.records), 'artifact')}"
        console.out.print(f"\n{found} there already, made from the same things")
    console.out.print(f"\nIn {_safe(str(out))}, described in {_safe(str(out / FILE_NAME))}", soft_wrap=True)


def show_folder(content: Record, out: Path) -> None:
    """The table of a folder's models, failures below it."""
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("result", no_wrap=True)
    for name in ("artifacts", "time", "peak memory"):
        table.add_column(name, justify="right", no_wrap=True)
    records = content["models"]
    for record in records:
        good = sum(artifact["status"] == "ok" for artifact in record["artifacts"])
        result = "[green]ok[/]" if record["status"] == "ok" else f"[red]failed: {_reason(record)}[/]"
        peak = record["peak_memory_bytes"]
        table.add_row(
            _safe(record["model"]),
            result,
            f"{good}/{len(record['artifacts'])}" if record["artifacts"] else ABSENT,
            _seconds(record),
            size(peak) if peak else ABSENT,
        )
    console.out.print(table)
    failures = [record["failure"] for record in records if record["failure"]]
    _show_failures(failures)
    good = len(records) - len(failures)
    console.out.print(
        f"\n{good} of {plural(len(records), 'model')} converted; "
        f"described in {_safe(str(out / SUMMARY_NAME))}",
        soft_wrap=True,
    )


def _row(record: Record) -> tuple[str, ...]:
    named = (_safe(record["model"]), _safe(record["target"]), _precision(record))
    if record["status"] != "ok":
        return (*named, ABSENT, ABSENT, _seconds(record), "", f"[red]failed: {_reason(record)}[/]")
    return (
        *named,
        size(record["bytes"]),
        _cosine(record),
        _seconds(record),
        _runtimes(record),
        _safe(record["converter"], 500),
    )


def _show_warnings(records: Iterable[Record]) -> None:
    """Each once, with the artifacts it is about."""
    about: dict[str, list[str]] = {}
    for record in records:
        for warning in record.get("warnings", ()):
            about.setdefault(warning, []).append(f"{record['target']} {_plain_precision(record)}")
    for warning, artifacts in about.items():
        console.out.print(
            f"[yellow]warning:[/] {_safe(', '.join(artifacts))}: {_safe(warning, 2000)}", soft_wrap=True
        )


def _show_failures(failures: Iterable[Record]) -> None:
    """What went wrong and what to do, each once: their words are longer than a table is wide."""
    for failure in {(one["message"], one["remedy"]): one for one in failures}.values():
        console.out.print(f"[red]failed:[/] {_safe(failure['message'], 2000)}", soft_wrap=True)
        if failure["remedy"]:
            console.out.print(f"  remedy: {_safe(failure['remedy'], 2000)}", soft_wrap=True)


def _precision(record: Record) -> str:
    return _safe(_plain_precision(record))


def _plain_precision(record: Record) -> str:
    io = record["io"]
    return str(record["precision"]) + ("" if io == "float" else f" ({io} in and out)")


def _cosine(record: Record) -> str:
    """The lowest over all outputs."""
    cosines = [output["cosine"] for output in record["verification"] if output["cosine"] is not None]
    return f"{min(cosines):.5f}" if cosines else ABSENT


def _seconds(record: Record) -> str:
    return seconds(record["seconds"]) if record["seconds"] is not None else ABSENT


def _reason(record: Record) -> str:
    return _safe(record["failure"]["reason"])


def _runtimes(record: Record) -> str:
    """Which runtimes take the artifact, as far as they were asked."""
    return ABSENT


def _safe(text: str, limit: int = 200) -> str:
    return escape(plain(text, limit))
