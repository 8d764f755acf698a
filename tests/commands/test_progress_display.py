"""What a person sees of a run, on a terminal and in a log."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from harness.commands import console
from harness.commands.progress_display import ProgressDisplay
from harness.errors import Unreachable
from harness.records.case_records import failure_record
from reports.record import Case

CASE = Case("pi", "net", "null", "fp32")


def shown_on(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    said = io.StringIO()
    shown = Console(file=said, force_terminal=terminal, width=120, soft_wrap=True, highlight=False)
    monkeypatch.setattr(console, "err", shown)
    return said


def tell_failures(display: ProgressDisplay, count: int) -> None:
    for number in range(count):
        case = replace(CASE, device=f"board-{number:03}")
        display.case_finished(failure_record(case, Unreachable(f"{case.device} is gone", "switch it on")))


def places(text: str, count: int) -> list[int]:
    return [text.index(f"board-{number:03} is gone") for number in range(count)]


def test_no_line_is_lost_when_many_boards_tell_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown_on(monkeypatch, terminal=True)
    with ProgressDisplay(200) as display:
        tell_failures(display, 200)
    found = places(said.getvalue(), 200)
    assert found == sorted(found)
    assert "200/200" in said.getvalue()


def test_a_terminal_is_not_drawn_anew_for_each_of_many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pause that does not end: drawn are the first event, and what was left at the end."""
    monkeypatch.setattr("harness.commands.paced._on_a_timer", lambda seconds, work: None)
    monkeypatch.setattr("harness.commands.progress_display._DRAWING_PAUSE_S", 3600.0)
    said = shown_on(monkeypatch, terminal=True)
    with ProgressDisplay(1) as display:
        for done in range(100):
            display.repetition_ended(replace(CASE, model=f"net-{done}"), done, 100)
        assert "net-0" in said.getvalue()
        assert "net-99" not in said.getvalue()
    assert "net-50" not in said.getvalue()


def test_a_log_gets_each_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.commands.progress_display._DRAWING_PAUSE_S", 3600.0)
    said = shown_on(monkeypatch, terminal=False)
    with ProgressDisplay(3) as display:
        tell_failures(display, 3)
        assert len(places(said.getvalue(), 3)) == 3


def test_a_remedy_is_told_once_however_many_cases_it_mends(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown_on(monkeypatch, terminal=False)
    with ProgressDisplay(3) as display:
        tell_failures(display, 3)
    assert said.getvalue().count("switch it on") == 1


def test_who_has_a_board_is_said_once_until_somebody_else_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown_on(monkeypatch, terminal=False)
    with ProgressDisplay(1) as display:
        for holder in ("alice@laptop (run x)",) * 20 + ("bob@desk (run y)",) * 20:
            display.waiting("pi", holder, 1_795_000_000.0)
        display.case_started(CASE)
        display.waiting("pi", "bob@desk (run y)", 1_795_000_000.0)
    assert said.getvalue().splitlines() == [
        "pi: held by alice@laptop (run x) since 2026-11-18 11:06:40 UTC; waiting",
        "pi: held by bob@desk (run y) since 2026-11-18 11:06:40 UTC; waiting",
        "pi: held by bob@desk (run y) since 2026-11-18 11:06:40 UTC; waiting",
    ]
