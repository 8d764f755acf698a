"""What is done often, but not too often."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.commands.paced import Paced


class Moments:
    """A clock that stands, and what is to be done later."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.done: list[float] = []

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, work))

    def pass_to(self, moment: float) -> None:
        while self.due and self.due[0][0] <= moment:
            self.now, work = self.due.pop(0)
            work()
        self.now = moment


@pytest.fixture
def moments() -> Moments:
    return Moments()


@pytest.fixture
def paced(moments: Moments) -> Paced:
    return Paced(lambda: moments.done.append(moments.now), 0.5, lambda: moments.now, moments.later)


def test_what_is_asked_for_seldom_is_done_at_once(moments: Moments, paced: Paced) -> None:
    paced.ask()
    moments.pass_to(100.5)
    paced.ask()
    assert (moments.done, moments.due) == ([100.0, 100.5], [])


def test_what_is_asked_for_often_is_done_once_more_when_the_pause_is_over(
    moments: Moments, paced: Paced
) -> None:
    for _ in range(50):
        paced.ask()
    moments.pass_to(110.0)
    assert moments.done == [100.0, 100.5]


def test_pauses_are_kept_however_long_it_is_asked_for(moments: Moments, paced: Paced) -> None:
    for step in range(1, 17):
        paced.ask()
        moments.pass_to(100.0 + step * 0.125)
    moments.pass_to(110.0)
    assert moments.done == [100.0, 100.5, 101.0, 101.5, 102.0]
