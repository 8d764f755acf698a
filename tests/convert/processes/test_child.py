from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from convert.cache import find_entry, make_entry, read_entry
from convert.errors import ConversionFailed, ConvertError, DataError, InvalidModel
from convert.processes import child

pytestmark = pytest.mark.processes


def test_errors_survive_the_way_from_the_worker(tmp_path: Path) -> None:
    request = {"path": str(tmp_path / "empty.onnx")}
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(InvalidModel) as caught:
        child.run_child("inspection", request, error=ConversionFailed)
    assert caught.value.reason == "invalid_model"
    assert str(caught.value) == f"{caught.value.message}. {caught.value.remedy}"


def test_a_fault_of_the_worker_itself_shows_its_last_words() -> None:
    with pytest.raises(ConversionFailed, match="KeyError: 'no such task'") as caught:
        child.run_child("no such task", {}, error=ConversionFailed)
    assert caught.value.reason == "crashed"


@pytest.mark.parametrize(
    ("number", "reason", "words"),
    [
        (signal.SIGSEGV, "crashed", "crashed with SIGSEGV; its last words: of a crash"),
        (signal.SIGABRT, "crashed", "SIGABRT"),
        (signal.SIGKILL, "out_of_memory", "for want of memory"),
    ],
)
def test_a_worker_that_dies_is_named_for_what_killed_it(
    number: signal.Signals, reason: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = f"import os, sys; os.write(2, b'of a crash'); os.kill(os.getpid(), {int(number)})"
    monkeypatch.setattr(child, "_BOOTSTRAP", dying)
    with pytest.raises(InvalidModel, match=words) as caught:
        child.run_child("inspection", {}, error=InvalidModel)
    assert caught.value.reason == reason


def test_a_worker_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_BOOTSTRAP", "import time; time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(ConversionFailed, match="inspection did not end within 0 s") as caught:
        child.run_child("inspection", {}, error=ConversionFailed, limits=child.Limits(0.2))
    assert caught.value.reason == "timeout"
    assert time.monotonic() - started < 5


def test_a_worker_does_not_outlive_its_parent() -> None:
    script = (
        "import subprocess, sys, threading; from convert.processes import worker;"
        "threading.Thread(target=worker._end_with_the_parent).start()"
    )
    worker = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(10) == 3


def test_an_error_is_whole_after_pickling() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(DataError("no", reason="why", remedy="so")))
    assert (type(error), error.message, error.reason, error.remedy) == (DataError, "no", "why", "so")
    assert isinstance(error, ConvertError)


def test_of_two_makers_of_an_entry_the_first_wins_and_nothing_else_is_left(tmp_path: Path) -> None:
    def slow(folder: Path) -> dict[str, object]:
        make_entry(tmp_path, "things", "key", lambda _: {"made_by": "fast"})
        (folder / "file").touch()
        return {"made_by": "slow"}

    entry = make_entry(tmp_path, "things", "key", slow)
    assert read_entry(entry) == {"made_by": "fast"}
    assert [path.name for path in (tmp_path / "things").iterdir()] == ["key"]


def test_a_failed_entry_leaves_nothing(tmp_path: Path) -> None:
    def failing(folder: Path) -> dict[str, object]:
        (folder / "half").touch()
        raise ConversionFailed("no", reason="why")

    with pytest.raises(ConversionFailed):
        make_entry(tmp_path, "things", "key", failing)
    assert list((tmp_path / "things").iterdir()) == []
    assert find_entry(tmp_path, "things", "key") is None


def test_what_a_killed_process_had_begun_is_removed_when_the_next_entry_is_made(tmp_path: Path) -> None:
    (tmp_path / "things" / ".building-left").mkdir(parents=True)
    made = make_entry(tmp_path, "things", "key", lambda _: {})
    assert list((tmp_path / "things").iterdir()) == [made]


def test_a_damaged_entry_is_replaced(tmp_path: Path) -> None:
    make_entry(tmp_path, "things", "key", lambda _: {"content": 1})
    make_entry(tmp_path, "things", "key", lambda _: {"content": 2}, replace=True)
    entry = find_entry(tmp_path, "things", "key")
    assert entry is not None
    assert read_entry(entry) == {"content": 2}
    assert len(list((tmp_path / "things").iterdir())) == 1


HOG = """
import time
held = []
for _ in range(200):
    held.append(bytearray(b"x" * 10_000_000))
    time.sleep(0.01)
time.sleep(60)
"""


def test_a_worker_that_takes_more_memory_than_it_may_is_ended_and_both_figures_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child, "_BOOTSTRAP", HOG)
    limits = child.Limits(60, 300_000_000)
    with pytest.raises(ConversionFailed, match=r"it held \d+ MB, the limit is 300 MB") as caught:
        child.run_child("conversion", {}, error=ConversionFailed, limits=limits)
    assert caught.value.reason == "out_of_memory"
    assert caught.value.remedy == "Raise --memory-limit or use a smaller model or input"


def test_what_a_worker_starts_counts_to_its_memory_and_ends_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hog.py").write_text(HOG)
    starting = (
        f"import os, subprocess, sys; p = subprocess.Popen([sys.executable, {str(tmp_path / 'hog.py')!r}]);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); p.wait()"
    )
    monkeypatch.setattr(child, "_BOOTSTRAP", starting)
    with pytest.raises(ConversionFailed, match="the limit is 300 MB"):
        child.run_child("conversion", {}, error=ConversionFailed, limits=child.Limits(60, 300_000_000))
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_that_says_bad_allocation_ran_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    dying = "import os; os.write(2, b\"terminate called after throwing 'std::bad_alloc'\"); os.abort()"
    monkeypatch.setattr(child, "_BOOTSTRAP", dying)
    with pytest.raises(ConversionFailed) as caught:
        child.run_child("conversion", {}, error=ConversionFailed)
    assert caught.value.reason == "out_of_memory"
