"""The agent's commands as the controller sees them: every request gets an answer, however odd it is."""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from device_agents import commands, lease_commands
from device_agents.leases import Leases
from device_agents.protocol import (
    BlobRef,
    BlobState,
    CommandFailed,
    Dataset,
    LeaseReply,
    SubmitReply,
    decode,
    encode,
)
from device_agents.workspace import Workspace
from tests import interpreters
from tests.device_agents.board import Board, job, names_in, wait_until

pytestmark = pytest.mark.processes

CONTENT = bytes(range(256)) * 1000
SHA = hashlib.sha256(CONTENT).hexdigest()


def answer(root: Path, *arguments: str) -> tuple[int, Any]:
    """Exit status and the one message of a command that fits into a pipe, run in this process."""
    reader, writer = os.pipe()
    status = commands.run(["--workspace", str(root), *arguments], writer)
    with os.fdopen(reader, "rb") as out:
        return status, decode(out.read())


def test_a_job_that_a_restart_took_with_the_workspace_is_told_to_be_lost(tmp_path: Path) -> None:
    status, failed = answer(tmp_path, "follow", "job-1", "0")
    assert (status, failed.reason) == (1, "job_lost")
    assert failed.message.startswith(f"job job-1 is not in {tmp_path} any more: the board restarted")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "unknown command []"),
        (["format-disk"], "unknown command ['format-disk']"),
        (["put"], "put: "),
        (["put", SHA], "put: "),
        (["put", SHA, "many"], "put: invalid literal"),
        (["put", "../../x", "5"], "not a sha256"),
        (["follow", "../x", "0"], "not a job id"),
        (["follow", "x", "here"], "follow: invalid literal"),
        (["get", "x", "y", "z"], "get: invalid literal"),
        (["cancel", "/"], "not a job id"),
        (["lease", "me", "60"], "lease: no --lease is named"),
        (["--lease", "a", "lease", "me", "soon"], "lease: could not convert"),
    ],
)
def test_a_malformed_request_is_answered_as_one(tmp_path: Path, arguments: list[str], words: str) -> None:
    status, failed = answer(tmp_path, *arguments)
    assert status != 0
    assert isinstance(failed, CommandFailed)
    assert failed.reason == "bad_request"
    assert words in failed.message


def test_a_result_is_looked_for_in_its_jobs_folder_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    result = tmp_path / "root" / "jobs" / "job" / "result"
    result.mkdir(parents=True)
    _, failed = answer(tmp_path / "root", "get", "job", "0", "../../../../secret")
    assert failed.reason == "workspace_unusable"
    assert str(result / "secret") in failed.message


def test_cancelling_a_job_that_never_was_is_no_failure(tmp_path: Path) -> None:
    assert answer(tmp_path, "cancel", "job") == (0, SubmitReply("cancelled", "job", []))


def test_clean_says_how_many_bytes_it_freed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / SHA).write_bytes(b"12345")
    assert answer(tmp_path, "clean") == (0, BlobState(5, True))


def test_a_workspace_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, failed = answer(tmp_path / "file", "clean")
    assert status == 1
    assert failed.reason == "workspace_unusable"


