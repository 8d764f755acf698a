"""Ctrl-C: what is finished is kept and reported, nothing runs on, and the run can be resumed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.end_to_end.agent_processes import agents_in, becomes_true, is_held, jobs_in
from tests.end_to_end.boards import write_ssh_board
from tests.end_to_end.test_resume import PRECISIONS, PYTHON, RUN, board, prepared, read_until
from tests.end_to_end.workplace import Workplace
from tests.openssh import OpenSshServer

__all__ = ["board", "prepared"]

pytestmark = pytest.mark.e2e


def interrupt(workplace: Workplace, workspace: Path, *options: str) -> None:
    """Ctrl-C in the second case: everything about the end of that run, and of the resumed one."""
    running = workplace.start(*RUN, *options)
    read_until(running, "1/4")
    assert becomes_true(lambda: any(" worker " in line for line in agents_in(workspace).values()), 30)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted; go on with the same command and --resume" in said
    assert becomes_true(lambda: agents_in(workspace) == {}, 5), agents_in(workspace)
    assert not is_held(workspace)
    assert (workspace / "lease").read_bytes() == b""

    finished = workplace.results()["records"]
    assert 1 <= len(finished) < 4
    assert (workplace.folder / "out" / "report.html").stat().st_size > 10_000
    assert workplace.results()["run"]["interrupted"] is True

    done = workplace.bench(*RUN, *options, "--resume")
    assert done.status == 0, done.err
    assert "resuming run " in done.err
    after = workplace.results()["records"]
    assert tuple(record["case"]["precision"] for record in after) == PRECISIONS
    assert {record["status"] for record in after} == {"ok"}
    assert after[: len(finished)] == finished
    # The cancelled job and the one in its place.
    assert len(jobs_in(workspace)) == 5


def test_an_interrupted_run_reports_what_is_finished_and_can_be_resumed(
    workplace: Workplace, prepared: Path
) -> None:
    interrupt(workplace, prepared)


def test_the_same_holds_over_ssh(workplace: Workplace, ssh_server: OpenSshServer) -> None:
    if not PYTHON.exists():
        pytest.skip("no Python with runtimes (tests/agent_pythons.sh makes them)")
    workspace = ssh_server.home / workplace.folder.name
    write_ssh_board(workplace, "board", ssh_server, python=PYTHON, workspace=workspace)
    interrupt(workplace, workspace, "--device", "board")


def test_ctrl_c_while_preparing_leaves_nothing_running(workplace: Workplace, board: Path) -> None:
    running = workplace.start(*RUN)
    assert becomes_true((board / "host" / "artifacts").is_dir, 30)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert agents_in(board) == {}
    assert jobs_in(board) == []
