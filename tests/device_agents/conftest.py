"""Boards for tests that need real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.device_agents.board import QUICK, Board, install_fake_runtime, job, kill_leftovers, run


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """A board with nothing on it; nobody's home folder is touched."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = Board(tmp_path)
    yield made
    kill_leftovers(made)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Board:
    """A board whose job `job-1`, two repetitions of the null runtime, went well. Leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        made = Board(folder)
        run(made.opened(), job(measurement=QUICK._replace(repetitions=2)))
    return made


@pytest.fixture
def fake_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Call it with a mode: from then on the package onnxruntime is one that behaves like that."""
    install_fake_runtime(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    return lambda mode: monkeypatch.setenv("FAKE_RUNTIME", mode)
