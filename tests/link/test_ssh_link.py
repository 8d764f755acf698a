"""What happens when the way to a board breaks, hangs or is refused, over a real sshd."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from pathlib import Path

import pytest

from harness.errors import LinkError, LinkLost, LinkTimeout, Unreachable
from harness.link.transport import run_command
from tests.faults.link_proxy import Bytes, LinkProxy, Strike
from tests.link.conftest import Connect
from tests.openssh import OpenSshServer, free_port

pytestmark = pytest.mark.e2e


def test_a_connection_is_made_once_and_used_for_many_commands(sshd: OpenSshServer, connect: Connect) -> None:
    transport = connect(sshd)
    before = sshd.log().count("Accepted publickey")
    for _ in range(12):  # more than MaxSessions, one after the other
        assert run_command(transport, ["true"]).status == 0
    assert sshd.log().count("Accepted publickey") == before + 1


def test_a_session_killed_while_reading_is_a_lost_link(sshd: OpenSshServer, connect: Connect) -> None:
    channel = connect(sshd).start(["sh", "-c", "echo up; sleep 30"])
    assert channel.read(10, 5) == b"up\n"
    threading.Timer(0.1, sshd.cut_sessions).start()
    with pytest.raises(LinkLost, match="the connection broke"):
        channel.read(10, 10)
    with pytest.raises(LinkLost):
        channel.wait(5)
    with pytest.raises(LinkLost):
        channel.write(b"x", 5)
    channel.finish_input()
    channel.close()


def test_a_session_killed_while_writing_is_a_lost_link(sshd: OpenSshServer, connect: Connect) -> None:
    channel = connect(sshd).start(["sleep", "30"])
    threading.Timer(0.1, sshd.cut_sessions).start()
    with pytest.raises(LinkLost, match="the connection broke"):
        channel.write(bytes(64 << 20), 10)


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_silence_is_measured_whatever_the_wall_clock_of_this_computer_does(
    sshd: OpenSshServer, connect: Connect, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    channel = connect(sshd).start(["sh", "-c", "sleep 0.3; echo here; sleep 30"])
    now = time.time
    jumps = itertools.count()
    monkeypatch.setattr(time, "time", lambda: now() + jump_s * next(jumps))
    assert channel.read(100, 10) == b"here\n"
    with pytest.raises(LinkTimeout, match=r"said nothing for 0\.2 s"):
        channel.read(100, 0.2)


def test_output_that_came_before_the_cut_can_still_be_read(sshd: OpenSshServer, connect: Connect) -> None:
    transport = connect(sshd)
    channel = transport.start(["sh", "-c", "head -c 100000 /dev/zero; sleep 30"])
    other = transport.start(["sleep", "30"])
    assert channel.read(1, 5) == b"\0"
    time.sleep(0.2)
    sshd.cut_sessions()
    with pytest.raises(LinkLost):
        other.read(1, 5)
    size = 1
    with pytest.raises(LinkLost):
        while True:
            size += len(channel.read(65536, 5))
    assert size == 100_000


def test_after_a_cut_the_next_command_connects_again(sshd: OpenSshServer, connect: Connect) -> None:
    transport = connect(sshd)
    assert run_command(transport, ["echo", "one"]).stdout == b"one\n"
    sshd.cut_sessions()
    assert run_command(transport, ["echo", "two"]).stdout == b"two\n"
    sshd.restart()
    assert run_command(transport, ["echo", "three"]).stdout == b"three\n"


def test_a_frozen_board_is_noticed_and_left_behind(
    sshd: OpenSshServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.link.ssh._REUSE_TIMEOUT_S", 0.5)
    transport = connect(sshd)
    channel = transport.start(["cat"])
    sshd.freeze_sessions()
    with pytest.raises(LinkTimeout, match="said nothing"):
        channel.read(1, 0.2)
    with pytest.raises(LinkTimeout, match=r"took no (input|data)"):
        channel.write(bytes(64 << 20), 0.3)
    started = time.monotonic()
    # The old connection answers nothing; its sessions are hung up and a new one is made.
    assert run_command(transport, ["echo", "new"]).stdout == b"new\n"
    assert time.monotonic() - started < 3


def test_a_link_that_breaks_anywhere_before_the_first_command_is_a_link_error(
    sshd: OpenSshServer, connect: Connect
) -> None:
    """Never a key that was not accepted: trying that again would be no use."""
    with LinkProxy(sshd.host, sshd.port) as link:
        connect(sshd, port=link.port).start(["true"])
        whole = link.passed["up"]
        for sent in range(100, whole - 150, 80):
            link.start_over([Strike("fin", Bytes("up", sent))])
            with pytest.raises(LinkError):
                connect(sshd, port=link.port).start(["true"])
            assert link.strikes == []


def test_no_server_is_unreachable(sshd: OpenSshServer, connect: Connect) -> None:
    transport = connect(sshd, port=free_port())
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1 port \d+: Connection refused") as raised:
        transport.start(["true"])
    assert raised.value.remedy is not None
    assert raised.value.exit_code == 3


def test_an_unknown_host_name_is_unreachable(sshd: OpenSshServer, connect: Connect) -> None:
    with pytest.raises(Unreachable, match=r"'no-such-host\.invalid' cannot be resolved"):
        connect(sshd, host="no-such-host.invalid").start(["true"])


def test_a_port_that_says_nothing_is_unreachable_within_the_deadline(
    sshd: OpenSshServer, connect: Connect
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = connect(sshd, port=silent.getsockname()[1], connect_timeout_s=0.5)
        started = time.monotonic()
        with pytest.raises(Unreachable, match="does not talk SSH"):
            transport.start(["true"])
        assert time.monotonic() - started < 3


def test_a_port_that_talks_something_else_is_unreachable(sshd: OpenSshServer, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            peer, _ = other.accept()
            with peer:
                peer.sendall(b"220 mail ready\r\n" * 200)

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(Unreachable, match="does not talk SSH"):
            connect(sshd, port=other.getsockname()[1]).start(["true"])


def test_a_server_without_a_session_to_spare_says_so(sshd: OpenSshServer, connect: Connect) -> None:
    sshd.restart("MaxSessions 1")
    transport = connect(sshd)
    first = transport.start(["sleep", "30"])
    with pytest.raises(Unreachable, match="refuses another session") as raised:
        transport.start(["true"])
    assert raised.value.remedy is not None
    assert "MaxSessions" in raised.value.remedy
    first.close()


def test_nothing_but_a_shell_is_needed(sshd: OpenSshServer, connect: Connect) -> None:
    sshd.restart("MaxSessions 10", "AllowTcpForwarding no", "PermitTTY no", "DisableForwarding yes")
    assert run_command(connect(sshd), ["sh", "-c", "cat"], stdin=b"through").stdout == b"through"


def test_two_boards_are_used_from_two_threads(sshd: OpenSshServer, connect: Connect) -> None:
    results: list[bytes] = []

    def work(word: str) -> None:
        transport = connect(sshd)
        for _ in range(5):
            results.append(run_command(transport, ["echo", word]).stdout)

    threads = [threading.Thread(target=work, args=(word,)) for word in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [b"a\n"] * 5 + [b"b\n"] * 5


def test_hanging_up_leaves_no_thread_and_no_descriptor(sshd: OpenSshServer, connect: Connect) -> None:
    run_command(connect(sshd), ["true"])
    descriptors, threads = _descriptors(), threading.active_count()
    for _ in range(3):
        transport = connect(sshd)
        run_command(transport, ["true"])
        transport.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (_descriptors(), threading.active_count()) == (descriptors, threads)


def _descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))
