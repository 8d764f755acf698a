"""The agent as one file."""

from __future__ import annotations

import hashlib
import zipfile
from io import BytesIO

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
