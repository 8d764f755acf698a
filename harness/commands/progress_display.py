"""Progress on a terminal as a bar under finished cases, in a log as plain lines.

Nothing is drawn without an event: `local` may be the board, and a spinner would compete with it. What many
boards tell at once is drawn together: drawing takes as long as all the rest that an event asks for.
"""

from __future__ import annotations

import threading

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from harness.commands import console
from harness.commands.paced import Paced
from reports.plain_text import plain
from reports.record import Case, Record
from reports.rows import milliseconds
from reports.units import moment, percent

_BAR_WIDTH = 12
#: `12/34 0:01:23` and the gaps.
_FIGURES_WIDTH = 18
#: At least so long between two drawings of a terminal.
_DRAWING_PAUSE_S = 0.1

_VERDICT_STYLE = {"valid": "green", "suspect": "yellow", "invalid": "red"}


class ProgressDisplay:
    """An Observer that shows what it is told on standard error."""

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._finished = 0
        self._remedies: set[str] = set()
        #: Who was last said to have a board that is waited for.
        self._waited_for: dict[str, str] = {}
        self._total = total
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=_BAR_WIDTH),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console.err,
            auto_refresh=False,
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("preparing", total=total)
        #: Printed lines and the bar's words that are still to be drawn.
        self._lines: list[str] = []
        self._words = "preparing"
        self._drawing = Paced(self._draw, _DRAWING_PAUSE_S)

    def __enter__(self) -> ProgressDisplay:
        """Begin to draw."""
        if console.err.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was, with every line that was told."""
        self._draw()
        if self._progress.live.is_started:
            self._progress.stop()

    def preparing(self, what: str) -> None:
        """An artifact is being made on this host."""
        self._doing(f"preparing {what}")

    def note(self, text: str) -> None:
        """Something worth knowing."""
        self._print(f"[yellow]note:[/] {_safe(text)}")

    def device_ready(self, device: str, description: str) -> None:
        """A board has answered."""
        self._print(f"[bold]{_safe(device)}[/]: {_safe(description)}")

    def sending(self, device: str, name: str, done: int, total: int) -> None:
        """A file is on its way."""
        self._doing(f"sending {name} to {device}: {100 * done // max(total, 1)} %")

    def case_started(self, case: Case) -> None:
        """A board got its case."""
        self._waited_for.pop(case.device, None)
        self._doing(f"measuring {case.label}")

    def waiting(self, device: str, holder: str, since: float) -> None:
        """A busy board; said once for each who has it."""
        if self._waited_for.get(device) != holder:
            self._waited_for[device] = holder
            self._print(f"{_safe(device)}: held by {_safe(holder)} since {moment(since)}; waiting")
        self._doing(f"waiting for {device}, held by {holder}")

    def repetition_ended(self, case: Case, done: int, total: int) -> None:
        """One process of several is through."""
        self._doing(f"measuring {case.label}: {done} of {total} repetitions")

    def retrying(self, case: Case, why: str) -> None:
        """Another try."""
        self._print(f"[yellow]trying again:[/] {_safe(case.label)}: {_safe(why)}")

    def case_finished(self, record: Record) -> None:
        """One line a record, and what to do about a failure, once."""
        remedy = record.failure.remedy if record.failure and record.status == "failed" else None
        with self._lock:
            self._finished += 1
            number = f"{self._finished:>{len(str(self._total))}}/{self._total}"
            self._lines.append(f"[dim]{number}[/] {_line(record)}")
            if remedy and remedy not in self._remedies:
                self._remedies.add(remedy)
                self._lines.append(f"    [bold]remedy:[/] {_safe(remedy)}")
        self._changed()

    def _doing(self, what: str) -> None:
        # A log would be full of these, and a narrow terminal has room for one line only.
        if console.err.is_terminal:
            room = max(20, console.err.width - _BAR_WIDTH - _FIGURES_WIDTH)
            with self._lock:
                self._words = _safe(what)[:room]
            self._changed()

    def _print(self, markup: str) -> None:
        with self._lock:
            self._lines.append(markup)
        self._changed()

    def _changed(self) -> None:
        if console.err.is_terminal:
            self._drawing.ask()
        else:
            self._draw()

    def _draw(self) -> None:
        """Show what was told since the last time; whoever reads a log gets each line at once."""
        with self._lock:
            lines, self._lines = self._lines, []
            self._progress.update(self._task, description=self._words, completed=self._finished)
            if lines:
                console.err.print("\n".join(lines))  # which draws the bar anew below them
            elif self._progress.live.is_started:
                self._progress.refresh()


def _line(record: Record) -> str:
    label = _safe(record.case.label)
    if record.status != "ok" or record.latency_ms is None:
        failure = record.failure
        words = f"{failure.reason}: {failure.message.splitlines()[0]}" if failure else ""
        style = "red" if record.status == "failed" else "dim"
        return f"{label}  [{style}]{record.status}[/] {_safe(words)}"
    accuracy = f"  {record.accuracy.metric} {percent(record.accuracy.value, 1)}" if record.accuracy else ""
    style = _VERDICT_STYLE.get(record.verdict or "", "")
    reasons = f" ({', '.join(record.reasons)})" if record.reasons else ""
    p50 = milliseconds(record.latency_ms.p50)
    return f"{label}  [bold]{p50} ms[/]{accuracy}  [{style}]{record.verdict}[/]{reasons}"


def _safe(text: str) -> str:
    return escape(plain(text, 500))
