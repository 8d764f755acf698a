"""Files are whole or not there, and what killed writers left goes with the next one."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from reports.files import write_atomically


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "report.html", "old")
    write_atomically(tmp_path / "report.html", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "new")]


def test_text_that_cannot_be_written_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    write_atomically(tmp_path / "report.html", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "report.html", "\ud800")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "old")]


def test_what_a_killed_writer_left_is_removed_and_what_another_writes_now_stays(tmp_path: Path) -> None:
    (tmp_path / ".report.html.0123abcd.part").write_text("ha")
    (tmp_path / ".other.html.0123abcd.part").write_text("ha")
    with (tmp_path / ".report.html.4567cdef.part").open("x") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        write_atomically(tmp_path / "report.html", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".other.html.0123abcd.part",
        ".report.html.4567cdef.part",
        "report.html",
    ]
