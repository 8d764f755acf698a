"""What the lab's things are called."""

from __future__ import annotations

from pathlib import Path

from harness.lab.names import LabNames, board_names


def test_two_folders_have_labs_that_do_not_touch_each_other(tmp_path: Path) -> None:
    one, other = LabNames.of(tmp_path / "one"), LabNames.of(tmp_path / "other")
    assert not one.owns_link(other.bridge)
    assert not one.owns_namespace(other.namespace("pi4"))


def test_every_link_of_a_lab_is_its_own_and_short_enough_for_the_kernel() -> None:
    names = LabNames.of(Path("/any"))
    links = [names.bridge, *(names.link(number) for number in range(2, 255))]
    assert all(names.owns_link(link) for link in links)
    assert max(len(link) for link in links) == 11


def test_a_second_board_of_a_kind_is_counted() -> None:
    assert board_names("pi4", 2, frozenset()) == ["pi4", "pi4-2"]


def test_names_that_are_taken_are_left_out() -> None:
    assert board_names("pi4", 2, frozenset({"pi4", "pi4-3"})) == ["pi4-2", "pi4-4"]
