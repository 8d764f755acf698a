"""Whether a run of this computer is alive is known by its lock, which no killed process keeps."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.run_locks import RunLocks

RUN = "20261121-220000-abcd1234"


def test_a_run_is_not_gone_while_it_lives_and_unknown_once_it_ended_well(tmp_path: Path) -> None:
    locks = RunLocks(tmp_path / "runs")
    with locks.held(RUN):
        assert not locks.is_gone(RUN)
    assert not locks.is_gone(RUN)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_that_was_left_at_once_is_gone(tmp_path: Path) -> None:
    locks = RunLocks(tmp_path)
    with locks.held(RUN) as stay_known:
        stay_known()
    assert locks.is_gone(RUN)


def test_a_run_that_failed_leaves_nothing(tmp_path: Path) -> None:
    locks = RunLocks(tmp_path)
    with pytest.raises(ValueError, match="broke"), locks.held(RUN):
        raise ValueError("broke")
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_another_computer_with_the_same_home_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / RUN).write_text("another-computer")
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    assert not RunLocks(tmp_path).is_gone(RUN)
    (tmp_path / RUN).write_text("laptop")
    assert RunLocks(tmp_path).is_gone(RUN)


@pytest.mark.parametrize("word", ["", "../run", "a/b", "x" * 81, "run\n"])
def test_a_boards_word_is_no_path(tmp_path: Path, word: str) -> None:
    (tmp_path / "run").write_text("")
    assert not RunLocks(tmp_path / "runs").is_gone(word)


def test_a_run_that_is_resumed_twice_at_once_is_alive_until_the_first_ends(tmp_path: Path) -> None:
    locks = RunLocks(tmp_path)
    with locks.held(RUN), locks.held(RUN):
        assert not locks.is_gone(RUN)


def test_files_of_runs_that_died_a_week_ago_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    week = time.time() - 8 * 86400
    for name in ("old", "new"):
        (tmp_path / name).write_text("laptop")
    os.utime(tmp_path / "old", (week, week))
    with RunLocks(tmp_path).held(RUN):
        assert sorted(path.name for path in tmp_path.iterdir()) == [RUN, "new"]


@pytest.mark.processes
def test_a_killed_process_keeps_no_lock(tmp_path: Path) -> None:
    hold = (
        "import pathlib, sys, time; from harness.run_locks import RunLocks\n"
        f"with RunLocks(pathlib.Path(sys.argv[1])).held({RUN!r}): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert not RunLocks(tmp_path).is_gone(RUN)
        process.kill()
        process.wait()
    assert RunLocks(tmp_path).is_gone(RUN)
