"""How many connections are begun at once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from harness.errors import Unreachable
from harness.link.handshakes import PER_SERVER, Handshakes
from harness.link.host_keys import HostTrust
from harness.link.ssh_address import SshAddress
from harness.link.ssh_connection import connect

Place = AbstractContextManager[None]


def most_at_once(places: list[Callable[[], Place]], expected: int) -> int:
    """How many of `places` are held together: each until `expected` are, and 5 ms more for one too many."""
    lock, reached, held, most = threading.Lock(), threading.Event(), 0, 0

    def hold(place: Callable[[], Place]) -> None:
        nonlocal held, most
        with place():
            with lock:
                held += 1
                most = max(most, held)
                if held == expected:
                    reached.set()
            reached.wait(10)
            time.sleep(0.005)
            with lock:
                held -= 1

    with ThreadPoolExecutor(len(places)) as boards:
        list(boards.map(hold, places))
    return most


def test_no_more_key_exchanges_than_there_are_places() -> None:
    handshakes = Handshakes(in_all=3)
    assert most_at_once([handshakes.computing] * 12, 3) == 3


def test_one_server_is_not_asked_by_more_than_it_takes() -> None:
    handshakes = Handshakes(per_server=2)
    assert most_at_once([lambda: handshakes.at("jump", 22)] * 8, 2) == 2


def test_boards_that_do_not_take_connections_keep_nobody_from_another() -> None:
    handshakes = Handshakes(in_all=1, per_server=1)
    with handshakes.at("dead", 22), handshakes.at("dead", 2222):
        places = [lambda: handshakes.at("pi", 22), handshakes.computing]
        assert most_at_once(places, 2) == 2


def test_boards_behind_one_server_come_to_it_a_few_at_a_time() -> None:
    """It accepts and says nothing, as a busy one does; then it hangs up and the next may come."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(9) as boards:
        address = SshAddress("127.0.0.1", server.getsockname()[1], "bench", HostTrust("jump", (), "pin it"))
        connecting = [boards.submit(connect, address, f"board-{number}") for number in range(9)]
        server.settimeout(10)
        first = [server.accept()[0] for _ in range(PER_SERVER)]
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
        server.settimeout(10)
        for connection in first:
            connection.close()
        for _ in range(9 - PER_SERVER):
            server.accept()[0].close()
        assert {type(each.exception(10)) for each in connecting} == {Unreachable}
