"""Where `bench` speaks: results on standard output, everything about the way there on standard error."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape

from harness.errors import BenchError
from reports.plain_text import plain

#: A log or a pipe has no width of its own; nothing is cut there.
LOG_WIDTH = 1000

out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def show_error(error: BenchError) -> None:
    """One clear message and its remedy. Text of boards and files is neither markup nor control characters."""
    for number, line in enumerate(error.message.splitlines()):
        lead = "[bold red]error:[/] " if number == 0 else "       "
        err.print(lead + escape(plain(line, 2000)))
    if error.remedy:
        err.print(f"[bold]remedy:[/] {escape(plain(error.remedy, 2000))}")


def note(text: str) -> None:
    """A line about what takes long, or was assumed."""
    err.print(escape(plain(text, 2000)))
