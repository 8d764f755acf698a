"""Jobs from end to end on this machine: the real archive, detached supervisors, workers in trouble."""

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
    decode,
)
from harness.errors import AgentError
from tests.device_agents.board import (
    LONG,
    QUICK,
    Board,
    fake_job,
    in_timed_loop,
    install_fake_runtime,
    is_running,
    job,
    run,
    submit,
    wait_until,
    worker_of,
)

pytestmark = pytest.mark.processes

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


def test_a_job_tells_its_stages_in_order_once_per_repetition(finished: Board) -> None:
    events = list(finished.session().follow("job-1"))
    assert told(events) == ["JobStarted", *ONE_REPETITION, *ONE_REPETITION, "JobEnded"]
    assert end_of(events)[1:] == ("ok", None, None, None)
    numbers = [event.repetition for event in events if isinstance(event, (StageReached, SamplesTaken))]
    assert numbers == [0] * 6 + [1] * 6


def test_the_journal_from_any_byte_on_gives_the_same_rest(finished: Board) -> None:
    kept = finished.journal("job-1")
    folder = str(finished.folder_of("job-1"))
    for offset in range(len(kept) + 1):
        assert b"".join(journal.follow(folder, offset, _never)) == kept[offset:]


def _never(_seconds: float) -> None:
    raise AssertionError("a journal with an end needs no waiting")


def test_a_job_submitted_twice_is_one_job(finished: Board) -> None:
    before = finished.journal("job-1")
    assert submit(finished.session(), job()) is False
    assert finished.journal("job-1") == before


def test_cancelling_an_ended_job_changes_nothing(finished: Board) -> None:
    before = finished.journal("job-1")
    finished.session().cancel("job-1")
    assert finished.journal("job-1") == before


def test_results_hold_the_samples_they_were_announced_with(finished: Board, tmp_path: Path) -> None:
    taken = samples_of(finished)[1]
    finished.session().fetch("job-1", [taken.file], tmp_path)
    values = np.frombuffer((tmp_path / taken.file.name).read_bytes(), dtype="<i8")
    assert len(values) == taken.warmups + 2 * taken.iterations
    latency, compute = np.split(values[taken.warmups :], 2)
    assert (latency >= compute).all()
    assert compute.min() >= 0


def test_a_result_that_came_damaged_is_an_error_and_not_kept(finished: Board, tmp_path: Path) -> None:
    announced = samples_of(finished)[0].file._replace(sha256="0" * 64)
    with pytest.raises(AgentError, match="came damaged") as error:
        finished.session().fetch("job-1", [announced], tmp_path)
    assert error.value.reason == "bad_result"
    assert list(tmp_path.iterdir()) == []


def samples_of(finished: Board) -> list[SamplesTaken]:
    lines = finished.journal("job-1").splitlines()
    return [event for event in map(decode, lines) if isinstance(event, SamplesTaken)]


def test_nothing_of_a_job_is_written_outside_its_workspace(finished: Board) -> None:
    assert [path.name for path in finished.folder.iterdir()] == ["workspace"]


def test_nothing_of_a_job_is_for_others_to_read(finished: Board) -> None:
    open_to_others = [
        path for path in Path(finished.workspace.root).rglob("*") if path.stat().st_mode & 0o077
    ]
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
    submit(session, fake_job(board, measurement=LONG))
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
    submit(session, fake_job(board, measurement=LONG))
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
    submit(session, fake_job(board, measurement=LONG))
    worker = worker_of(session, "job-1")
    session.cancel("job-1")
    end = end_of(list(session.follow("job-1")))
    assert (end.outcome, end.reason) == ("cancelled", "cancelled")
    assert not is_running(worker)
    assert board.workspace.holder() is None


def test_a_board_that_shuts_down_ends_the_job_by_another_name_than_cancelling(
    board: Board, fake_runtime: FakeRuntime
) -> None:
    fake_runtime("sleep")
    session = board.opened()
    submit(session, fake_job(board, measurement=LONG))
    worker = worker_of(session, "job-1")
    os.kill(int((board.folder_of("job-1") / "supervisor.lock").read_text()), signal.SIGTERM)
    end = end_of(list(session.follow("job-1")))
    assert (end.outcome, end.failure_class, end.reason) == ("failed", "infrastructure", "terminated")
    assert not is_running(worker)
    assert board.workspace.holder() is None


