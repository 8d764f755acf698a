"""The link that breaks where it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.faults.link_proxy import Bytes, Kind, LinkProxy, Strike


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=_send_back, args=(peer,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _send_back(peer: socket.socket) -> None:
    with peer:
        try:
            while data := peer.recv(65536):
                peer.sendall(data)
        except OSError:
            return


@pytest.fixture
def link(echo: int) -> Iterator[LinkProxy]:
    with LinkProxy("127.0.0.1", echo) as proxy:
        yield proxy


def connected(link: LinkProxy) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", link.port), timeout=10)
    client.settimeout(10)
    return client


def received(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := client.recv(size - len(data))):
        data += piece
    return data


def test_an_untouched_link_passes_on_every_byte_and_counts_them(link: LinkProxy) -> None:
    with connected(link) as client:
        threading.Thread(target=client.sendall, args=(bytes(3 << 20),)).start()
        assert received(client, 3 << 20) == bytes(3 << 20)
    assert link.passed == {"up": 3 << 20, "down": 3 << 20}
    assert link.connections == 1


def test_an_orderly_end_comes_after_exactly_the_drawn_byte(link: LinkProxy) -> None:
    link.strikes = [Strike("fin", Bytes("down", 1000))]
    with connected(link) as client:
        client.sendall(bytes(5000))
        assert len(received(client, 5000)) == 1000
    assert link.strikes == []


def test_a_reset_is_one(link: LinkProxy) -> None:
    link.strikes = [Strike("rst", Bytes("up", 10))]
    with connected(link) as client, pytest.raises(ConnectionResetError):
        client.sendall(bytes(20))
        received(client, 20)
    assert link.passed["up"] == 10


def test_offsets_count_over_all_connections(link: LinkProxy) -> None:
    link.strikes = [Strike("fin", Bytes("up", 150))]
    with connected(link) as client:
        client.sendall(bytes(100))
        assert len(received(client, 100)) == 100
    with connected(link) as client:
        client.sendall(bytes(100))
        assert len(received(client, 100)) <= 50
    assert link.passed["up"] == 150


def test_a_refusing_link_takes_connections_again_after_its_time(link: LinkProxy) -> None:
    with connected(link) as client:
        client.sendall(b"x")
        assert received(client, 1) == b"x"
        assert link.strike(Strike("refuse", seconds=0.05))
        with pytest.raises(ConnectionRefusedError):
            connected(link)
    for _ in range(1000):
        try:
            again = connected(link)
            break
        except ConnectionRefusedError:
            threading.Event().wait(0.01)
    with again:
        again.sendall(b"y")
        assert received(again, 1) == b"y"


def test_a_stall_loses_nothing(link: LinkProxy) -> None:
    link.strikes = [Strike("stall", Bytes("up", 3), seconds=0.05)]
    with connected(link) as client:
        client.sendall(b"abcdef")
        assert received(client, 6) == b"abcdef"


@pytest.mark.parametrize("kind", ["silent"])
def test_a_silent_link_swallows_everything_and_stays_open(link: LinkProxy, kind: Kind) -> None:
    with connected(link) as client:
        client.sendall(b"abc")
        assert received(client, 3) == b"abc"
        link.strike(Strike(kind))
        client.sendall(bytes(4 << 20))
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
    with connected(link) as client:
        client.sendall(b"other connections work")
        assert received(client, 22) == b"other connections work"
