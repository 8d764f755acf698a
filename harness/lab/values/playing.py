"""Plays a script of values to a virtual board that runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import LabError
from harness.lab.values.board_values import BoardValues
from harness.lab.values.value_script import Step

#: How often a board is looked at while its script waits: one that is gone is not waited for.
_LOOK_S = 1.0


@dataclass(frozen=True)
class Player:
    """Steps in their time. Tests give another clock."""

    values: BoardValues
    tell: Callable[[str], None]
    #: Whether the board still runs.
    is_there: Callable[[], bool] = lambda: True
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def play(self, steps: Sequence[Step], *, loop: bool = False) -> None:
        """Return after the last step, with `loop` never; what it laid down stays. Raises LabError."""
        while True:
            began = self.clock()
            for step in steps:
                self._wait_until(began + step.at_s)
                for name, value in step.values.items():
                    self.values.set(name, value)
                words = ", ".join(f"{name} = {_word(value)}" for name, value in step.values.items())
                self.tell(f"{step.at_s:g} s: {words}")
            if not loop:
                return

    def _wait_until(self, moment: float) -> None:
        while True:
            if not self.is_there():
                raise LabError(f"{self.values.board} runs no more", "bench lab status")
            left = moment - self.clock()
            if left <= 0:
                return
            self.sleep(min(left, _LOOK_S))


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
