"""The results on a terminal: one table a device and the sentences that say what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from harness.commands import console
from reports.plain_text import plain
from reports.record import Results
from reports.sentences import Row, overhead_sentences, summary_sentences, table_rows

_STYLES = {"valid": "green", "suspect": "yellow", "invalid": "red", "failed": "red", "unsupported": "dim"}


@dataclass(frozen=True)
class _Column:
    name: str
    text: Callable[[Row], str]
    left: bool = False
    #: The higher, the sooner it is left out on a narrow terminal; 0 stays.
    spare: int = 0


_COLUMNS = (
    _Column("model", lambda row: row.model, left=True),
    _Column("runtime", lambda row: row.runtime, left=True),
    _Column("precision", lambda row: row.precision, left=True),
    _Column("batch", lambda row: str(row.batch_size), spare=3),
    _Column("threads", lambda row: str(row.num_threads), spare=3),
    _Column("p50 ms", lambda row: row.latency.text),
    _Column("±", lambda row: row.interval.text, spare=2),
    _Column("p90 ms", lambda row: row.p90.text, spare=6),
    _Column("p99 ms", lambda row: row.p99.text, spare=4),
    _Column("compute ms", lambda row: row.compute.text, spare=7),
    _Column("peak RSS", lambda row: row.memory.text, spare=1),
    _Column("file", lambda row: row.size.text, spare=5),
    _Column("accuracy", lambda row: row.accuracy.text),
)


def show_results(results: Results) -> None:
    """Print a table per device, then the sentences."""
    rows = table_rows(results)
    reasons = {i: plain(record.failure.reason) for i, record in enumerate(results.records) if record.failure}
    for device in dict.fromkeys(row.device for row in rows):
        console.out.print(f"[bold]{escape(plain(device))}[/]")
        own = [row for row in rows if row.device == device]
        console.out.print(_table(own, reasons, console.out.width))
        console.out.print()
    _show_failures(results)
    for sentence in (*summary_sentences(results), *overhead_sentences(results)):
        console.out.print(escape(sentence))


def _show_failures(results: Results) -> None:
    """What went wrong and what to do, each once: their words are longer than a table is wide."""
    failures = [(r.status, r.failure) for r in results.records if r.failure is not None]
    for status, failure in {
        (failure.message, failure.remedy): (s, failure) for s, failure in failures
    }.values():
        console.out.print(f"[{_STYLES[status]}]{status}:[/] {escape(plain(failure.message, 2000))}")
        if failure.remedy:
            console.out.print(f"  remedy: {escape(plain(failure.remedy, 2000))}")
    if failures:
        console.out.print()


def _table(rows: Sequence[Row], failed_for: Mapping[int, str], width: int) -> Table:
    verdicts = [_verdict(row, failed_for) for row in rows]
    columns = _fitting(_COLUMNS, rows, width - min(40, max(map(len, verdicts))))
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.name, justify="left" if column.left else "right", no_wrap=True)
    table.add_column("verdict")
    for row, verdict in zip(rows, verdicts, strict=True):
        style = _STYLES.get(row.verdict or row.status, "")
        cells = [escape(column.text(row)) for column in columns]
        table.add_row(*cells, f"[{style}]{escape(verdict)}[/]" if style else escape(verdict))
    return table


def _fitting(columns: Sequence[_Column], rows: Sequence[Row], width: int) -> list[_Column]:
    """The columns that fit into `width`; those that can be spared most go first."""
    kept = list(columns)
    while sum(_width(column, rows) + 2 for column in kept) > width:
        spared = max(kept, key=lambda column: column.spare)
        if spared.spare == 0:
            break
        kept.remove(spared)
    return kept


def _width(column: _Column, rows: Sequence[Row]) -> int:
    return max(len(column.name), *(len(column.text(row)) for row in rows))


def _verdict(row: Row, failed_for: Mapping[int, str]) -> str:
    if row.status != "ok":
        return f"{row.status}: {failed_for[row.index]}" if row.index in failed_for else row.status
    return f"{row.verdict}: {', '.join(row.reasons)}" if row.reasons else row.verdict or ""
