"""Waiting for a board to cool: until it is cool, or no longer gets cooler."""

from __future__ import annotations

from collections.abc import Sequence

from device_agents.boards.board import Board, BoardSample
from device_agents.boards.host import host_at
from device_agents.cooling import Cooling

FOREVER = 1e9


class Warm(Board):
    """A board whose temperature at each second is known; the last one stays."""

    def __init__(self, degrees: Sequence[float | None]) -> None:
        super().__init__(host_at("/nowhere"))
        self.degrees = list(degrees)
        self.now_s = 0.0

    def sample(self, thorough: bool) -> BoardSample:
        return BoardSample(temperature_c=self.degrees[min(int(self.now_s), len(self.degrees) - 1)])

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def cooling(board: Warm, limit_c: float | None = 50.0, patience_s: float = 120.0) -> Cooling:
    return Cooling(board, limit_c, patience_s, board.sleep, lambda: board.now_s)


def test_a_cool_board_is_not_waited_for() -> None:
    board = Warm([49.5])
    assert cooling(board).wait(FOREVER) is None
    assert board.now_s == 0


def test_a_board_is_waited_for_until_it_is_cool() -> None:
    board = Warm([56.0, 54.0, 52.0, 50.0])
    told = cooling(board).wait(FOREVER)
    assert told is not None
    assert (told.seconds, told.temperature_c, told.reached) == (3.0, 50.0, True)


def test_a_board_that_no_longer_cools_is_given_up_after_a_quarter_of_a_minute_and_once() -> None:
    board = Warm([56.0, 53.0, 52.9])
    patience = cooling(board)
    told = patience.wait(FOREVER)
    assert told is not None
    assert (told.seconds, told.temperature_c, told.reached) == (16.0, 52.9, False)
    assert patience.wait(FOREVER) is None  # it will be no cooler for the next repetition


def test_a_board_that_the_job_heated_up_is_waited_for_again() -> None:
    board = Warm([53.0])
    patience = cooling(board)
    assert patience.wait(FOREVER) is not None
    board.degrees = [*[60.0] * (int(board.now_s) + 1), 55.0]
    told = patience.wait(FOREVER)
    assert told is not None
    assert told.reached


def test_patience_is_for_the_whole_job() -> None:
    board = Warm([90.0 - seconds for seconds in range(35)])
    patience = cooling(board, patience_s=10.0)
    first = patience.wait(FOREVER)
    assert first is not None
    assert (first.seconds, first.reached) == (10.0, False)
    assert patience.wait(FOREVER) is None


def test_the_jobs_deadline_ends_the_wait() -> None:
    board = Warm([90.0 - seconds for seconds in range(35)])
    told = cooling(board).wait(4.0)
    assert told is not None
    assert told.seconds == 4.0


def test_a_board_without_a_sensor_or_a_limit_is_not_waited_for() -> None:
    assert cooling(Warm([None])).wait(FOREVER) is None
    assert cooling(Warm([90.0]), limit_c=None).wait(FOREVER) is None
