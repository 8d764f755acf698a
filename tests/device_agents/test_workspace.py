"""The folder on the board: blobs, jobs and the lock, with real files and real processes."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agents import workspace as workspace_module
from device_agents.protocol import BlobRef
from device_agents.workspace import Workspace, WorkspaceError, hold, is_locked
from tests.device_agents.board import names_in

CONTENT = bytes(range(256)) * 40
SHA = hashlib.sha256(CONTENT).hexdigest()
ROOT = Path(workspace_module.__file__).parents[1]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    before = os.umask(0o077)  # what main.py sets for every command
    made = Workspace(str(tmp_path / "edgebench"))
    made.create()
    yield made
    os.umask(before)


def receive(workspace: Workspace, content: bytes, sha256: str | None = None) -> str:
    """What `put` does with bytes that came."""
    name = sha256 or hashlib.sha256(content).hexdigest()
    with workspace.partial_blob(name, len(content)) as part:
        part.write(content[part.tell() :])
        workspace.finish_blob(name, len(content), part)
    return name


def reason(error: pytest.ExceptionInfo[WorkspaceError]) -> str:
    return error.value.reply.reason


# --- blobs ----------------------------------------------------------------------------------------


def test_a_blob_is_there_once_it_is_complete_and_not_before(workspace: Workspace) -> None:
    with workspace.partial_blob(SHA, len(CONTENT)) as part:
        part.write(CONTENT[:100])
    assert workspace.missing([BlobRef(SHA, len(CONTENT), "m")]) == [SHA]
    receive(workspace, CONTENT)
    assert workspace.missing([BlobRef(SHA, len(CONTENT), "m")]) == []
    assert Path(workspace.blob(SHA)).read_bytes() == CONTENT


@pytest.mark.parametrize("cut", [0, 1, 100, len(CONTENT) - 1, len(CONTENT)])
def test_what_came_before_the_cut_is_not_sent_again(workspace: Workspace, cut: int) -> None:
    with workspace.partial_blob(SHA, len(CONTENT)) as part:
        part.write(CONTENT[:cut])
    with workspace.partial_blob(SHA, len(CONTENT)) as part:
        assert part.tell() == cut
        part.write(CONTENT[cut:])
        workspace.finish_blob(SHA, len(CONTENT), part)
    assert names_in(workspace.blobs) == [SHA]


def test_a_part_longer_than_the_blob_is_begun_anew(workspace: Workspace) -> None:
    with workspace.partial_blob(SHA, len(CONTENT) + 1) as part:
        part.write(CONTENT + b"x")
    receive(workspace, CONTENT)
    assert Path(workspace.blob(SHA)).read_bytes() == CONTENT


def test_a_wrong_hash_removes_the_part(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError) as error:
        receive(workspace, CONTENT[:-1] + b"!", SHA)
    assert reason(error) == "hash_mismatch"
    assert names_in(workspace.blobs) == []


def test_a_blob_larger_than_the_disk_is_refused_and_nothing_is_left(workspace: Workspace) -> None:
    with workspace.partial_blob(SHA, len(CONTENT)) as part:
        part.write(CONTENT[:100])
    with pytest.raises(WorkspaceError, match="do not fit") as error, workspace.partial_blob(SHA, 1 << 60):
        pass
    assert reason(error) == "disk_full"
    assert names_in(workspace.blobs) == []


def test_what_a_second_sender_finds_complete_it_need_not_send(workspace: Workspace) -> None:
    """Two controllers send the same model; the second waits for the first one's part."""
    found: list[int] = []

    def second() -> None:
        with workspace.partial_blob(SHA, len(CONTENT)) as part:
            found.append(part.tell())
            assert os.path.samestat(os.fstat(part.fileno()), Path(workspace.blob(SHA) + ".part").stat())

    with workspace.partial_blob(SHA, len(CONTENT)) as part:
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.05)
        part.write(CONTENT)
        workspace.finish_blob(SHA, len(CONTENT), part)
    waiting.join(5)
    assert found == [0]  # a fresh part: the one it waited for is the blob now
    assert Path(workspace.blob(SHA)).read_bytes() == CONTENT


