"""Environments on a board, through a real shell: its lock, failures that leave nothing, completeness."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import BoardBusy, DeviceError
from harness.farm.board_environment import Environments, Recipe
from tests.device_agents.board import Board

pytestmark = pytest.mark.processes


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A board with a workspace and nothing in it."""
    made = Board(tmp_path)
    made.workspace.create()
    return made


@pytest.fixture
def environments(board: Board) -> Environments:
    return Environments(board.session(), board.workspace.root)


def recipe(base_python: str) -> Recipe:
    """No wheels at all: enough for what comes before them."""
    return Recipe(base_python, False, ("0" * 64, "pip-1-py3-none-any.whl"), ())


def test_while_a_job_is_measured_nothing_is_built(board: Board, environments: Environments) -> None:
    lock = board.workspace.try_board("job-1")
    assert lock is not None
    folder = f"{board.workspace.root}/venv-1"
    with lock, pytest.raises(BoardBusy, match="a job is being measured or another setup is at work"):
        environments.build(folder, recipe("python3"))
    assert not Path(folder).exists()


def test_a_failure_leaves_nothing_of_it_and_what_was_there_before(
    board: Board, environments: Environments
) -> None:
    old = Path(board.workspace.root, "venv-old")
    (old / "bin").mkdir(parents=True)
    (old / "bin" / "python").touch(mode=0o755)
    environments.mark_complete(str(old))
    folder = f"{board.workspace.root}/venv-new"
    with pytest.raises(DeviceError, match=r"the environment could not be made: .*no-such-python"):
        environments.build(folder, recipe("/no-such-python"))
    assert not Path(folder).exists()
    assert environments.all() == (str(old),)
    assert environments.is_complete(str(old))
    # The lock is free again, whatever happened.
    lock = board.workspace.try_board("job-1")
    assert lock is not None
    lock.close()


def test_what_is_not_marked_is_not_complete_and_what_is_removed_is_gone(
    board: Board, environments: Environments
) -> None:
    folder = Path(board.workspace.root, "venv-1")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch(mode=0o755)
    assert not environments.is_complete(str(folder))
    assert environments.all() == ()
    environments.mark_complete(str(folder))
    assert environments.is_complete(str(folder))
    environments.remove(str(folder))
    assert not folder.exists()
