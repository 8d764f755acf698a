"""The cases of a board: what is tried again, resumed and kept."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from device_agents.protocol import (
    Event,
)
from harness.board_cases import MAX_RETRIES
from harness.errors import (
    AccessDenied,
    AgentError,
    LinkLost,
)
from harness.plan import PlannedCase
from reports.record import Record
from tests.harness.events import ResultFiles, beginning, loaded, well
from tests.harness.played_boards import (
    MS,
    RUN_ID,
    Lab,
    Play,
    ctrl_c,
    failed,
    planned,
    reasons,
)

# --- trying again ----------------------------------------------------------------------------------


def test_a_passing_failure_is_tried_again_and_its_attempt_kept(lab: Lab) -> None:
    session = lab.board("pi", [*beginning(), LinkLost("gone")], failed("supervisor_died"), lab.good())
    lab.run([planned()])
    (record,) = lab.records().values()
    assert record.status == "ok"
    assert reasons(record) == ["link_lost", "supervisor_died"]
    # A job whose link was lost may still be running: it is joined again. One that has died is not.
    assert [job.job_id[-2:] for job in session.submitted] == ["-0", "-0", "-1"]
    assert [why for _, why in lab.notes.of("retrying")] == ["gone", "it was supervisor_died"]


def test_a_failure_that_does_not_pass_is_tried_twice_more_and_no_further(lab: Lab) -> None:
    session = lab.board("pi", [LinkLost("gone")])
    lab.run([planned(batch_size=1)])
    (record,) = lab.records().values()
    assert reasons(record) == ["link_lost"] * (1 + MAX_RETRIES)
    assert len(session.submitted) == 3
    assert MAX_RETRIES == 2


@pytest.mark.parametrize(
    "play",
    [
        failed("board_busy"),
        failed("disk_full"),
        [AccessDenied("no")],
        [AgentError("no", reason="no_python")],
        failed("crashed", "runtime"),
        failed("deadline", "timeout"),
    ],
    ids=["busy", "full", "denied", "no python", "crashed", "deadline"],
)
def test_a_lasting_failure_is_not_tried_again(lab: Lab, play: Play) -> None:
    session = lab.board("pi", play)
    lab.run([planned()])
    assert len(session.submitted) == 1
    (record,) = lab.records().values()
    assert (record.status, record.attempts) == ("failed", ())


def test_a_job_that_goes_on_long_after_its_deadline_is_given_up(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board that tells of itself for ever is neither silent nor done."""
    clock = itertools.count(step=1000.0)
    monkeypatch.setattr("harness.benchmark.time", SimpleNamespace(monotonic=lambda: next(clock)))
    told = itertools.count()

    def forever() -> Iterator[Event]:
        for _ in told:
            yield beginning()[1]

    session = lab.board("pi", forever)
    lab.run([planned()])
    (record,) = lab.records().values()
    assert reasons(record) == ["endless_job"]
    assert session.cancelled == [session.submitted[0].job_id]
    # 966 s of the job's own and 600 s of grace, at a thousand an event.
    assert next(told) == 2


def test_a_failed_case_does_not_stop_the_next(lab: Lab) -> None:
    lab.board("pi", failed("crashed", "runtime"), lab.good())
    lab.run([planned(batch_size=1), planned(batch_size=2)])
    assert [record.status for record in lab.records().values()] == ["failed", "ok"]


# --- resuming --------------------------------------------------------------------------------------


def test_the_same_case_of_the_same_run_is_the_same_job(lab: Lab) -> None:
    first = lab.board("pi")
    lab.run([planned()])
    again = lab.board("pi")
    lab.run([planned()])
    assert first.submitted == again.submitted
    assert first.submitted[0].job_id.startswith(f"{RUN_ID}-")


def test_a_job_that_went_on_while_nobody_listened_is_taken_as_it_is(lab: Lab) -> None:
    lab.board("pi")
    lab.run([planned()])
    job_id = lab.sessions["pi"].submitted[0].job_id
    session = lab.board("pi", lab.good(), known={job_id})
    lab.run([planned()])
    assert len(session.submitted) == 1
    assert [record.status for record in lab.records().values()] == ["ok"]


@pytest.mark.parametrize("old_end", ["board_busy", "cancelled", "supervisor_died"])
def test_what_ended_an_earlier_run_is_no_attempt_of_the_resumed_one(lab: Lab, old_end: str) -> None:
    """The board keeps a job's end for days; a resumed run asks it again instead of repeating that."""
    first = lab.board("pi", failed("supervisor_died"))
    lab.run([planned()])
    known = {job.job_id for job in first.submitted}
    assert len(known) == 3
    session = lab.board("pi", failed(old_end), failed(old_end), failed(old_end), lab.good(), known=known)
    lab.run([planned()])
    (record,) = lab.records().values()
    assert (record.status, record.attempts) == ("ok", ())
    assert record.job_id == session.submitted[-1].job_id
    assert record.job_id not in known


