"""Keeps a converter off the network: what it asks for there is refused, and named.

Some converters fetch test images or look for newer versions of themselves. Whether that works must not
decide what an artifact looks like, so in a worker no Python code reaches beyond this computer.
"""

from __future__ import annotations

import sys
from typing import Any

#: AF_UNIX addresses are text or bytes; AF_INET ones are tuples.
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "", None)


class NetworkRefused(OSError):
    """A converter wanted to reach another computer."""


def refuse_network() -> None:
    """From here on this process looks up and connects to nothing but itself; cannot be taken back."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host not in _LOCAL_HOSTS:
        raise NetworkRefused(f"converting needs no network, but a converter tried to reach {host}")
