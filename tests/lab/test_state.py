"""What the lab wrote down."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import LabError
from harness.lab.state import BoardState, LabState, read_state, write_state

TWO = LabState("10.77.0.0/24", (BoardState("pi4", "pi4", 2), BoardState("nano", "nano", 4)))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_state(tmp_path / "state.json", TWO)
    assert read_state(tmp_path / "state.json") == TWO


def test_without_a_file_there_is_nothing(tmp_path: Path) -> None:
    assert read_state(tmp_path / "state.json") == LabState(None, ())


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"boards": [{"name": "pi4"}]}', '{"boards": [], "more": 1}']
)
def test_a_file_that_makes_no_sense_is_told_with_the_way_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(LabError, match="does not say what the lab has made") as caught:
        read_state(path)
    assert caught.value.remedy == "`bench lab down` finds it by its names and removes it"


def test_a_number_that_was_given_back_is_given_again() -> None:
    assert TWO.next_number(2, 254) == 3


def test_more_boards_than_addresses_are_refused() -> None:
    with pytest.raises(LabError, match="there are 2 boards, as many as the lab has addresses"):
        LabState("10.77.0.0/24", (BoardState("a", "pi4", 2), BoardState("b", "pi4", 3))).next_number(2, 3)


def test_a_board_that_is_gone_leaves_the_others() -> None:
    assert TWO.without_board("pi4").boards == (BoardState("nano", "nano", 4),)
