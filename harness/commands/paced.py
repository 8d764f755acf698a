"""Doing something often, but not too often: now, or once for all who asked when a pause is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Calls a function once that many seconds have passed.
Later = Callable[[float, Callable[[], None]], None]


class Paced:
    """An action with at least `pause_s` between two of its beginnings. Safe to use from several threads."""

    def __init__(
        self,
        action: Callable[[], None],
        pause_s: float,
        clock: Callable[[], float] = time.monotonic,
        later: Later | None = None,
    ) -> None:
        self._action = action
        self._pause_s = pause_s
        self._clock = clock
        self._later = later or _on_a_timer
        self._lock = threading.Lock()
        self._last = float("-inf")
        self._is_due = False

    def ask(self) -> None:
        """Do it at once if it was not done just now; else see that it is done after the pause."""
        with self._lock:
            if self._is_due:
                return
            rest_s = self._last + self._pause_s - self._clock()
            self._is_due = rest_s > 0
            if not self._is_due:
                self._last = self._clock()
        if rest_s > 0:
            self._later(rest_s, self._due)
        else:
            self._action()

    def _due(self) -> None:
        with self._lock:
            self._is_due = False
            self._last = self._clock()
        self._action()


def _on_a_timer(seconds: float, work: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()
