"""The agent as one file."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from harness.link.agent_archive import agent_archive


def test_equal_sources_make_equal_archives() -> None:
    assert agent_archive.__wrapped__().content == agent_archive.__wrapped__().content


def test_the_name_carries_the_hash() -> None:
    archive = agent_archive()
    assert archive.sha256 == hashlib.sha256(archive.content).hexdigest()
    assert archive.file_name == f"edgebench-agent-{archive.sha256[:20]}.pyz"


def test_it_is_sent_within_a_moment() -> None:
    assert len(agent_archive().content) < 250_000  # a fifth of a second at 10 Mbit/s


def test_it_holds_sources_only_without_time_or_owner() -> None:
    with zipfile.ZipFile(BytesIO(agent_archive().content)) as archive:
        entries = archive.infolist()
    assert entries[0].filename == "__main__.py"
    assert {entry.filename.rpartition(".")[2] for entry in entries} == {"py"}
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert [entry.filename for entry in entries[1:]] == sorted(entry.filename for entry in entries[1:])


# --- unpacking ------------------------------------------------------------------------------------


def placed(folder: Path) -> Path:
    archive = agent_archive()
    path = folder / archive.file_name
    path.write_bytes(archive.content)
    return path


def proven(path: Path) -> str:
    """What the agent answers, run as on a board."""
    command = [sys.executable, path, "--workspace", path.parent / "work", "prove", "null"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    return done.stdout


@pytest.mark.processes
def test_its_first_process_unpacks_it_once_with_bytecode_that_is_its_users_alone(tmp_path: Path) -> None:
    path = placed(tmp_path)
    assert '"available":true' in proven(path)
    unpacked = path.with_suffix("")
    kept = {file.name.split(".")[0] for file in unpacked.rglob("*.pyc")}
    assert {"main", "commands", "probing"} <= kept
    assert [file for file in [unpacked, *unpacked.rglob("*")] if file.stat().st_mode & 0o077] == []
    before = sorted(tmp_path.iterdir())
    assert '"available":true' in proven(path)
    assert sorted(tmp_path.iterdir()) == before


def test_what_it_unpacks_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut leaves empty files under that name, and no agent starts on that board any more."""
    path = placed(tmp_path)
    seen: list[list[str]] = []
    monkeypatch.setattr(
        os,
        "sync",
        lambda: seen.append([item.suffix for item in tmp_path.glob("edgebench*") if item.is_dir()]),
    )
    with zipfile.ZipFile(path) as archive:
        begins = archive.read("__main__.py").partition(b"# Everything on the board")[0]
    space: dict[str, Any] = {}
    exec(begins, space)
    assert space["home"](str(path)) == str(path.with_suffix(""))
    assert seen == [[".part"]]


@pytest.mark.processes
def test_where_it_cannot_be_unpacked_it_runs_from_its_archive(tmp_path: Path) -> None:
    path = placed(tmp_path)
    path.with_suffix("").write_text("a file is in the way")
    assert '"available":true' in proven(path)
    assert not list(tmp_path.glob("*.part"))
