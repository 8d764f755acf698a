"""Folders for work in progress go with their process."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convert.held_folders import held_folder


def test_a_folder_is_there_for_its_user_alone_and_gone_afterwards(tmp_path: Path) -> None:
    with held_folder(tmp_path, "work-") as folder:
        (folder / "file").write_text("x")
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_in_use_stay(tmp_path: Path) -> None:
    with held_folder(tmp_path, "work-") as first, held_folder(tmp_path, "work-") as second:
        assert sorted(tmp_path.iterdir()) == sorted([first, second])


def test_other_folders_and_files_stay(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "work-file").write_text("x")
    with held_folder(tmp_path, "work-"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "work-file"]


def test_a_link_with_the_prefix_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "work-link").symlink_to(tmp_path / "precious")
    with held_folder(tmp_path, "work-"):
        assert (tmp_path / "precious").is_dir()


def test_where_folders_cannot_be_locked_only_old_ones_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: int, _how: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for name, age_s in (("work-old", 90_000), ("work-new", 80_000)):
        (tmp_path / name).mkdir()
        changed = (tmp_path / name).stat().st_mtime - age_s
        os.utime(tmp_path / name, (changed, changed))
    with held_folder(tmp_path, "work-"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["work-new"]


@pytest.mark.processes
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from convert.held_folders import held_folder\n"
        "with held_folder(Path(sys.argv[1]), 'work-') as folder:\n"
        "    (folder / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program, tmp_path], cwd=root, check=False)
    assert (done.returncode, len(list(tmp_path.iterdir()))) == (-9, 1)
    with held_folder(tmp_path, "work-") as folder:
        assert list(tmp_path.iterdir()) == [folder]
