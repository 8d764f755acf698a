"""A child `bench` under limits: how each way to end is told."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from harness.conversion import model_process
from harness.conversion.model_process import ProcessEnd, run_bench

pytestmark = pytest.mark.processes


def run(
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    deadline_s: float | None = 20.0,
    memory_limit: int | None = None,
    heard: list[str] | None = None,
) -> ProcessEnd:
    """Runs Python code where `bench` would run."""
    monkeypatch.setattr(model_process, "_BOOTSTRAP", code)
    tell = (heard if heard is not None else []).append
    return run_bench(["word"], deadline_s=deadline_s, memory_limit=memory_limit, tell=tell)


def test_a_child_that_ends_by_itself_gives_its_output_and_status(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    code = (
        "import sys; print('{}'); print(sys.argv[2], file=sys.stderr); "
        "print('two', file=sys.stderr); sys.exit(3)"
    )
    end = run(code, monkeypatch, heard=heard)
    assert (end.status, end.out, end.over_memory) == (3, "{}\n", False)
    assert heard == ["word", "two"]
    assert end.last_words == "word\ntwo"


def test_the_real_bench_is_what_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    end = run_bench(["--version"], deadline_s=60.0, memory_limit=None, tell=[].append)
    assert (end.status, end.out.split()[0]) == (0, "edgebench")


def test_a_child_that_crashes_is_told_by_its_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    end = run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", monkeypatch)
    assert end.status == -11


def test_a_child_that_hangs_is_stopped_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    end = run("import time; time.sleep(60)", monkeypatch, deadline_s=0.5)
    assert (end.status, end.over_memory) == (None, False)
    assert 0.5 <= end.seconds < 10


def test_a_child_over_its_memory_is_stopped_and_its_peak_told(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import time; held = bytearray(300_000_000); held[::4096] = b'x' * len(held[::4096]); time.sleep(60)"
    )
    end = run(code, monkeypatch, memory_limit=150_000_000)
    assert (end.status, end.over_memory) == (None, True)
    assert 150_000_000 < end.peak_memory < 700_000_000
    assert end.seconds < 15


def test_what_the_child_started_ends_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    # Deaf to being asked, as a converter that hangs in C code is; its own child is in a session of its own.
    code = (
        "import pathlib, signal, subprocess, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True); "
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid)); time.sleep(60)"
    )
    monkeypatch.setattr(model_process, "_GRACE_S", 0.3)
    run(code, monkeypatch, deadline_s=1.5)
    pid = int(pid_file.read_text())
    ended = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < ended, "the grandchild runs on"
        time.sleep(0.05)


def test_ctrl_c_ends_the_child_before_it_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    code = (
        "import pathlib, time\n"
        f"marks = pathlib.Path({str(marks)!r})\n"
        "marks.write_text('started')\n"
        "try:\n    time.sleep(60)\n"
        "finally:\n    marks.write_text('cleaned up')\n"
    )

    def interrupt() -> None:
        while not marks.exists() or not marks.read_text():
            time.sleep(0.02)
        os.kill(os.getpid(), 2)

    # Whoever starts the tests in the background has Ctrl-C ignored; here it is a terminal's.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run(code, monkeypatch)
    finally:
        signal.signal(signal.SIGINT, before)
    assert marks.read_text() == "cleaned up"
