"""A result database to begin with, and boards that play back."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.store import Store
from tests.harness.played_boards import RUN, Lab


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


@pytest.fixture
def lab(tmp_path: Path, store: Store) -> Lab:
    """Runs over boards that are added as the test wants them."""
    return Lab(store, tmp_path)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell starts what it runs in the background with Ctrl-C ignored, and Python leaves it at that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
