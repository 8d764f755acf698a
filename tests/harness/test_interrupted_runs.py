"""Ctrl-C, and errors nobody expected: what is ended, waited for and kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from device_agents.protocol import (
    Event,
)
from harness.errors import (
    LinkLost,
)
from tests.harness.events import beginning
from tests.harness.played_boards import (
    Lab,
    ctrl_c,
    failed,
    planned,
)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_cancels_the_job_and_keeps_what_is_finished(lab: Lab) -> None:
    begun = threading.Event()

    def endless() -> Iterator[Event]:
        yield from beginning()
        begun.set()
        while True:
            time.sleep(0.01)
            yield beginning()[1]

    session = lab.board("pi", lab.good(), endless)
    cases = [planned(batch_size=size) for size in (1, 2, 3)]
    ended = threading.Event()
    threading.Thread(target=ctrl_c, args=(begun, ended)).start()
    complete = lab.run(cases)
    ended.set()
    assert not complete
    assert [case.batch_size for case in lab.records()] == [1]
    assert session.cancelled == [session.submitted[1].job_id]
    assert len(session.submitted) == 2
    assert session.closed


@pytest.mark.usefixtures("interruptible")
def test_a_case_whose_board_is_lost_when_the_user_stops_is_no_failure(lab: Lab) -> None:
    begun, ended = threading.Event(), threading.Event()

    def lost() -> Iterator[Event]:
        yield from beginning()
        begun.set()
        while not any("stopping" in str(note) for note in lab.notes.of("note")):
            time.sleep(0.01)
        ended.set()
        raise LinkLost("pi: the connection broke")

    session = lab.board("pi", lost)
    threading.Thread(target=ctrl_c, args=(begun, ended)).start()
    assert not lab.run([planned()])
    assert not lab.records()
    assert session.cancelled == []
    (note,) = [note for note in lab.notes.of("note") if "goes on" in str(note)]
    assert f"job {session.submitted[0].job_id} could not be cancelled and goes on to its end" in str(note)


@pytest.mark.usefixtures("interruptible")
def test_a_second_ctrl_c_leaves_a_board_that_does_not_answer(lab: Lab) -> None:
    begun, told, let_go = threading.Event(), threading.Event(), threading.Event()

    def silent() -> Iterator[Event]:
        begun.set()
        let_go.wait(10)
        yield from failed("cancelled")

    lab.board("pi", silent)
    # Two signals at once are one: the second has to come after the first was seen.
    lab.notes.note = lambda text: told.set() if text.startswith("stopping") else None  # type: ignore[attr-defined]
    ended = threading.Event()
    for after, until in ((begun, told), (told, ended)):
        threading.Thread(target=ctrl_c, args=(after, until)).start()
    before = time.monotonic()
    complete = lab.run([replace(planned(), model=None)])
    ended.set()
    assert not complete
    assert time.monotonic() - before < 5
    let_go.set()
    for thread in threading.enumerate():
        if thread.name == "device":
            thread.join(5)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_does_not_wait_for_a_board_that_does_not_answer(lab: Lab) -> None:
    """One that answers after all is let go."""
    asked, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        let_go.wait(10)

    session = lab.board("pi", answers_after=hang)
    threading.Thread(target=ctrl_c, args=(asked, ended)).start()
    complete = lab.run([planned()])
    ended.set()
    assert not complete
    assert not let_go.is_set()
    let_go.set()
    for thread in threading.enumerate():
        if thread.name == "device":
            thread.join(5)
    assert (session.closed, session.submitted, lab.records()) == (True, [], {})


def test_an_error_nobody_expected_in_opening_a_board_leaves_the_others_alone(lab: Lab) -> None:
    lab.board("a", answers_after=lambda: 1 // 0)
    lab.board("b")
    with pytest.raises(ZeroDivisionError):
        lab.run([planned("a"), planned("b")])
    assert [case.device for case in lab.records()] == ["b"]


def test_an_error_nobody_expected_is_raised_once_the_other_boards_are_done(lab: Lab) -> None:
    lab.board("a", [ZeroDivisionError("a bug")])
    lab.board("b")
    with pytest.raises(ZeroDivisionError):
        lab.run([planned("a"), planned("b")])
    assert [case.device for case in lab.records()] == ["b"]