# --- records beside measuring ----------------------------------------------------------------------


def two_cases(device: str = "pi") -> list[PlannedCase]:
    return [planned(device, batch_size=size) for size in (1, 2)]


def unreadable(lab: Lab) -> list[Event]:
    """A job that went well and whose samples cannot be true: a time is negative."""
    return [*beginning(), loaded(), ResultFiles(lab.folder).samples(1, [MS], [-MS], [MS]), *well()]


def test_a_board_gets_its_next_job_before_the_last_ones_record_is_kept(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, in_time, save = threading.Event(), [], lab.store.save

    def saved(run_id: str, record: Record, samples: Any) -> None:
        in_time.append(both.wait(10))
        save(run_id, record, samples)

    def second() -> Iterator[Event]:
        both.set()
        yield from lab.good()

    monkeypatch.setattr(lab.store, "save", saved)
    lab.board("pi", lab.good(), second)
    assert lab.run(two_cases())
    assert in_time == [True, True]
    assert [record.status for record in lab.records().values()] == ["ok", "ok"]


def test_each_case_of_many_boards_is_kept_once_though_one_of_them_dies(lab: Lab) -> None:
    """All jobs end in the same moment, twice; the last board's link is lost for good in its second case."""
    names = [f"pi-{number:02}" for number in range(12)]
    rounds = [threading.Barrier(len(names), timeout=10) for _ in range(2)]
    good = lab.good()

    def ending(at: int) -> Iterator[Event]:
        rounds[at].wait()
        yield from good

    def dying() -> Iterator[Event]:
        rounds[1].wait()
        raise LinkLost("gone")

    for name in names:
        second = dying if name == names[-1] else functools.partial(ending, 1)
        more = [[LinkLost("gone")]] if name == names[-1] else []
        lab.board(name, functools.partial(ending, 0), second, *more)
    assert lab.run([item for name in names for item in two_cases(name)])
    kept = lab.store.results(RUN_ID).records
    assert sorted((record.case.device, record.case.batch_size) for record in kept) == [
        (name, size) for name in names for size in (1, 2)
    ]
    lost = [record for record in kept if record.status != "ok"]
    assert [(record.case.device, record.case.batch_size) for record in lost] == [(names[-1], 2)]
    assert reasons(lost[0]) == ["link_lost"] * 3
    jobs = {name: [job.job_id for job in lab.sessions[name].submitted] for name in names}
    assert {len(set(ids)) for ids in jobs.values()} == {2}
    assert [name for name, ids in jobs.items() if len(ids) != 2] == [names[-1]]


def test_on_this_machine_a_record_is_kept_before_the_next_job_begins(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would begin within the 50 ms that keeping the record takes."""
    begun, too_early, save = threading.Event(), [], lab.store.save

    def saved(run_id: str, record: Record, samples: Any) -> None:
        too_early.append(begun.wait(0.05))
        save(run_id, record, samples)

    def second() -> Iterator[Event]:
        begun.set()
        yield from lab.good()

    monkeypatch.setattr(lab.store, "save", saved)
    lab.board("local", lab.good(), second)
    assert lab.run(two_cases("local"))
    assert too_early == [False, True]


def test_a_case_whose_results_cannot_be_true_is_measured_again_after_the_next(lab: Lab) -> None:
    session = lab.board("pi", unreadable(lab), lab.good())
    assert lab.run(two_cases())
    assert [(job.batch_size, job.job_id[-2:]) for job in session.submitted] == [
        (1, "-0"),
        (2, "-0"),
        (1, "-1"),
    ]
    found = {case.batch_size: (record.status, reasons(record)) for case, record in lab.records().items()}
    assert found == {1: ("ok", ["bad_result"]), 2: ("ok", [])}


def test_an_error_nobody_expected_in_making_a_record_is_raised(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.records.recording.summarize", lambda _series: 1 // 0)
    session = lab.board("pi")
    with pytest.raises(ZeroDivisionError):
        lab.run(two_cases())
    assert session.closed


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_waits_for_a_record_that_is_being_made(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping, measuring, save = threading.Event(), threading.Event(), lab.store.save

    def saved(run_id: str, record: Record, samples: Any) -> None:
        assert stopping.wait(10)
        while not session.closed:
            time.sleep(0.005)
        time.sleep(0.05)
        save(run_id, record, samples)

    def second() -> Iterator[Event]:
        yield from beginning()
        measuring.set()
        while True:
            time.sleep(0.01)
            yield beginning()[1]

    monkeypatch.setattr(lab.store, "save", saved)
    lab.notes.note = lambda text: stopping.set() if text.startswith("stopping") else None  # type: ignore[attr-defined]
    session = lab.board("pi", lab.good(), second)
    threading.Thread(target=ctrl_c, args=(measuring, stopping)).start()
    complete = lab.run(two_cases())
    assert not complete
    assert [case.batch_size for case in lab.records()] == [1]
    assert session.cancelled == [session.submitted[1].job_id]
