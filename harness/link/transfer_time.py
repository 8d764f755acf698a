"""How long a file may be under way: a board that gives or takes a byte a minute never falls silent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import LinkTimeout

#: For starting, whatever the file's size, seconds.
BASE_S = 300.0

#: Slower than any link over which a run makes sense: a model of 10 MB would take twenty minutes.
SLOWEST_BYTES_PER_S = 8192.0


class TransferTime:
    """Time for one file of `size` bytes; only what is `spent` counts, not the pauses of a broken link."""

    def __init__(self, device: str, what: str, size: int) -> None:
        self._device = device
        self._what = what
        self._limit_s = BASE_S + size / SLOWEST_BYTES_PER_S
        self._spent_s = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of it."""
        return self._spent_s > self._limit_s

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Count the time of the block; raises LinkTimeout after it once there was too much."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent_s += time.monotonic() - began
        if self.is_over:
            raise LinkTimeout(
                f"{self._device}: {self._what} was not complete after {self._limit_s:.0f} s of transfer",
                f"the link carries less than {SLOWEST_BYTES_PER_S / 1024:.0f} KiB/s, or the board stalls it",
            )
