"""A child under watch: its end is noticed and its log stays small, whatever it leaves behind or says."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from device_agents import memory, watched
from device_agents.journal import Journal
from device_agents.protocol import RepetitionEnded, encode
from device_agents.watched import Ended, Watch
from tests.device_agents.board import is_running

pytestmark = pytest.mark.processes

END = encode(RepetitionEnded(1.0, 0, "ok", None, None)).decode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker-0.log"


def watch(log: Path, code: str, deadline_s: float = 60.0) -> Ended:
    """How a Python program ends under watch."""
    journal = Journal(str(log.parent))
    child = Watch([sys.executable, "-c", code], str(log), journal, (), (RepetitionEnded,))
    return child.run(time.monotonic() + deadline_s)


def test_a_child_that_died_is_not_waited_for_because_of_what_it_left_running(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that it forked holds its end of the pipe."""
    monkeypatch.setattr(watched, "TELEMETRY_INTERVAL_S", 0.05)
    left = tmp_path / "left"
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        f"    open({str(left)!r}, 'w').write(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "time.sleep(0.3)\n"
        "os.kill(os.getpid(), 11)\n"
    )
    end = watch(log, code)
    pid = int(left.read_text())
    assert is_running(pid)
    os.kill(pid, 9)
    assert (end.reason, end.message) == ("crashed", "the worker died of SIGSEGV")


def test_what_was_said_before_the_end_is_heard_also_if_the_pipe_stays_open(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "TELEMETRY_INTERVAL_S", 0.05)
    code = (
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    time.sleep(2)\n"
        "    os._exit(0)\n"
        "time.sleep(0.2)\n"
        f"sys.stdout.write({END!r})\n"
    )
    assert watch(log, code) == Ended()


def test_a_log_that_grows_without_end_is_cut_to_its_end(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "TELEMETRY_INTERVAL_S", 0.05)
    code = (
        "import os, time\n"
        "for _ in range(20):\n"
        "    os.write(2, b'\\xff noise \\n' * 30000)\n"
        "    time.sleep(0.03)\n"
        "time.sleep(0.3)\n"
        "os.write(2, b'the last word')\n"
        "os._exit(7)\n"
    )
    end = watch(log, code)
    assert end.reason == "crashed"
    assert (end.message or "").endswith("the last word")
    assert log.stat().st_size <= watched.MAX_LOG_BYTES + (1 << 20)  # 5.4 MB were said
    assert b"\xff noise \n" in log.read_bytes()


def test_a_process_that_measures_goes_first_where_memory_is_short(tmp_path: Path) -> None:
    code = (
        "from device_agents import memory; memory.go_first(); print(open('/proc/self/oom_score_adj').read())"
    )
    log = tmp_path / "log"
    end = watch(log, f"import sys; sys.path[:0] = {sys.path!r}; sys.stdout = sys.stderr; {code}")
    assert end.reason == "crashed"  # it says no last word, but in its log
    assert log.read_text().strip() == "800"
    assert memory.read().rss is not None
