"""Measurement profiles: those that come along are sound, and a user's own is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiles.measurement import measurement_names, measurement_profile
from profiles.strict_toml import InvalidFile

GOOD = """
description = "mine"
repetitions = 2
warmup_min_s = 0.1
warmup_max_s = 1
min_iterations = 30
min_time_s = 0.3
median_ci_width = 0.02
max_iterations = 20_000
max_time_s = 2.0
"""


def mine(folder: Path, *changes: tuple[str, str]) -> str:
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def faults(place: str) -> list[str]:
    with pytest.raises(InvalidFile) as error:
        measurement_profile(place)
    return [fault.partition(": ")[2] for fault in error.value.faults]


@pytest.mark.parametrize("name", measurement_names())
def test_what_comes_along_can_be_used(name: str) -> None:
    assert measurement_profile(name).description


def test_quick_standard_and_mlperf_like_come_along() -> None:
    assert measurement_names() == ("mlperf-like", "quick", "standard")


def test_a_file_of_ones_own_is_taken(tmp_path: Path) -> None:
    profile = measurement_profile(mine(tmp_path))
    assert (profile.repetitions, profile.warmup_max_s, profile.max_iterations) == (2, 1.0, 20_000)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        InvalidFile, match="no measurement profile 'qick'; known: mlperf-like, quick, standard"
    ):
        measurement_profile("qick")


def test_all_wrong_numbers_are_told_at_once(tmp_path: Path) -> None:
    place = mine(
        tmp_path,
        ("repetitions = 2", "repetitions = 0"),
        ("warmup_min_s = 0.1", "warmup_min_s = 3"),
        ("median_ci_width = 0.02", "median_ci_width = 2"),
    )
    assert faults(place) == [
        "repetitions: 0 has to be at least 1",
        "warmup_min_s: 3.0 is more than warmup_max_s = 1.0",
        "median_ci_width: 2.0 is not a share between 0 and 1",
    ]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_time_that_never_comes_is_refused(tmp_path: Path, number: str) -> None:
    place = mine(tmp_path, ("max_time_s = 2.0", f"max_time_s = {number}"))
    assert f"max_time_s: {number} is not a finite number" in faults(place)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("repetitions = 2", "repetitions = 2.0", "repetitions: 2.0 is not an integer"),
        ("repetitions = 2", "repetitions = true", "repetitions: True is not an integer"),
        ("max_time_s = 2.0", 'max_time_s = "2"', "max_time_s: '2' is not a number"),
        ("min_time_s = 0.3\n", "", "min_time_s: is missing"),
    ],
)
def test_a_value_of_another_type_is_named(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert faults(mine(tmp_path, (old, new))) == [fault]
