"""A run's lease of a board, on this side: taken before the first case, renewed, given back at the end."""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from device_agents.protocol import LeaseReply
from harness.errors import BoardBusy, DeviceError
from harness.link.device_session import DeviceSession
from reports.plain_text import plain
from reports.units import moment

#: A third of the time that a lease outlives the last sign of its run (LEASE_S of the agent's leases.py).
RENEW_S = 40.0

#: Told who has the board that one waits for, and since when (unix seconds).
OnWaiting = Callable[[str, float], None]


class Stopped(Exception):
    """The wait for a board was given up because the user wants to stop."""


def holder_words(what: str) -> str:
    """Whose lease it is, for whoever finds the board taken: alice@laptop (run 20261121-220000-abcd1234)."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} ({what})"


class BoardLease:
    """One board for one run. The session has to name the lease (DeviceSession's `lease`)."""

    def __init__(
        self,
        session: DeviceSession,
        words: str,
        wait_s: float,
        on_waiting: OnWaiting = lambda _holder, _since: None,
        stopping: Callable[[], bool] = lambda: False,
        held: bool = False,
        is_gone: Callable[[str], bool] = lambda _lease: False,
    ) -> None:
        self._session = session
        self._words = words
        self._wait_s = self._left_s = wait_s
        self._on_waiting = on_waiting
        self._stopping = stopping
        self._held = held
        self._is_gone = is_gone

    def take(self) -> None:
        """Wait for the board unless it is held; raises BoardBusy, LinkError or Stopped.

        A wait that was in vain is not repeated for the next case: that one only asks.
        """
        while not self._held:
            self._ask_once()

    def _ask_once(self) -> None:
        """Ask until the board is given or refused; also refused for a run that is no more and now gone."""
        for reply in self._session.take_lease(self._words, self._left_s):
            if reply is not None and reply.state == "granted":
                self._held, self._left_s = True, self._wait_s
                return
            if self._stopping():
                raise Stopped
            if reply is None or self._freed(reply):
                continue
            if reply.state == "refused":
                self._left_s = 0.0
                raise board_busy(self._session.device, reply)
            self._on_waiting(plain(reply.holder or "another run", 200), _since(reply))

    def _freed(self, reply: LeaseReply) -> bool:
        """Whether the board was had by a run of this computer whose process is gone, and is free by now."""
        if reply.lease is None or not self._is_gone(reply.lease):
            return False
        with suppress(DeviceError):
            return self._session.evict(reply.lease).state != "running"
        return False

    def lost(self) -> None:
        """Another run may have it by now, as after a night's sleep of this computer."""
        self._held = False

    def release(self) -> None:
        """Give it back; where the board cannot be told, it finds out by itself."""
        if self._held:
            self._held = False
            with suppress(DeviceError):
                self._session.release_lease()


def claim(session: DeviceSession, words: str) -> bool:
    """Take a board that is free this very moment; False if somebody else was quicker."""
    try:
        BoardLease(session, words, wait_s=0.0).take()
    except BoardBusy:
        return False
    return True


def board_busy(device: str, reply: LeaseReply) -> BoardBusy:
    """The error of a board that somebody else has."""
    holder = plain(reply.holder or "another run", 200)
    return BoardBusy(
        f"{device}: held by {holder} since {moment(_since(reply))}",
        f"give --wait SECONDS to wait longer; if that run is no more: bench device release {device}",
    )


@contextmanager
def kept(open_sessions: Mapping[str, Callable[[], DeviceSession]]) -> Iterator[Callable[[str], None]]:
    """Renew leases that are held already, on connections of their own, while something else is done.

    Nobody measures on these boards meanwhile. Yields what ends that for one board.
    """
    ends = {device: threading.Event() for device in open_sessions}
    for device, open_session in open_sessions.items():
        arguments = (open_session, ends[device])
        threading.Thread(target=_keep, args=arguments, name=f"{device} lease", daemon=True).start()

    def end(device: str) -> None:
        if device in ends:
            ends[device].set()

    try:
        yield end
    finally:
        for event in ends.values():
            event.set()


def _keep(open_session: Callable[[], DeviceSession], ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        session = open_session()
        try:
            session.renew_lease()
        except DeviceError:
            pass  # the next try may do better; if none does, the run has to wait for its board again
        finally:
            session.close()


def _since(reply: LeaseReply) -> float:
    """By this computer's clock: boards without a battery start in 1970."""
    return time.time() - max(0.0, reply.held_s or 0.0)
