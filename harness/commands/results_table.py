"""The results on a terminal: one table and the sentences that say what it means."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from harness.commands import console
from reports.record import Results
from reports.sentences import overhead_sentences, summary_sentences
from reports.sentences import table_rows as rows_of

_STYLES = {"valid": "green", "suspect": "yellow", "invalid": "red", "failed": "red", "unsupported": "dim"}

_COLUMNS = (
    ("model", "left"),
    ("runtime", "left"),
    ("precision", "left"),
    ("batch", "right"),
    ("thr.", "right"),
    ("p50 ms", "right"),
    ("±", "right"),
    ("p90", "right"),
    ("p99", "right"),
    ("compute", "right"),
    ("peak RSS", "right"),
    ("file", "right"),
    ("accuracy", "right"),
    ("verdict", "left"),
)


def show_results(results: Results) -> None:
    """Print a table per device, then the sentences."""
    rows = rows_of(results)
    for device in dict.fromkeys(row.device for row in rows):
        table = Table(
            title=escape(device), title_justify="left", title_style="bold", box=None, pad_edge=False
        )
        for name, side in _COLUMNS:
            table.add_column(name, justify="right" if side == "right" else "left", no_wrap=name != "verdict")
        for row in rows:
            if row.device == device:
                state = row.verdict or row.status
                words = f"{state}: {', '.join(row.reasons)}" if row.reasons else state
                cells = (
                    row.model,
                    row.runtime,
                    row.precision,
                    str(row.batch_size),
                    str(row.num_threads),
                    *(cell.text for cell in (row.latency, row.interval, row.p90, row.p99, row.compute)),
                    *(cell.text for cell in (row.memory, row.size, row.accuracy)),
                    row.note or words if row.status != "ok" else words,
                )
                table.add_row(*map(escape, cells), style=None if row.status == "ok" else _STYLES[row.status])
        console.out.print(table)
        console.out.print()
    for sentence in (*summary_sentences(results), *overhead_sentences(results)):
        console.out.print(escape(sentence))
