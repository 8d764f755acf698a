"""Doing together what many threads ask for at the same moment, where doing it has a price of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class _Entry(Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item
        self.done = False
        self.error: Exception | None = None


class Batches(Generic[T]):
    """`do` returns once its item is done. Items that come while others are being done share the next turn.

    `work` gets one or more items and does all or none of them; it may be asked for the same item twice.
    """

    def __init__(self, work: Callable[[Sequence[T]], None]) -> None:
        self._work = work
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._entries: list[_Entry[T]] = []

    @property
    def waiting(self) -> int:
        """How many items were handed in and are not done."""
        with self._lock:
            return len(self._entries)

    def do(self, item: T) -> None:
        """Have `item` done, by this thread or by one that does others as well; raises what `work` raised."""
        entry = _Entry(item)
        with self._lock:
            self._entries.append(entry)
        with self._turn:
            if not entry.done:
                # They stay in the list until they are done: whoever is interrupted here lets nobody down.
                with self._lock:
                    batch = list(self._entries)
                self._do_together(batch)
        if entry.error is not None:
            raise entry.error

    def _do_together(self, batch: Sequence[_Entry[T]]) -> None:
        try:
            self._work([entry.item for entry in batch])
        except Exception as error:  # noqa: BLE001 - it is told to whoever asked, and to nobody else
            if len(batch) > 1:
                for entry in batch:
                    self._do_together([entry])
                return
            batch[0].error = error
        for entry in batch:
            entry.done = True
        with self._lock:
            self._entries = [entry for entry in self._entries if not entry.done]
