"""How many files a run may have open."""

from __future__ import annotations

import resource

import pytest

from harness.open_files import allow_open_files

UNLIMITED = resource.RLIM_INFINITY


class System:
    """A system with these limits, and perhaps one that it does not tell of."""

    def __init__(self, soft: int, hard: int, untold: int = 1 << 30) -> None:
        self.limits = (soft, hard)
        self.untold = untold

    def getrlimit(self, _which: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, _which: int, limits: tuple[int, int]) -> None:
        if limits[0] > self.untold:
            raise ValueError("current limit exceeds maximum limit")
        self.limits = limits


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> System:
    one = System(*request.param)
    monkeypatch.setattr(resource, "getrlimit", one.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", one.setrlimit)
    return one


@pytest.mark.parametrize("system", [(1024, 4096), (1024, UNLIMITED)], indirect=True)
def test_many_boards_get_as_many_as_they_need_and_no_more(system: System) -> None:
    hard = system.limits[1]
    assert allow_open_files(200) is None
    assert system.limits == (3456, hard)


@pytest.mark.parametrize("system", [(1024, 1 << 20), (UNLIMITED, UNLIMITED)], indirect=True)
def test_a_limit_that_is_enough_stays_as_it_is(system: System) -> None:
    before = system.limits
    assert allow_open_files(40) is None
    assert system.limits == before


@pytest.mark.parametrize(
    ("system", "allowed"), [((1024, 2048), 2048), ((1024, UNLIMITED, 1500), 1024)], indirect=["system"]
)
def test_a_limit_that_cannot_be_raised_enough_is_told_with_both_figures(system: System, allowed: int) -> None:
    assert allow_open_files(200) == (
        f"200 boards at once may need 3456 open files and this system allows {allowed}; "
        "measure fewer at a time, or raise the hard limit (`ulimit -Hn`)"
    )
    assert system.limits[0] == allowed
