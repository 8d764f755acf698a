"""Letting a hot board cool before a repetition, as long as it does cool."""

import time
from typing import Callable, Optional

from device_agents.boards.board import Board
from device_agents.protocol import CooledDown

#: How often a board that is too hot is looked at.
POLL_S = 1.0

#: A board that fell by less than this in so long is as cool as it gets in this room; sensors step by half a
#: degree and more.
STALL_S = 15.0
STALL_C = 0.5

#: Above the temperature at which waiting was no use, waiting is tried again.
WARMER_C = 3.0


class Cooling:
    """The patience of one job: `limit_c` is what a repetition may start at, `patience_s` is for them all."""

    def __init__(
        self,
        board: Board,
        limit_c: Optional[float],
        patience_s: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._limit_c = limit_c
        self._left_s = patience_s
        self._sleep = sleep
        self._clock = clock

    def wait(self, deadline: float) -> Optional[CooledDown]:
        """Wait until it is cool, no longer cools, or patience or the deadline end; None if it was cool."""
        found = self._temperature_c()
        limit_c = self._limit_c
        if limit_c is None or found is None or found <= limit_c or self._left_s <= 0:
            return None
        began = self._clock()
        give_up = min(began + self._left_s, deadline)
        lowest, fell_at = found, began
        while found is not None and found > limit_c and self._clock() < give_up:
            if self._clock() - fell_at >= STALL_S:
                # It will be no cooler for the next repetition, either.
                self._limit_c = lowest + WARMER_C
                break
            self._sleep(POLL_S)
            found = self._temperature_c()
            if found is not None and found <= lowest - STALL_C:
                lowest, fell_at = found, self._clock()
        waited = self._clock() - began
        self._left_s -= waited
        return CooledDown(time.time(), waited, found, found is not None and found <= limit_c)

    def _temperature_c(self) -> Optional[float]:
        return self._board.sample(thorough=False).temperature_c
