"""How many connections are begun at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from harness.link.handshakes import Handshakes
from harness.link.transport import run_command
from tests.link.conftest import Connect
from tests.openssh import OpenSshServer, missing

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


@pytest.mark.e2e
def test_more_boards_behind_one_server_than_it_lets_begin_at_once_all_get_in(connect: Connect) -> None:
    """It hangs up on the ninth who comes while eight are not logged in."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with OpenSshServer(options=("MaxStartups 8:100:8",)) as server:
        transports = [connect(server) for _ in range(20)]
        with ThreadPoolExecutor(20) as boards:
            done = list(boards.map(lambda transport: run_command(transport, ["true"]), transports))
    assert [each.status for each in done] == [0] * 20
