"""The kinds of virtual boards, against what the profiles and the captured boards say."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.lab.boards.kinds import Kind, chosen_kinds, kinds
from profiles.devices import device_profile

CAPTURES = Path(__file__).parents[1] / "captures"


def test_there_are_four_raspberries_and_a_nano() -> None:
    assert list(kinds()) == ["pi3", "zero2w", "pi4", "pi5", "nano"]


@pytest.mark.parametrize("kind", kinds().values(), ids=list(kinds()))
def test_a_kind_has_the_device_tree_and_memory_of_the_captured_board(kind: Kind) -> None:
    captured = CAPTURES / kind.profile / "proc"
    assert (captured / "device-tree/model").read_text() == kind.model + "\0"
    assert (captured / "device-tree/compatible").read_text() == "\0".join(kind.compatible) + "\0"
    assert (captured / "meminfo").read_text().split()[:2] == ["MemTotal:", str(kind.memory_kib)]


@pytest.mark.parametrize("kind", kinds().values(), ids=list(kinds()))
def test_the_profile_of_a_kind_knows_its_device_tree(kind: Kind) -> None:
    assert set(device_profile(kind.profile).compatible) & set(kind.compatible)


def test_only_the_nano_has_the_processor_of_its_host() -> None:
    assert {kind.name for kind in kinds().values() if kind.cpu is None} == {"nano"}


def test_an_unknown_kind_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no virtual board 'pi44'; did you mean 'pi4'") as caught:
        chosen_kinds(["pi5", "pi44"])
    assert caught.value.remedy == "bench lab up KIND[,KIND..], of pi3, zero2w, pi4, pi5, nano"
