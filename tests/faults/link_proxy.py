"""A TCP link that breaks where it is told to: forwards to a server and counts every byte of both directions.

    with LinkProxy("127.0.0.1", 22) as link:
        link.strikes = [Strike("rst", after=Bytes("up", 70_000))]
        ssh.connect("127.0.0.1", link.port)

Bytes up to the drawn one are passed on, those after it are not, so a cut falls into the midst of a packet.
Needs no pytest, so that benchmarks use it too.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

HOST = "127.0.0.1"

Direction = Literal["up", "down"]

#: What a strike does. `fin`: both sides are closed, as by an orderly end. `rst`: both are reset. `refuse`:
#: reset, and no connection is taken for a while. `stall`: nothing moves for a while, nothing is lost.
#: `silent`: every byte is swallowed from now on and both sides believe to be connected, as behind a router
#: that forgot.
Kind = Literal["fin", "rst", "refuse", "stall", "silent"]

#: Linger of no time: close() resets the connection instead of ending it.
_RESET = struct.pack("ii", 1, 0)
_PIECE_BYTES = 65536
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Bytes:
    """Once so many bytes went in one direction, over all connections together."""

    direction: Direction
    count: int


@dataclass(frozen=True)
class Strike:
    """One fault. Without `after` it comes when `LinkProxy.strike` is called with it."""

    kind: Kind
    after: Bytes | None = None
    #: How long a `refuse` or a `stall` takes.
    seconds: float = 0.0


@dataclass
class _Way:
    """One direction of one connection."""

    direction: Direction
    source: socket.socket
    sink: socket.socket
    waiting: bytearray = field(default_factory=bytearray)
    ended: bool = False


@dataclass
class _Link:
    """One connection: the controller's side and the board's."""

    near: socket.socket
    far: socket.socket
    ways: tuple[_Way, _Way]
    silent: bool = False
    stalled_until: float = 0.0


class LinkProxy:
    """Listens on loopback and forwards to one server, on a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        #: Told of each strike just before it comes.
        self.told: Callable[[Strike], None] = lambda _strike: None
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._links: list[_Link] = []
        self._refuse_until = 0.0
        self._leaving = False
        self._wake, self._woken = socket.socketpair()
        self._listening: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="link proxy", daemon=True)
        self.port = 0
        #: Those to come; one that has struck is taken out.
        self.strikes: list[Strike] = []
        #: Bytes passed on so far.
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        #: Connections taken so far.
        self.connections = 0
        #: Bytes that the controller sent on the newest of them.
        self.newest_up = 0

    def __enter__(self) -> LinkProxy:
        """Listen."""
        self._listen()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up everything."""
        with self._lock:
            self._leaving = True
        self._wake.send(b"x")
        self._thread.join(10)
        for one in (self._wake, self._woken):
            one.close()
        self._selector.close()

    def start_over(self, strikes: list[Strike]) -> None:
        """Count from nothing again, with other strikes; connections that are still there are hung up."""
        with self._lock:
            self.hang_up()
            self.strikes = list(strikes)
            self.passed = {"up": 0, "down": 0}
            self.connections = 0
            self._refuse_until = 0.0

    def strike(self, strike: Strike) -> bool:
        """Do it now, if there is a connection that it can hit; whether there was one."""
        with self._lock:
            links = [link for link in self._links if not link.silent]
            if not links:
                return False
            self.told(strike)
            for link in links:
                self._hit(link, strike)
            self._refuse(strike)
            self._wake.send(b"x")
            return True

    def hang_up(self) -> None:
        """End every connection, silent ones too, as a router that restarts."""
        with self._lock:
            for link in list(self._links):
                self._drop(link, reset=True)

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            events = self._selector.select(0.05)
            with self._lock:
                if self._leaving:
                    self._stop_listening()
                    self.hang_up()
                    return
                if self._listening is None and time.monotonic() >= self._refuse_until:
                    self._listen()
                for key, mask in events:
                    self._handle(key, mask)
                for link in list(self._links):
                    self._arm(link)

    def _handle(self, key: selectors.SelectorKey, mask: int) -> None:
        if key.fileobj is self._woken:
            with suppress(BlockingIOError):
                self._woken.recv(4096)
        elif key.fileobj is self._listening:
            self._accept()
        elif isinstance(key.data, _Link) and key.data in self._links:
            self._move(key.data, key.fileobj, mask)

    def _accept(self) -> None:
        assert self._listening is not None
        try:
            near, _ = self._listening.accept()
        except BlockingIOError:
            return
        try:
            far = socket.create_connection(self._target, timeout=10)
        except OSError:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            near.close()
            return
        for one in (near, far):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1
        self.newest_up = 0
        self._links.append(_Link(near, far, (_Way("up", near, far), _Way("down", far, near))))

    def _move(self, link: _Link, ready: object, mask: int) -> None:
        for way in link.ways:
            if way.source is ready and mask & selectors.EVENT_READ and not way.ended:
                self._read(link, way)
            if link in self._links and way.sink is ready and mask & selectors.EVENT_WRITE:
                self._flush(link, way)

    def _read(self, link: _Link, way: _Way) -> None:
        try:
            data = way.source.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            way.ended = True
            if link.silent:
                self._forget_silent(link, way)
            elif not way.waiting:
                self._drop(link, reset=False)
            return
        if link.silent:
            return
        due = self._due(way.direction, len(data))
        passed = data if due is None else data[: max(0, due[1] - self.passed[way.direction])]
        way.waiting += passed
        self.passed[way.direction] += len(passed)
        if way.direction == "up":
            self.newest_up += len(passed)
        self._flush(link, way)
        if due is not None:
            self.strikes.remove(due[0])
            self.told(due[0])
            # What else there is of it comes after a stall; for the others it is lost.
            if link in self._links:
                if due[0].kind == "stall":
                    way.waiting += data[len(passed) :]
                    self.passed[way.direction] += len(data) - len(passed)
                self._hit(link, due[0])
            self._refuse(due[0])

    def _due(self, direction: Direction, size: int) -> tuple[Strike, int] | None:
        reached = self.passed[direction] + size
        found = [
            (strike, strike.after.count)
            for strike in self.strikes
            if strike.after and strike.after.direction == direction and strike.after.count <= reached
        ]
        return min(found, key=lambda pair: pair[1], default=None)

    def _flush(self, link: _Link, way: _Way) -> None:
        if time.monotonic() < link.stalled_until or link.silent:
            return
        try:
            while way.waiting:
                del way.waiting[: way.sink.send(way.waiting)]
        except BlockingIOError:
            return
        except OSError:
            self._drop(link, reset=True)
            return
        if way.ended:
            self._drop(link, reset=False)

    def _arm(self, link: _Link) -> None:
        """Watch what can move now."""
        stalled = time.monotonic() < link.stalled_until
        for one, reads, writes in ((link.near, link.ways[0], link.ways[1]), (link.far, *link.ways[::-1])):
            mask = 0
            if not reads.ended and not stalled and (link.silent or len(reads.waiting) < _BUFFER_BYTES):
                mask |= selectors.EVENT_READ
            if writes.waiting and not stalled and not link.silent:
                mask |= selectors.EVENT_WRITE
            self._watch(one, mask, link)

    def _watch(self, one: socket.socket, mask: int, link: _Link) -> None:
        known = self._selector.get_map().get(one.fileno())
        if known is None and mask:
            self._selector.register(one, mask, link)
        elif known is not None and not mask:
            self._selector.unregister(one)
        elif known is not None and known.events != mask:
            self._selector.modify(one, mask, link)

    # --- what breaks ------------------------------------------------------------------------------

    def _hit(self, link: _Link, strike: Strike) -> None:
        if strike.kind == "silent":
            link.silent = True
        elif strike.kind == "stall":
            link.stalled_until = time.monotonic() + strike.seconds
        else:
            self._drop(link, reset=strike.kind != "fin")

    def _refuse(self, strike: Strike) -> None:
        if strike.kind == "refuse":
            self._refuse_until = time.monotonic() + strike.seconds
            self._stop_listening()

    def _forget_silent(self, link: _Link, way: _Way) -> None:
        """One side has given up; the other is not told, unless it gives up too."""
        if all(each.ended for each in link.ways):
            self._drop(link, reset=True)
        elif way.source.fileno() >= 0 and self._selector.get_map().get(way.source.fileno()) is not None:
            self._selector.unregister(way.source)

    def _drop(self, link: _Link, *, reset: bool) -> None:
        if link not in self._links:
            return
        self._links.remove(link)
        for one in (link.near, link.far):
            if self._selector.get_map().get(one.fileno()) is not None:
                self._selector.unregister(one)
            if reset:
                with suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            one.close()

    def _listen(self) -> None:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, self.port))
        listening.listen(16)
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        self._listening = listening
        self._selector.register(listening, selectors.EVENT_READ)

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._selector.unregister(self._listening)
            self._listening.close()
            self._listening = None
