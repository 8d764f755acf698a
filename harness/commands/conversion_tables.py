"""What `bench convert` shows: a line as each artifact ends, then one table and what to know about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.commands import console
from harness.conversion.conversion_files import FILE_NAME
from harness.conversion.convert_model import Outcome
from harness.conversion.model_folder import SUMMARY_NAME
from harness.conversion.wanted import Wanted
from reports.plain_text import plain
from reports.units import ABSENT, plural, seconds, size

Record = Mapping[str, Any]

_FIGURES = ("size", "cosine", "time")
#: Between columns, and the least of a column that is worth showing.
_GAP = 2
_LEAST_WIDTH = 12
_RUNTIME_STYLES = {
    "agrees": "{}",
    "disagrees": "[red]not {}[/]",
    "refused": "[red]not {}[/]",
    "not_checked": "[dim]{}?[/]",
}


class ConversionDisplay:
    """Shows on standard error a line as each artifact ends, on a terminal also what is being made."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._status = console.err.status("")

    def __enter__(self) -> ConversionDisplay:
        """Begin to draw."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._status.stop()

    def started(self, wanted: Wanted, number: int, total: int) -> None:
        """An artifact is being made."""
        if console.err.is_terminal:
            words = f"{number}/{total} {_safe(self._model)} · {wanted.word} · {wanted.precision}"
            self._status.update(words)
            self._status.start()

    def ended(self, record: Record, number: int, total: int) -> None:
        """It is made, or failed."""
        what = f"{_safe(record['model'])} · {_safe(record['target'])} · {_precision(record)}"
        count = f"[dim]{number}/{total}[/]"
        if record["status"] == "ok":
            figures = f"{size(record['bytes'])}  cosine {_cosine(record)}  {seconds(record['seconds'])}"
            console.err.print(f"{count} {what}  [bold]{figures}[/]")
        else:
            failure = record["failure"]
            reason, message = _safe(failure["reason"]), _safe(failure["message"], 500)
            console.err.print(f"{count} {what}  [red]failed[/] {reason}: {message}")


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
    rows = [[cell(record) for _, cell in _COLUMNS] for record in outcome.records]
    console.out.print(_fitted(rows, console.out.width))
    _show_warnings(outcome.records)
    _show_failures(record["failure"] for record in outcome.records if record["failure"])
    if outcome.found:
        found = f"{outcome.found} of {plural(len(outcome.records), 'artifact')}"
        console.out.print(f"\n{found} there already, made from the same things")
    console.out.print(f"\nIn {_safe(str(out))}, described in {_safe(str(out / FILE_NAME))}", soft_wrap=True)


def _fitted(rows: Sequence[Sequence[str]], width: int) -> Table:
    """The table; on a narrow terminal the last columns are cut, or left out where nothing of them is left."""
    table = Table(box=None, pad_edge=False)
    for index, (name, _) in enumerate(_COLUMNS):
        widest = max(len(name), *(Text.from_markup(row[index]).cell_len for row in rows))
        if width < min(widest, _LEAST_WIDTH):
            break
        table.add_column(
            name,
            justify="right" if name in _FIGURES else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=min(widest, width),
        )
        width -= widest + _GAP
    for row in rows:
        table.add_row(*row[: len(table.columns)])
    return table


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


def _show_warnings(records: Iterable[Record]) -> None:
    """Each once, with the artifacts it is about."""
    about: dict[str, list[str]] = {}
    for record in records:
        for warning in (*record.get("warnings", ()), *_runtime_warnings(record)):
            about.setdefault(warning, []).append(f"{record['target']} {_plain_precision(record)}")
    for warning, artifacts in about.items():
        console.out.print(
            f"[yellow]warning:[/] {_safe(', '.join(artifacts))}: {_safe(warning, 2000)}", soft_wrap=True
        )


def _runtime_warnings(record: Record) -> Iterator[str]:
    """Where an artifact cannot be used, or nobody knows."""
    for check in record.get("runtimes") or ():
        runtime = f"{check['runtime']} {check['version'] or ''}".strip()
        if check["status"] == "not_checked":
            yield f"not tried in {runtime}: {check['detail']}"
        elif check["status"] != "agrees":
            yield f"not for {runtime}, which {check['status']}: {check['detail']}"


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
    outputs = record.get("verification", ())
    cosines = [output["cosine"] for output in outputs if output["cosine"] is not None]
    return f"{min(cosines):.5f}" if cosines else ABSENT


def _seconds(record: Record) -> str:
    return seconds(record["seconds"]) if record["seconds"] is not None else ABSENT


def _reason(record: Record) -> str:
    return _safe(record["failure"]["reason"])


def _runtimes(record: Record) -> str:
    """Runtimes that take the artifact and agree, and those that do not."""
    checks = record.get("runtimes")
    if not checks:
        return ABSENT
    return ", ".join(_RUNTIME_STYLES[check["status"]].format(_safe(check["runtime"])) for check in checks)


def _size(record: Record) -> str:
    return size(record["bytes"]) if record["status"] == "ok" else ABSENT


def _outcome(record: Record) -> str:
    if record["status"] != "ok":
        return f"[red]failed: {_reason(record)}[/]"
    return _runtimes(record)


def _converter(record: Record) -> str:
    return _safe(record.get("converter") or "", 500)


#: What cannot be spared first.
_COLUMNS: tuple[tuple[str, Callable[[Record], str]], ...] = (
    ("model", lambda record: _safe(record["model"])),
    ("target", lambda record: _safe(record["target"])),
    ("precision", _precision),
    ("size", _size),
    ("cosine", _cosine),
    ("time", _seconds),
    ("runtimes", _outcome),
    ("made by", _converter),
)


def _safe(text: str, limit: int = 200) -> str:
    return escape(plain(text, limit))
