"""A result database to begin with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.store import Store
from reports.record import Run

RUN = Run("20261121-220000-abcd", "2026-11-21T22:00:00Z", "0.1.0", ("bench", "run"))


@pytest.fixture(scope="session")
def begun_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one run and no records; making tables takes longer than most tests."""
    path = tmp_path_factory.mktemp("database") / "bench.sqlite"
    store = Store.open(path)
    store.begin(RUN, "digest")
    store.close()
    return path


@pytest.fixture
def store(tmp_path: Path, begun_database: Path) -> Iterator[Store]:
    """An open database in which RUN has begun, with the plan digest `digest`."""
    shutil.copy(begun_database, tmp_path / "bench.sqlite")
    opened = Store.open(tmp_path / "bench.sqlite")
    yield opened
    opened.close()
