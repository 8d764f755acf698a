"""A run's lease on the controller's side: what is kept while something else is done."""

from __future__ import annotations

import functools
import threading
from typing import cast

import pytest

from harness import board_lease
from harness.board_lease import holder_words, kept
from harness.errors import LinkLost
from harness.link.device_session import DeviceSession


class Session:
    """A connection on which a lease is renewed; the first one breaks."""

    def __init__(self, renewed: threading.Semaphore, breaks: bool) -> None:
        self._renewed = renewed
        self._breaks = breaks
        self.closed = False

    def renew_lease(self) -> None:
        if self._breaks:
            raise LinkLost("gone")
        self._renewed.release()

    def close(self) -> None:
        self.closed = True


def test_leases_are_renewed_on_connections_of_their_own_until_that_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(board_lease, "RENEW_S", 0.002)
    renewed = {name: threading.Semaphore(0) for name in ("a", "b")}
    opened: dict[str, list[Session]] = {"a": [], "b": []}

    def opener(name: str) -> DeviceSession:
        opened[name].append(Session(renewed[name], breaks=not opened[name]))
        return cast("DeviceSession", opened[name][-1])

    with kept({name: functools.partial(opener, name) for name in renewed}) as end:
        for name in renewed:
            assert renewed[name].acquire(timeout=10)
            assert renewed[name].acquire(timeout=10)
        end("a")
        end("a board that nobody claimed")
    for thread in threading.enumerate():
        if thread.name in ("a lease", "b lease"):
            thread.join(10)
    assert all(session.closed for sessions in opened.values() for session in sessions)
    assert all(len(sessions) >= 3 for sessions in opened.values())


def test_a_holder_is_a_person_on_a_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    assert holder_words("run 20261121-220000-abcd") == "alice@laptop (run 20261121-220000-abcd)"


def test_an_account_without_a_name_goes_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("socket.gethostname", lambda: "container")
    monkeypatch.setattr("os.getuid", lambda: 4711)
    assert holder_words("run x") == "4711@container (run x)"
