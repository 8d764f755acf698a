"""Jobs from end to end on this machine: the real archive, detached supervisors, workers that come to grief."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from device_agents import journal
from device_agents.protocol import (
    BlobRef,
    Dataset,
    Event,
    JobEnded,
    JobStarted,
    JobWaiting,
    RepetitionEnded,
    SamplesTaken,
    StageReached,
    TelemetrySample,
)
from harness.errors import AgentError
from tests.device_agents.board import (
    LONG,
    QUICK,
    Board,
    in_timed_loop,
    is_running,
    job,
    run,
    submit,
    wait_until,
    worker_of,
)

FakeRuntime = Callable[[str], None]

ONE_REPETITION = [
    "TelemetrySample before",
    "RepetitionStarted",
    "StageReached started",
    "StageReached runtime_imported",
    "StageReached model_loaded",
    "RuntimeLoaded",
    "StageReached first_inference",
    "StageReached steady",
    "SamplesTaken",
    "RepetitionEnded",
    "TelemetrySample after",
]


def told(events: list[Event]) -> list[str]:
    """Events by name; board samples while running come when they come."""
    names = []
    for event in events:
        detail = getattr(event, "stage", getattr(event, "phase", ""))
        names.append(f"{type(event).__name__} {detail}".strip())
    return [name for name in names if name != "TelemetrySample running"]


def end_of(events: list[Event]) -> JobEnded:
    end = events[-1]
    assert isinstance(end, JobEnded)
    return end


def test_a_job_tells_its_stages_in_order_once_per_repetition(board: Board) -> None:
    events = run(board.opened(), job(measurement=QUICK._replace(repetitions=2)))
    assert told(events) == ["JobStarted", *ONE_REPETITION, *ONE_REPETITION, "JobEnded"]
    assert end_of(events)[1:] == ("ok", None, None, None)
    numbers = [event.repetition for event in events if isinstance(event, (StageReached, SamplesTaken))]
    assert numbers == [0] * 6 + [1] * 6


def test_a_finished_job_can_be_read_again_fetched_and_submitted_without_running_again(
    board: Board, tmp_path: Path
) -> None:
    session = board.opened()
    events = run(session, job())
    kept = board.journal("job-1")
    assert submit(session, job()) is False
    assert list(session.follow("job-1")) == events
    assert board.journal("job-1") == kept

    (taken,) = (event for event in events if isinstance(event, SamplesTaken))
    session.fetch("job-1", taken.file, tmp_path / "samples")
    values = np.frombuffer((tmp_path / "samples").read_bytes(), dtype="<i8")
    assert len(values) == taken.warmups + 2 * taken.iterations
    assert values.min() >= 0

    # From every byte on: the same rest, however often it is asked for.
    folder = str(board.folder_of("job-1"))
    for offset in range(len(kept) + 1):
        assert b"".join(journal.follow(folder, offset, _never)) == kept[offset:]

    result = board.folder_of("job-1") / "result" / taken.file.name
    result.write_bytes(result.read_bytes()[:-1] + b"!")
    with pytest.raises(AgentError, match="came damaged") as error:
        session.fetch("job-1", taken.file, tmp_path / "damaged")
    assert error.value.reason == "bad_result"
    assert not (tmp_path / "damaged").exists()


def _never(_seconds: float) -> None:
    raise AssertionError("a journal with an end needs no waiting")


def test_nothing_of_a_job_is_written_outside_its_workspace_or_for_others_to_read(
    board: Board, tmp_path: Path
) -> None:
    run(board.opened(), job())
    assert not (tmp_path / "home").exists()
    open_to_others = [path for path in Path(board.workspace.root).rglob("*") if path.stat().st_mode & 0o077]
    assert open_to_others == []


@pytest.mark.parametrize(
    ("number", "reason", "words"),
    [
        (signal.SIGKILL, "killed", "was killed (SIGKILL)"),
        (signal.SIGSEGV, "crashed", "died of SIGSEGV"),
        (signal.SIGILL, "illegal_instruction", "built for a newer processor"),
    ],
)
def test_a_worker_that_dies_of_a_signal_in_its_loop_ends_the_job_by_that_name(
    board: Board, fake_runtime: FakeRuntime, number: signal.Signals, reason: str, words: str
) -> None:
    fake_runtime("sleep")
    session = board.opened()
    submit(session, job(runtime="onnxruntime", artifact=[], measurement=LONG))
    # An artifact is never opened by the fake runtime, but has to be named.
    assert wait_until(lambda: in_timed_loop(board, "job-1"))
    os.kill(worker_of(session, "job-1"), number)
    events = list(session.follow("job-1"))
    assert told(events)[-3:] == ["TelemetrySample after", "RepetitionEnded", "JobEnded"]
    end = end_of(events)
    assert (end.outcome, end.failure_class, end.reason) == ("failed", "runtime", reason)
    assert words in (end.message or "")


def test_when_the_supervisor_is_killed_its_worker_ends_and_a_follower_is_told(
    board: Board, fake_runtime: FakeRuntime
) -> None:
    fake_runtime("sleep")
    session = board.opened()
    submit(session, job(runtime="onnxruntime", measurement=LONG))
    assert wait_until(lambda: in_timed_loop(board, "job-1"))
    worker = worker_of(session, "job-1")
    os.kill(int((board.folder_of("job-1") / "supervisor.lock").read_text()), signal.SIGKILL)
    assert wait_until(lambda: not is_running(worker), 5)
    end = end_of(list(session.follow("job-1")))
    assert (end.failure_class, end.reason) == ("infrastructure", "supervisor_died")
    assert end_of(list(session.follow("job-1"))) == end
    assert board.workspace.holder() is None


def test_a_cancelled_job_says_so_and_leaves_the_board_free(board: Board, fake_runtime: FakeRuntime) -> None:
    fake_runtime("sleep")
    session = board.opened()
    submit(session, job(runtime="onnxruntime", measurement=LONG))
    worker = worker_of(session, "job-1")
    session.cancel("job-1")
    end = end_of(list(session.follow("job-1")))
    assert (end.outcome, end.reason) == ("cancelled", "cancelled")
    assert not is_running(worker)
    assert board.workspace.holder() is None


def test_cancelling_an_ended_job_changes_nothing(board: Board) -> None:
    session = board.opened()
    run(session, job())
    before = board.journal("job-1")
    session.cancel("job-1")
    assert board.journal("job-1") == before


def test_a_job_past_its_deadline_is_ended(board: Board, fake_runtime: FakeRuntime) -> None:
    fake_runtime("sleep")
    begun = time.monotonic()
    events = run(board.opened(), job(runtime="onnxruntime", measurement=LONG, deadline_s=0.3))
    end = end_of(events)
    assert (end.failure_class, end.reason) == ("timeout", "deadline")
    assert end.message == "the job took longer than its 0.3 s"
    assert time.monotonic() - begun < 5


def test_a_job_waits_for_the_board_and_tells_who_has_it(board: Board) -> None:
    session = board.opened()
    holder = board.workspace.try_board("another-job")
    assert holder is not None
    submit(session, job(lock_wait_s=20.0))
    events = []
    for event in session.follow("job-1"):
        events.append(event)
        if isinstance(event, JobWaiting):
            holder.close()
    assert [type(event) for event in events[:2]] == [JobWaiting, JobStarted]
    assert isinstance(events[0], JobWaiting)
    assert events[0].holder == "another-job"
    assert end_of(events).outcome == "ok"


def test_a_job_that_may_not_wait_is_refused_and_told_who_has_the_board_since_when(board: Board) -> None:
    session = board.opened()
    holder = board.workspace.try_board("another-job")
    assert holder is not None
    with holder:
        since = (board.workspace.holder() or ("", 0.0))[1]
        (end,) = run(session, job())
    assert isinstance(end, JobEnded)
    assert (end.failure_class, end.reason) == ("infrastructure", "board_busy")
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(since))
    assert end.message == f"another-job holds the board since {when}; waited 0 s"


def test_a_follower_that_goes_away_does_not_stop_the_job(board: Board, fake_runtime: FakeRuntime) -> None:
    fake_runtime("sleep")
    session = board.opened()
    loop = QUICK._replace(min_time_s=0.3, max_time_s=0.3)
    submit(session, job(runtime="onnxruntime", measurement=loop))
    follower = session.follow("job-1")
    first = next(follower)
    follower.close()  # ends the agent's `follow` with its whole process group
    events = list(session.follow("job-1"))
    assert events[0] == first
    assert end_of(events).outcome == "ok"


def test_what_a_runtime_prints_does_not_disturb_the_channel(board: Board, fake_runtime: FakeRuntime) -> None:
    fake_runtime("print")
    events = run(board.opened(), job(runtime="onnxruntime"))
    assert told(events) == ["JobStarted", *ONE_REPETITION, "JobEnded"]
    log = (board.folder_of("job-1") / "worker-0.log").read_text()
    assert "a banner in C\n" in log
    assert "native\n" in log


@pytest.mark.parametrize(
    ("mode", "failure_class", "reason", "words"),
    [
        ("garbage", "infrastructure", "protocol", "not a JSON line"),
        ("endless_line", "infrastructure", "protocol", "a line without end"),
        ("forged_end", "infrastructure", "protocol", "JobEnded, which is not its to say"),
        ("raise", "runtime", "inference_failed", "RuntimeError: bad tensor"),
        ("memory", "runtime", "out_of_memory", "std::bad_alloc"),
        ("refuse", "runtime", "load_failed", "opset 99 is not supported"),
        ("broken", "runtime", "runtime_unavailable", "libgomp.so.1"),
        ("exit", "runtime", "crashed", "ended with status 9 and no result; it last said: giving up"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_named(
    board: Board, fake_runtime: FakeRuntime, mode: str, failure_class: str, reason: str, words: str
) -> None:
    fake_runtime(mode)
    events = run(board.opened(), job(runtime="onnxruntime"))
    end = end_of(events)
    assert (end.failure_class, end.reason) == (failure_class, reason)
    assert words in (end.message or "")
    assert [event.reason for event in events if isinstance(event, RepetitionEnded)] == [reason]


def test_a_runtime_the_agent_does_not_know_is_unavailable(board: Board) -> None:
    end = end_of(run(board.opened(), job(runtime="tensorflow-js")))
    assert (end.reason, end.message) == ("runtime_unavailable", "this agent has no runtime 'tensorflow-js'")


def test_the_first_failed_repetition_is_the_last(board: Board, fake_runtime: FakeRuntime) -> None:
    fake_runtime("raise")
    events = run(board.opened(), job(runtime="onnxruntime", measurement=QUICK._replace(repetitions=3)))
    assert told(events).count("RepetitionStarted") == 1


def test_the_board_is_sampled_every_second_by_the_supervisor(board: Board, fake_runtime: FakeRuntime) -> None:
    fake_runtime("sleep")
    loop = QUICK._replace(min_time_s=1.2, max_time_s=1.2, max_iterations=10_000)
    events = run(board.opened(), job(runtime="onnxruntime", measurement=loop))
    phases = [event.phase for event in events if isinstance(event, TelemetrySample)]
    assert phases == ["before", "running", "after"]


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..", ".", "", "a/../../x", "x\0y"])
def test_a_file_that_leads_out_of_the_jobs_folder_is_refused(board: Board, name: str) -> None:
    session = board.opened()
    sha256 = "ab" * 32
    blob = Path(board.workspace.blob(sha256))
    blob.write_bytes(b"model")
    with pytest.raises(AgentError) as error:
        submit(session, job(artifact=[BlobRef(sha256, 5, name)]))
    assert error.value.reason == "bad_request"
    assert blob.stat().st_nlink == 1


def test_data_called_like_the_jobs_own_files_do_not_get_in_their_way(board: Board) -> None:
    session = board.opened()
    sha256 = "cd" * 32
    blob = Path(board.workspace.blob(sha256))
    blob.write_bytes(b"not an npz")
    file = BlobRef(sha256, 10, "journal.jsonl")
    end = end_of(run(session, job(evaluation=Dataset(file, 1, stacked=True))))
    assert end.outcome == "failed"  # it is no dataset; but the journal is whole, and the blob untouched
    assert blob.read_bytes() == b"not an npz"
