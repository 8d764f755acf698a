"""Several controllers on one board: one run after the other, whatever happens to the controllers."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from pathlib import Path

import pytest

from device_agents.leases import LEASE_VARIABLE, Leases
from device_agents.protocol import JobEnded, JobStarted, decode
from device_agents.workspace import Workspace
from tests.end_to_end.agent_processes import agents_in, becomes_true, jobs_in
from tests.end_to_end.boards import only_failure, write_ssh_board
from tests.end_to_end.test_resume import PYTHON, read_until
from tests.end_to_end.workplace import TIMEOUT_S, Workplace
from tests.openssh import OpenSshServer, give_to_account

pytestmark = pytest.mark.e2e

#: The null runtime and a model whose artifact takes no time to make.
ONE_CASE = ("run", "--runtime", "null", "--measurement", "quick", "--out", "out")
TWO_CASES = (*ONE_CASE[:2], "null,onnxruntime", "--precision", "fp32", *ONE_CASE[3:])


def controllers(folder: Path, cache: Path, count: int) -> list[Workplace]:
    """People who share boards and nothing else: each has a home, so that none sees that another is dead."""
    found = []
    for number in range(count):
        (folder / f"controller-{number}").mkdir()
        found.append(Workplace(folder / f"controller-{number}", cache))
    return found


@pytest.fixture
def board(tmp_path: Path, shared_cache: Path) -> Path:
    """The workspace of `local`, with the artifacts that other tests have made."""
    workspace = tmp_path / "board"
    workspace.mkdir(mode=0o700)
    (shared_cache / "host").mkdir(exist_ok=True)
    (workspace / "host").symlink_to(shared_cache / "host")
    return workspace


def finish(running: subprocess.Popen[str]) -> str:
    """Wait for a run to go well; what it said."""
    _, said = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0, said
    return said


def order_of_runs(workspace: Path) -> list[str]:
    """The run of each job in the order in which they had the board; none may begin before another has ended.

    Times are those of the journals: a job has the board from its start to its end.
    """
    spans = []
    for job in jobs_in(workspace):
        lines = (workspace / "jobs" / job / "journal.jsonl").read_bytes().splitlines()
        events = [decode(line) for line in lines]
        (began,) = [event.time for event in events if isinstance(event, JobStarted)]
        assert isinstance(events[-1], JobEnded)
        spans.append((began, events[-1].time, job.rsplit("-", 2)[0]))
    spans.sort()
    for before, after in itertools.pairwise(spans):
        assert before[1] <= after[0], (before, after)
    return [run for _, _, run in spans]


def run_of(workplace: Workplace) -> str:
    """The id of the run that a workplace has results of; each case of it was measured once and went well."""
    results = workplace.results()
    assert {record["status"] for record in results["records"]} == {"ok"}
    assert all(record["attempts"] == [] for record in results["records"])
    run: str = results["run"]["id"]
    return run


def test_three_runs_at_once_have_the_board_one_after_the_other(
    tmp_path: Path, shared_cache: Path, ssh_server: OpenSshServer
) -> None:
    if not PYTHON.exists():
        pytest.skip("no Python with runtimes (tests/agent_pythons.sh makes them)")
    workspace = ssh_server.home / tmp_path.name
    places = controllers(tmp_path, shared_cache, 3)
    for place in places:
        write_ssh_board(place, "board", ssh_server, python=PYTHON, workspace=workspace)
    # Somebody has the board until all three wait for it.
    nobody = Workspace(str(workspace), "run-of-the-test")
    nobody.create()
    assert Leases(nobody).take("somebody@desk") is None
    give_to_account(ssh_server, workspace)
    running = [place.start(*TWO_CASES, "--device", "board") for place in places]
    for each in running:
        read_until(each, "board: held by somebody@desk since ")
    Leases(nobody).release()
    said = [finish(each) for each in running]

    runs = [run_of(place) for place in places]
    order = order_of_runs(workspace)
    assert len(order) == 6
    assert order in [[a, a, b, b, c, c] for a in runs for b in runs for c in runs if len({a, b, c}) == 3]
    # Whoever waited was told of each run before it once, by name.
    for run, words in zip(runs, said, strict=True):
        for other in runs:
            assert words.count(f"(run {other}) since ") <= int(other != run)
    assert (workspace / "lease").read_bytes() == b""
    assert list((workspace / "queue").iterdir()) == []


def test_a_run_whose_controller_was_killed_makes_room_and_is_resumed_later(
    tmp_path: Path, shared_cache: Path, board: Path
) -> None:
    killed, second, third = controllers(tmp_path, shared_cache, 3)
    for place in (killed, second, third):
        place.environment |= {"EDGEBENCH_CACHE_DIR": str(board), LEASE_VARIABLE: "4"}
    first_run = killed.start(*TWO_CASES)
    assert becomes_true(lambda: any(" worker " in line for line in agents_in(board).values()), 60)
    others = [place.start(*ONE_CASE) for place in (second, third)]
    for other in others:
        read_until(other, "local: held by ")
    first_run.kill()
    first_run.communicate()
    for other in others:
        finish(other)
    done = killed.bench(*TWO_CASES, "--resume")
    assert done.status == 0, done.err

    runs = [run_of(place) for place in (killed, second, third)]
    order = order_of_runs(board)
    # The job in flight went on, and was joined by the resumed run: no case was measured twice.
    assert order.count(runs[0]) == 2
    assert sorted(order) == sorted([runs[0], *runs])
    own = [number for number, run in enumerate(order) if run == runs[0]]
    between = order[own[0] + 1 : own[1]]
    assert set(between) <= set(runs[1:])


def test_a_killed_run_of_the_same_person_keeps_nobody_waiting(
    tmp_path: Path, shared_cache: Path, board: Path
) -> None:
    (place,) = controllers(tmp_path, shared_cache, 1)
    # A lease that nobody could wait for: an hour.
    place.environment |= {"EDGEBENCH_CACHE_DIR": str(board), LEASE_VARIABLE: "3600"}
    first = place.start(*ONE_CASE)
    assert becomes_true(lambda: any(" worker " in line for line in agents_in(board).values()), 60)
    first.kill()
    first.communicate()
    done = place.bench(*ONE_CASE)
    assert done.status == 0, done.err
    assert len(set(order_of_runs(board))) == 2


def test_a_killed_run_that_is_resumed_goes_on_before_those_who_wait(
    tmp_path: Path, shared_cache: Path, board: Path
) -> None:
    killed, other = controllers(tmp_path, shared_cache, 2)
    for place in (killed, other):
        place.environment["EDGEBENCH_CACHE_DIR"] = str(board)
    first_run = killed.start(*TWO_CASES)
    assert becomes_true(lambda: any(" worker " in line for line in agents_in(board).values()), 60)
    waiting = other.start(*ONE_CASE)
    read_until(waiting, "local: held by ")
    first_run.kill()
    first_run.communicate()
    done = killed.bench(*TWO_CASES, "--resume")
    assert done.status == 0, done.err
    assert "held by" not in done.err
    finish(waiting)
    first, second = run_of(killed), run_of(other)
    assert order_of_runs(board) == [first, first, second]


def test_who_does_not_wait_is_refused_with_whose_board_it_is_until_that_is_released(
    workplace: Workplace, board: Path
) -> None:
    workplace.environment["EDGEBENCH_CACHE_DIR"] = str(board)
    alice = Workspace(str(board), "run-a")
    alice.create()
    assert Leases(alice).take("alice@laptop (run run-a)") is None
    null = (*ONE_CASE, "--wait", "0")

    failure = only_failure(workplace, workplace.bench(*null))
    assert (failure["class"], failure["reason"]) == ("infrastructure", "board_busy")
    assert failure["message"].startswith("local: held by alice@laptop (run run-a) since 20")
    assert "bench device release local" in failure["remedy"]
    assert jobs_in(board) == []

    cleaning = workplace.bench("device", "clean", "local")
    assert cleaning.status == 3
    assert "local: held by alice@laptop (run run-a): what it has here is still needed" in cleaning.err

    released = workplace.bench("device", "release", "local")
    assert released.status == 0
    assert "local: no longer held by alice@laptop (run run-a)" in released.out
    assert workplace.bench(*null).status == 0
    assert workplace.bench("device", "release", "local").out == "local: is free\n"


def test_a_job_that_is_measured_is_cancelled_only_by_force(
    tmp_path: Path, shared_cache: Path, board: Path
) -> None:
    owner, person = controllers(tmp_path, shared_cache, 2)
    for place in (owner, person):
        place.environment["EDGEBENCH_CACHE_DIR"] = str(board)
    running = owner.start(*ONE_CASE)
    assert becomes_true(lambda: any(" worker " in line for line in agents_in(board).values()), 60)
    # A controller that neither goes on nor lets go, and a job that does not end by itself.
    os.kill(running.pid, signal.SIGSTOP)
    for pid in [pid for pid, line in agents_in(board).items() if " worker " in line]:
        os.kill(pid, signal.SIGSTOP)
    try:
        refused = person.bench("device", "release", "local")
        assert refused.status == 3
        assert "is being measured" in refused.err
        forced = person.bench("device", "release", "local", "--force")
    finally:
        running.kill()
        running.communicate()
    assert forced.status == 0, forced.err
    assert "was cancelled; it had it since" in forced.out
    (job,) = jobs_in(board)
    end = decode((board / "jobs" / job / "journal.jsonl").read_bytes().splitlines()[-1])
    assert end.outcome == "cancelled"
    assert (board / "lease").read_bytes() == b""
