"""A connection that breaks at the worst moment ends; paramiko's thread does not fall over it."""

from __future__ import annotations

import socket
import threading

import paramiko
import pytest

from harness.link import ssh_connection


def test_a_channel_that_is_being_opened_when_the_link_breaks_hurts_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fallen: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda what: fallen.append(str(what.exc_value)))
    ours, theirs = socket.socketpair()
    transport = ssh_connection._SignalAwareTransport(ours)
    opening, opened = paramiko.Channel(1), paramiko.Channel(2)
    opened._set_transport(transport)  # type: ignore[attr-defined]
    for channel in (opening, opened):
        transport._channels.put(channel.chanid, channel)  # type: ignore[attr-defined]
    theirs.close()
    with pytest.raises((paramiko.SSHException, EOFError)):
        transport.start_client(timeout=10)
    transport.join(10)
    assert fallen == []
    assert (transport.is_alive(), transport.is_active()) == (False, False)
    assert (opening.closed, opened.closed) == (True, True)
    assert ours.fileno() == -1
