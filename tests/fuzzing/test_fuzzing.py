"""A short, always equal part of benchmarks/fuzz.py."""

from __future__ import annotations

import tracemalloc

import pytest

from device_agents.protocol import MAX_LINE_BYTES
from tests.fuzzing.material import Material, real_material
from tests.fuzzing.targets import generator_of, long_lines, one_conversation, one_journal

pytestmark = [
    pytest.mark.processes,
    # numpy's words on what a board's figures overflow
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

SEED = 20261121


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """What a real agent says."""
    folder = tmp_path_factory.mktemp("fuzzing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        return real_material(folder)


def test_damaged_lines_end_in_designed_errors_only(material: Material) -> None:
    faults = sum(
        one_conversation(generator_of(SEED, "lines", number), material, number % 150 == 0)
        for number in range(700)
    )
    assert faults > 1000


def test_a_damaged_journal_is_followed_to_an_end_or_refused(material: Material) -> None:
    assert sum(one_journal(generator_of(SEED, "journals", number), material) for number in range(400)) == 400


def test_a_gigabyte_without_a_newline_is_not_held() -> None:
    tracemalloc.start()
    try:
        long_lines([MAX_LINE_BYTES, 10 << 20, 1 << 30])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # An answer may be four MiB, in pieces and as a whole.
    assert peak < 16 << 20
