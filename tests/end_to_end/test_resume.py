"""A killed controller or supervisor: nothing that was finished is lost or measured twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.agent_processes import agents_in, becomes_true, jobs_in, supervisor_in
from tests.end_to_end.boards import write_ssh_board
from tests.end_to_end.workplace import Workplace
from tests.openssh import OpenSshServer, free_port

pytestmark = pytest.mark.e2e

PYTHON = Path(f"/var/tmp/edgebench-test-pythons-{os.getuid()}/python-3.11")
#: Four cases of half a second or so each.
RUN = ("run", "--model", "digits", "--runtime", "onnxruntime", "--measurement", "quick", "--out", "out")
PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")


@pytest.fixture
def board(workplace: Workplace) -> Path:
    """A workspace of this test alone."""
    workspace = workplace.folder / "board"
    workspace.mkdir(mode=0o700)
    workplace.environment["EDGEBENCH_CACHE_DIR"] = str(workspace)
    return workspace


@pytest.fixture
def prepared(board: Path, shared_cache: Path) -> Path:
    """The same with the artifacts that other tests have made."""
    (shared_cache / "host").mkdir(exist_ok=True)
    (board / "host").symlink_to(shared_cache / "host")
    return board


def read_until(running: subprocess.Popen[str], words: str) -> str:
    """The standard error of a command up to the line with `words`."""
    assert running.stderr is not None
    said = ""
    for line in running.stderr:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it ended without saying {words!r}: {said}")


def kill_after(running: subprocess.Popen[str], words: str) -> None:
    """SIGKILL once `words` were said: no handler runs, nothing is tidied up."""
    read_until(running, words)
    running.kill()
    running.wait()
    assert running.stderr is not None
    running.stderr.close()


def records(workplace: Workplace, run: str = "latest") -> dict[str, dict[str, Any]]:
    """What the database holds of a run, by precision; every case once."""
    workplace.bench("report", run, "--out", "stored")
    found = workplace.results("stored")["records"]
    assert len({r["case"]["precision"] for r in found}) == len(found)
    return {record["case"]["precision"]: record for record in found}


def check_completed(workplace: Workplace, before: dict[str, dict[str, Any]], workspace: Path) -> None:
    """Everything is there, what was there before is as it was, and no case took a second job."""
    after = records(workplace)
    assert tuple(after) == PRECISIONS
    assert {record["status"] for record in after.values()} == {"ok"}
    for precision, record in before.items():
        assert after[precision] == record
    assert jobs_in(workspace) == sorted(record["job_id"] for record in after.values())
    assert all(record["attempts"] == [] for record in after.values())


def test_a_killed_run_is_resumed_without_measuring_anything_twice(
    workplace: Workplace, prepared: Path
) -> None:
    kill_after(workplace.start(*RUN), "2/4")
    before = records(workplace)
    assert tuple(before) == ("fp32", "fp16")
    # The job that was in flight goes on without a controller, and its outcome is fetched, not repeated.
    done = workplace.bench(*RUN, "--resume")
    assert done.status == 0, done.err
    assert "2 cases are finished already" in done.err
    check_completed(workplace, before, prepared)
    assert len(workplace.bench("report", "--list").out.splitlines()) == 1
    assert len(workplace.results()["records"]) == 4


def test_the_same_holds_over_ssh(workplace: Workplace, ssh_server: OpenSshServer) -> None:
    if not PYTHON.exists():
        pytest.skip("no Python with runtimes (tests/agent_pythons.sh makes them)")
    workspace = ssh_server.home / workplace.folder.name
    write_ssh_board(workplace, "board", ssh_server, python=PYTHON, workspace=workspace)
    kill_after(workplace.start(*RUN, "--device", "board"), "2/4")
    before = records(workplace)
    assert tuple(before) == ("fp32", "fp16")
    done = workplace.bench(*RUN, "--device", "board", "--resume")
    assert done.status == 0, done.err
    check_completed(workplace, before, workspace)


def test_a_job_whose_link_was_cut_is_followed_further(
    workplace: Workplace, ssh_server: OpenSshServer
) -> None:
    if not PYTHON.exists():
        pytest.skip("no Python with runtimes (tests/agent_pythons.sh makes them)")
    workspace = ssh_server.home / workplace.folder.name
    write_ssh_board(workplace, "board", ssh_server, python=PYTHON, workspace=workspace)
    running = workplace.start(*RUN, "--device", "board")
    for words in ("1/4", "2/4", "3/4"):
        read_until(running, words)
        ssh_server.cut_sessions()
    _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said
    check_completed(workplace, {}, workspace)


def test_a_run_on_a_kind_of_board_goes_on_where_it_began_though_another_is_free_now(
    workplace: Workplace, ssh_server: OpenSshServer
) -> None:
    if not PYTHON.exists():
        pytest.skip("no Python with runtimes (tests/agent_pythons.sh makes them)")
    kind = (
        "run",
        "--device",
        "raspberry-pi-4",
        "--runtime",
        "null",
        "--measurement",
        "quick",
        "--out",
        "out",
    )
    fields = {name: {"python": PYTHON, "profile": "raspberry-pi-4"} for name in ("first", "second")}
    workspaces = {name: ssh_server.home / f"{workplace.folder.name}-{name}" for name in fields}

    def write_inventory(**of_first: int) -> None:
        (workplace.folder / "devices.toml").unlink(missing_ok=True)
        for name, more in (("first", of_first), ("second", {})):
            write_ssh_board(workplace, name, ssh_server, workspace=workspaces[name], **fields[name], **more)

    write_inventory(port=free_port())
    kill_after(workplace.start(*kind), "second: ")
    write_inventory()
    done = workplace.bench(*kind, "--resume")
    assert done.status == 0, done.err
    assert [record["case"]["device"] for record in workplace.results()["records"]] == ["second"]
    assert (len(jobs_in(workspaces["first"])), len(jobs_in(workspaces["second"]))) == (0, 1)


def test_without_resume_a_new_run_begins(workplace: Workplace, prepared: Path) -> None:
    null = ("run", "--runtime", "null", "--device", "local", "--measurement", "quick", "--out", "out")
    killed = workplace.start(*null)
    read_until(killed, "local: ")
    killed.kill()
    killed.communicate()
    for options in ((), ("--resume",)):
        done = workplace.bench(*null, *options)
        assert done.status == 0, done.err
        assert len(workplace.results()["records"]) == 1
    # The latest run of this plan has finished; the one before it is nobody's concern any more.
    assert "nothing to resume" in done.err
    states = [line.split()[2] for line in workplace.bench("report", "--list").out.splitlines()]
    assert states == ["finished", "finished", "unfinished"]


def test_a_run_that_was_killed_while_preparing_is_resumed(workplace: Workplace, board: Path) -> None:
    running = workplace.start(*RUN)
    assert becomes_true((board / "host" / "artifacts").is_dir, 30)
    running.kill()
    running.communicate()
    assert jobs_in(board) == []
    done = workplace.bench(*RUN, "--resume")
    assert done.status == 0, done.err
    assert "0 cases are finished already" in done.err
    check_completed(workplace, {}, board)


def test_resuming_with_other_options_is_no_resuming(workplace: Workplace, prepared: Path) -> None:
    kill_after(workplace.start(*RUN, "--precision", "fp32,fp16"), "1/2")
    done = workplace.bench(*RUN, "--precision", "fp32", "--resume")
    assert done.status == 0, done.err
    assert "nothing to resume" in done.err


def test_a_killed_supervisor_costs_one_attempt_which_the_record_keeps(
    workplace: Workplace, prepared: Path
) -> None:
    running = workplace.start(*RUN, "--precision", "fp32,int8")
    assert becomes_true(lambda: any(" worker " in line for line in agents_in(prepared).values()), 60)
    supervisor = supervisor_in(prepared)
    assert supervisor is not None
    killed_at = time.monotonic()
    os.kill(supervisor, signal.SIGKILL)
    # Its worker must not disturb the next measurement.
    assert becomes_true(
        lambda: not any(f" {supervisor} " in line for line in agents_in(prepared).values()), 5
    )
    _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said
    assert time.monotonic() - killed_at < 30
    assert "trying again: " in said
    record = records(workplace)["fp32"]
    assert record["status"] == "ok"
    (attempt,) = record["attempts"]
    assert attempt["failure"]["reason"] == "supervisor_died"
    assert record["job_id"].endswith("-1")
    assert len(jobs_in(prepared)) == 3
