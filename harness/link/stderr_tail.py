"""The last of what a command wrote to standard error, kept for messages however much it writes."""

from __future__ import annotations

import threading

from harness.link.transport import STDERR_LIMIT_BYTES


class StderrTail:
    """Filled by the thread that drains a command's standard error, read by any other."""

    def __init__(self, limit: int = STDERR_LIMIT_BYTES) -> None:
        self._limit = limit
        self._data = bytearray()
        self._lock = threading.Lock()

    def add(self, data: bytes) -> None:
        """Append `data`, forgetting the oldest bytes beyond the limit."""
        with self._lock:
            self._data += data
            del self._data[: -self._limit]

    def text(self) -> str:
        """What is kept, as text; a character cut in half at its start shows as a replacement mark."""
        with self._lock:
            return bytes(self._data).decode("utf-8", "replace")