def test_the_least_recently_used_blobs_go_first(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "BLOB_BUDGET_BYTES", 250)
    old, used, newer = (receive(workspace, bytes([i]) * 80) for i in range(3))
    for age, sha in ((300, old), (200, used), (100, newer)):
        os.utime(workspace.blob(sha), (time.time() - age, time.time() - age))
    assert workspace.missing([BlobRef(used, 80, "m")]) == []  # marks it as used now
    newest = receive(workspace, b"n" * 80)
    assert names_in(workspace.blobs) == sorted([newer, used, newest])


def test_the_blob_that_just_came_stays_even_if_it_alone_is_over_the_budget(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "BLOB_BUDGET_BYTES", 100)
    receive(workspace, b"o" * 80)
    newest = receive(workspace, b"n" * 180)
    assert names_in(workspace.blobs) == [newest]


@pytest.mark.parametrize(
    "name", ["", "..", SHA[:-1], SHA + "0", SHA.upper(), "../" + SHA[3:], SHA[:-1] + "\0"]
)
def test_a_blob_has_a_hash_for_a_name_and_nothing_else(workspace: Workspace, name: str) -> None:
    with pytest.raises(WorkspaceError) as error:
        workspace.blob(name)
    assert reason(error) == "bad_request"


# --- jobs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "job_id", ["", ".", "..", ".hidden", "a/b", "../x", "/etc", "a b", "a\0b", "a\nb", "*"]
)
def test_a_job_id_is_a_plain_name(workspace: Workspace, job_id: str) -> None:
    with pytest.raises(WorkspaceError) as error:
        workspace.job(job_id)
    assert reason(error) == "bad_request"


def test_clean_keeps_running_jobs_and_says_what_it_freed(workspace: Workspace) -> None:
    receive(workspace, CONTENT)
    running, ended = Path(workspace.job("running")), Path(workspace.job("ended"))
    for folder in (running, ended):
        (folder / "result").mkdir(parents=True)
        (folder / "result" / "samples").write_bytes(b"12345678")
    lock = hold(str(running))
    assert lock is not None
    with lock:
        assert workspace.clean() == len(CONTENT) + 8
        assert names_in(workspace.jobs) == ["running"]
        assert (running / "result" / "samples").exists()
    assert names_in(workspace.blobs) == []


def test_a_running_jobs_links_outlive_its_blob(workspace: Workspace) -> None:
    receive(workspace, CONTENT)
    link = Path(workspace.jobs) / "model"
    link.hardlink_to(workspace.blob(SHA))
    workspace.evict_blobs(keep="none")
    Path(workspace.blob(SHA)).unlink()
    assert link.read_bytes() == CONTENT