def start(board: Board, *arguments: str) -> subprocess.Popen[bytes]:
    """A command of the deployed agent, to be talked to."""
    return subprocess.Popen(
        [board.python, board.deploy(), "--workspace", board.workspace.root, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def said(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    return decode(process.stdout.readline())


def test_a_file_arrives_in_two_parts_when_the_link_breaks_between(board: Board) -> None:
    with start(board, "put", SHA, str(len(CONTENT))) as first:
        assert said(first) == BlobState(0, False)
        out, _ = first.communicate(CONTENT[:100_000])
        assert (first.returncode, out) == (1, b"")
    with start(board, "put", SHA, str(len(CONTENT))) as second:
        assert said(second) == BlobState(100_000, False)
        out, _ = second.communicate(CONTENT[100_000:])
        assert (second.returncode, decode(out)) == (0, BlobState(len(CONTENT), True))
    assert Path(board.workspace.blob(SHA)).read_bytes() == CONTENT


def test_two_that_send_the_same_file_at_once_are_both_told_that_it_is_there(board: Board) -> None:
    with (
        start(board, "put", SHA, str(len(CONTENT))) as first,
        start(board, "put", SHA, str(len(CONTENT))) as second,
    ):
        # Either may be first; the other waits for it without a word.
        assert first.stdout is not None
        assert second.stdout is not None
        ready = _first_to_speak(first, second)
        other = second if ready is first else first
        assert said(ready) == BlobState(0, False)
        time.sleep(0.05)
        out, _ = ready.communicate(CONTENT)
        assert decode(out) == BlobState(len(CONTENT), True)
        assert said(other) == BlobState(len(CONTENT), True)
        assert other.wait(5) == 0
    assert names_in(board.workspace.blobs) == [SHA]


def _first_to_speak(*processes: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    by_pipe = {process.stdout: process for process in processes}
    ready, _, _ = select.select(list(by_pipe), [], [], 10)
    return by_pipe[ready[0]]


def test_a_damaged_file_is_refused_and_forgotten(board: Board) -> None:
    with start(board, "put", SHA, str(len(CONTENT))) as put:
        assert said(put) == BlobState(0, False)
        out, _ = put.communicate(CONTENT[:-1] + b"!")
    assert decode(out).reason == "hash_mismatch"
    assert names_in(board.workspace.blobs) == []


def test_another_protocol_is_refused_before_anything_is_done(board: Board) -> None:
    with start(board, "submit") as submit:
        out, _ = submit.communicate(encode(job(protocol=3)))
    assert decode(out) == CommandFailed("protocol_mismatch", "this agent speaks protocol 2, the controller 3")
    assert names_in(board.workspace.jobs) == []


def test_files_that_are_not_there_are_asked_for_once_each(board: Board) -> None:
    a, b = "aa" * 32, "bb" * 32
    data = Dataset(BlobRef(b, 1, "check.npz"), 1, stacked=False)
    wanted = job(artifact=[BlobRef(a, 1, "m")], check_inputs=data, evaluation=data)
    with start(board, "submit") as submit:
        out, _ = submit.communicate(encode(wanted))
    assert decode(out) == SubmitReply("missing", "job-1", [a, b])


def test_a_supervisor_started_again_for_an_ended_job_leaves_it_alone(finished: Board) -> None:
    before = finished.journal("job-1")
    with start(finished, "supervise", "job-1") as again:
        again.communicate()
    assert finished.journal("job-1") == before


def test_a_job_cancelled_before_its_supervisor_has_begun_ends_as_cancelled(board: Board) -> None:
    """SIGTERM as early as it can come: while the supervisor waits for the board in its very first steps."""
    session = board.opened()
    holder = board.workspace.try_board("other")
    assert holder is not None
    with holder:
        session.submit(job(lock_wait_s=30.0), {}, lambda _blob: lambda _done, _total: None)
        session.cancel("job-1")
    assert decode(board.journal("job-1").splitlines()[-1]).outcome == "cancelled"


@pytest.fixture(scope="module")
def jobs_by_python(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What a job tells under each Python there is, in the C locale and in the home of somebody called José.

    That is JetPack 4 over SSH: Python 3.6 without a locale takes every file for ASCII.
    """
    sessions = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("LC_", "LANG"))]:
            patch.delenv(name)
        patch.setenv("LC_ALL", "C")
        for version in interpreters.AGENT_VERSIONS:
            home = tmp_path_factory.mktemp("home") / "josé"
            home.mkdir()
            patch.setenv("HOME", str(home))
            if python := interpreters.interpreter(version):
                sessions[version] = Board(home, str(python)).opened()
                sessions[version].submit(job(), {}, lambda _blob: lambda _done, _total: None)
        return {version: list(session.follow("job-1")) for version, session in sessions.items()}


@pytest.mark.parametrize("version", interpreters.AGENT_VERSIONS)
def test_the_archive_runs_a_job_under_every_python(
    jobs_by_python: dict[str, list[Any]], version: str
) -> None:
    if version not in jobs_by_python:
        pytest.skip(interpreters.missing(version))
    events = jobs_by_python[version]
    assert events[-1].outcome == "ok"
    assert events[0].facts.python.startswith(version + ".")


def test_the_agent_needs_nothing_but_the_standard_library(board: Board) -> None:
    agent = board.deploy()
    code = [sys.executable, "-S", "-E", agent, "--workspace", board.workspace.root, "cancel", "job"]
    done = subprocess.run(code, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_controller_that_hangs_up_ends_its_command_without_a_traceback(finished: Board) -> None:
    with start(finished, "follow", "job-1", "0") as follow:
        assert follow.stdout is not None
        assert follow.stderr is not None
        follow.stdout.close()
        assert wait_until(lambda: follow.poll() is not None)
        assert b"Traceback" not in follow.stderr.read()


# --- leases ---------------------------------------------------------------------------------------


def lease_of(board: Board, run: str) -> Leases:
    """What a run sees of the board's lease."""
    board.workspace.create()
    return Leases(Workspace(board.workspace.root, run))


def queue_of(board: Board) -> list[str]:
    return names_in(str(Path(board.workspace.root) / "queue"))


def test_who_waits_is_told_whose_the_board_is_and_gets_it_when_that_is_over(board: Board) -> None:
    alice = lease_of(board, "a")
    assert alice.take("alice@laptop") is None
    with start(board, "--lease", "b", "lease", "bob@desk", "60") as bob:
        first = said(bob)
        assert (first.state, first.holder, first.job) == ("waiting", "alice@laptop", None)
        assert 0 <= first.held_s < 60
        alice.release()
        assert bob.stdin is not None
        assert bob.stdin.write(b"\n") == 1  # as a controller does; the board is looked at again
        bob.stdin.flush()
        assert said(bob) == LeaseReply("granted")
        assert bob.wait(10) == 0
    found = alice.holder()
    assert found is not None
    assert found.words == "bob@desk"
    assert queue_of(board) == []


def test_who_waits_and_hangs_up_leaves_the_queue(board: Board) -> None:
    assert lease_of(board, "a").take("alice@laptop") is None
    with start(board, "--lease", "b", "lease", "bob@desk", "60") as bob:
        assert said(bob).state == "waiting"
        assert len(queue_of(board)) == 1
        assert bob.stdin is not None
        bob.stdin.close()
        assert bob.wait(10) == 1
    assert queue_of(board) == []


def test_who_may_not_wait_is_refused(board: Board) -> None:
    root = Path(board.workspace.root)
    assert lease_of(board, "a").take("alice@laptop") is None
    status, refused = answer(root, "--lease", "b", "lease", "bob@desk", "0")
    assert (status, refused.state, refused.holder) == (0, "refused", "alice@laptop")
    assert answer(root, "--lease", "b", "renew")[1].state == "refused"
    assert answer(root, "--lease", "a", "renew")[1].state == "granted"


def test_a_controller_that_answers_no_more_neither_gets_the_board_nor_keeps_its_place(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_commands, "DEAF_S", 0.1)
    monkeypatch.setattr(lease_commands, "POLL_S", 0.05)
    assert lease_of(board, "a").take("alice@laptop") is None
    before, (silent, other_end) = os.dup(0), os.pipe()
    os.dup2(silent, 0)
    try:
        status, waiting = answer(Path(board.workspace.root), "--lease", "b", "lease", "bob@desk", "60")
    finally:
        os.dup2(before, 0)
        for fd in (before, silent, other_end):
            os.close(fd)
    assert (status, waiting.state) == (1, "waiting")
    assert queue_of(board) == []


def test_a_job_of_a_run_that_has_lost_the_board_is_refused_and_one_without_a_lease_is_not(
    board: Board,
) -> None:
    assert lease_of(board, "a").take("alice@laptop") is None
    with start(board, "--lease", "b", "submit") as submit:
        out, _ = submit.communicate(encode(job()))
    assert decode(out) == CommandFailed("lease_lost", "the lease b is not the present one")
    assert names_in(board.workspace.jobs) == []
    with start(board, "submit") as submit:
        out, _ = submit.communicate(encode(job()))
    assert decode(out).state == "accepted"


def test_the_end_of_a_job_is_a_sign_of_life_of_its_run(board: Board) -> None:
    assert lease_of(board, "a").take("alice@laptop") is None
    taken = json.loads((Path(board.workspace.root) / "lease").read_text())
    session = board.opened("a")
    session.submit(job(), {}, lambda _blob: lambda _done, _total: None)
    assert list(session.follow("job-1"))[-1].outcome == "ok"
    ended = json.loads((Path(board.workspace.root) / "lease").read_text())
    assert ended["renewed_s"] > taken["renewed_s"]
    assert ended | {"renewed_s": 0} == taken | {"renewed_s": 0}


def test_clean_leaves_a_run_its_files(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / SHA).write_bytes(b"12345")
    assert answer(tmp_path, "--lease", "a", "lease", "alice@laptop", "0")[1].state == "granted"
    status, failed = answer(tmp_path, "clean")
    assert (status, failed.reason) == (1, "board_busy")
    assert failed.message == "held by alice@laptop: what it has here is still needed"
    assert answer(tmp_path, "--lease", "a", "release")[1].state == "released"
    assert answer(tmp_path, "clean") == (0, BlobState(5, True))