def test_a_job_is_watched_every_second_and_ended_at_its_deadline(
    board: Board, fake_runtime: FakeRuntime
) -> None:
    fake_runtime("sleep")
    begun = time.monotonic()
    events = run(board.opened(), fake_job(board, measurement=LONG, deadline_s=1.1))
    end = end_of(events)
    assert (end.failure_class, end.reason) == ("timeout", "deadline")
    assert end.message == "the job took longer than its 1.1 s"
    assert time.monotonic() - begun < 5
    phases = [event.phase for event in events if isinstance(event, TelemetrySample)]
    assert phases == ["before", "running", "after"]


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
    loop = QUICK._replace(min_time_s=0.15, max_time_s=0.15)
    submit(session, fake_job(board, measurement=loop))
    follower = session.follow("job-1")
    first = next(follower)
    follower.close()  # ends the agent's `follow` with its whole process group
    events = list(session.follow("job-1"))
    assert events[0] == first
    assert end_of(events).outcome == "ok"


def test_what_a_runtime_prints_does_not_disturb_the_channel(board: Board, fake_runtime: FakeRuntime) -> None:
    fake_runtime("print")
    events = run(board.opened(), fake_job(board))
    assert told(events) == ["JobStarted", *ONE_REPETITION, "JobEnded"]
    log = (board.folder_of("job-1") / "worker-0.log").read_text()
    assert "a banner in C\n" in log
    assert "native\n" in log


#: How a worker comes to grief, and what is told of it: class, reason and words.
TROUBLES = {
    "garbage": ("infrastructure", "protocol", "not a JSON line"),
    "endless_line": ("infrastructure", "protocol", "a line without end"),
    "forged_end": ("infrastructure", "protocol", "JobEnded, which is not its to say"),
    "raise": ("runtime", "inference_failed", "RuntimeError: bad tensor"),
    "memory": ("runtime", "out_of_memory", "std::bad_alloc"),
    "refuse": ("runtime", "load_failed", "opset 99 is not supported"),
    "broken": ("runtime", "runtime_unavailable", "libgomp.so.1"),
    "exit": ("runtime", "crashed", "ended with status 9 and no result; it last said: giving up"),
}


@pytest.fixture(scope="module")
def troubles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Event]]:
    """What a job tells of each trouble; they run beside each other, each on a board of its own."""
    sessions = {}
    for mode in TROUBLES:
        folder = tmp_path_factory.mktemp(mode)
        install_fake_runtime(folder / "site")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(folder / "home"))
            patch.setenv("PYTHONPATH", str(folder / "site"))
            patch.setenv("FAKE_RUNTIME", mode)
            board = Board(folder)
            sessions[mode] = board.opened()
            submit(sessions[mode], fake_job(board))
    return {mode: list(session.follow("job-1")) for mode, session in sessions.items()}


@pytest.mark.parametrize("mode", TROUBLES)
def test_what_goes_wrong_in_a_worker_is_named(troubles: dict[str, list[Event]], mode: str) -> None:
    failure_class, reason, words = TROUBLES[mode]
    end = end_of(troubles[mode])
    assert (end.failure_class, end.reason) == (failure_class, reason)
    assert words in (end.message or "")
    assert [event.reason for event in troubles[mode] if isinstance(event, RepetitionEnded)] == [reason]


def test_a_runtime_the_agent_does_not_know_is_unavailable(board: Board) -> None:
    end = end_of(run(board.opened(), job(runtime="tensorflow-js")))
    assert (end.reason, end.message) == ("runtime_unavailable", "this agent has no runtime 'tensorflow-js'")


def test_the_first_failed_repetition_is_the_last(board: Board, fake_runtime: FakeRuntime) -> None:
    fake_runtime("raise")
    events = run(board.opened(), fake_job(board, measurement=QUICK._replace(repetitions=3)))
    assert told(events).count("RepetitionStarted") == 1


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "x\0y"])
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