def test_a_job_is_not_begun_where_it_could_not_write_its_journal(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.check_space_for_job()
    monkeypatch.setattr(Workspace, "free_bytes", lambda _self: 1_048_575)
    with pytest.raises(WorkspaceError, match=r"1048575 bytes are free in .*; a job needs 1048576") as error:
        workspace.check_space_for_job()
    assert error.value.reply.reason == "disk_full"


def test_jobs_of_last_month_are_removed_and_running_ones_never(workspace: Workspace) -> None:
    long_ago = time.time() - 8 * 86400
    for name in ("old", "old-and-running", "new"):
        Path(workspace.job(name)).mkdir()
    lock = hold(workspace.job("old-and-running"))
    assert lock is not None
    for name in ("old", "old-and-running"):
        os.utime(workspace.job(name), (long_ago, long_ago))
    with lock:
        workspace.remove_old_jobs()
        assert names_in(workspace.jobs) == ["new", "old", "old-and-running"]  # it may be the clock
        age(workspace.job("old") + "/old", 86400 + 1)
        workspace.remove_old_jobs()
    assert names_in(workspace.jobs) == ["new", "old-and-running"]


def age(path: str, seconds: float) -> None:
    """Make a file that much older."""
    changed = Path(path).stat().st_mtime - seconds
    os.utime(path, (changed, changed))


def clock_jumps(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)


@pytest.mark.parametrize("days", [30, -30])
def test_a_clock_that_jumps_and_jumps_back_costs_no_job(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    Path(workspace.job("just-ended")).mkdir()
    for jump in (days, -days, days):
        clock_jumps(monkeypatch, jump * 86400)
        workspace.remove_old_jobs()
        workspace.remove_old_jobs()
        assert names_in(workspace.jobs) == ["just-ended"]


def test_a_job_of_before_the_clock_went_back_gets_old_in_its_turn(workspace: Workspace) -> None:
    Path(workspace.job("of-tomorrow")).mkdir()
    age(workspace.job("of-tomorrow"), -30 * 86400)
    workspace.remove_old_jobs()
    age(workspace.job("of-tomorrow"), 8 * 86400)
    age(workspace.job("of-tomorrow") + "/old", 8 * 86400)
    workspace.remove_old_jobs()
    assert names_in(workspace.jobs) == []


def test_a_mark_of_before_the_clock_went_back_is_made_anew(workspace: Workspace) -> None:
    Path(workspace.job("old")).mkdir()
    age(workspace.job("old"), 8 * 86400)
    workspace.remove_old_jobs()
    mark = workspace.job("old") + "/old"
    age(mark, -365 * 86400)
    workspace.remove_old_jobs()
    age(mark, 2 * 86400)
    workspace.remove_old_jobs()
    assert names_in(workspace.jobs) == []


def test_blobs_of_before_the_clock_went_back_go_before_what_was_used_since(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device_agents.workspace.BLOB_BUDGET_BYTES", 10)
    for name, ahead_s in (("of-tomorrow", 86400), ("used-now", 0), ("new", 0)):
        path = Path(workspace.blobs) / name
        path.write_bytes(b"12345")
        age(str(path), -ahead_s)
    workspace.evict_blobs(keep="new")
    assert names_in(workspace.blobs) == ["new", "used-now"]


def test_everything_belongs_to_its_user_alone(workspace: Workspace) -> None:
    receive(workspace, CONTENT)
    Path(workspace.job("job")).mkdir()
    for lock in (hold(workspace.job("job")), workspace.try_board("job")):
        assert lock is not None
        lock.close()
    for path in (Path(workspace.root), *Path(workspace.root).rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_root_that_cannot_be_made_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot create") as error:
        Workspace(str(tmp_path / "file" / "edgebench")).create()
    assert reason(error) == "workspace_unusable"


# --- locks ----------------------------------------------------------------------------------------


def test_a_second_taker_of_the_board_is_refused_and_told_who_has_it_since_when(workspace: Workspace) -> None:
    begun = time.time()
    first = workspace.try_board("first")
    assert first is not None
    with first:
        assert workspace.try_board("second") is None
        holder = workspace.holder()
        assert holder is not None
        assert holder[0] == "first"
        assert begun <= holder[1] <= time.time()
    assert workspace.holder() is None
    second = workspace.try_board("second")
    assert second is not None
    second.close()


def test_a_holder_that_has_not_signed_yet_is_another_job_since_now(workspace: Workspace) -> None:
    lock = workspace.try_board("first")
    assert lock is not None
    with lock:
        lock.truncate(0)
        holder = workspace.holder()
    assert holder is not None
    assert holder[0] == "another job"
    assert abs(holder[1] - time.time()) < 5


def test_the_board_is_free_when_its_holder_dies(workspace: Workspace) -> None:
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from device_agents.workspace import Workspace\n"
        "lock = Workspace(sys.argv[2]).try_board('other')\n"
        "print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, ROOT, workspace.root], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert (workspace.holder() or ("", 0))[0] == "other"
        assert workspace.try_board("mine") is None
        holder.kill()
        holder.wait()
        mine = workspace.try_board("mine")
        assert mine is not None
        assert json.loads(Path(workspace.lock_file).read_text())["job"] == "mine"
        mine.close()


def test_looking_whether_a_job_runs_never_keeps_its_supervisor_from_starting(workspace: Workspace) -> None:
    folder = workspace.job("job")
    Path(folder).mkdir()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            is_locked(folder)
            time.sleep(0.001)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(100):
            held = hold(folder)
            assert held is not None
            held.close()
    finally:
        stop.set()
        for looker in lookers:
            looker.join()
