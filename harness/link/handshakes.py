"""How many SSH connections are begun at once, so that neither side falls over when 200 boards are opened.

Connecting to a dead board only waits, and is not counted. What is counted is work: key exchange and login.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

#: Here: more threads that compute at once gain nothing, and their time limits run meanwhile.
IN_ALL = 16

#: At one server, a jump host say: sshd drops some of those who come while 10 are not logged in yet
#: (MaxStartups 10:30:100), and it hears of a login a little later than we do.
PER_SERVER = 6


class Handshakes:
    """Places for connections that are being made; who finds none waits for one."""

    def __init__(self, in_all: int = IN_ALL, per_server: int = PER_SERVER) -> None:
        self._places = threading.BoundedSemaphore(in_all)
        self._servers: defaultdict[tuple[str, int], threading.BoundedSemaphore] = defaultdict(
            lambda: threading.BoundedSemaphore(per_server)
        )
        self._lock = threading.Lock()

    @contextmanager
    def at(self, host: str, port: int) -> Iterator[None]:
        """From before the TCP connection to a server until the login there."""
        with self._lock:
            places = self._servers[host, port]
        with places:
            yield

    @contextmanager
    def computing(self) -> Iterator[None]:
        """From the key exchange to the login; inside `at`, never around it."""
        with self._places:
            yield


#: Those of this process.
HANDSHAKES = Handshakes()
