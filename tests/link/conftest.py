"""Links are tested over a real sshd, with a home folder and configuration of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.link.host_keys import HostTrust
from harness.link.local import LocalTransport
from harness.link.ssh import SshTransport
from harness.link.ssh_address import SshAddress
from harness.link.transport import Transport
from tests import openssh
from tests.openssh import OpenSshServer


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder without an agent, so that the keys of whoever runs the tests play no part."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("EDGEBENCH_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


def _server() -> Iterator[OpenSshServer]:
    reason = openssh.missing()
    if reason:
        pytest.skip(reason)
    with OpenSshServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_sshd() -> Iterator[OpenSshServer]:
    """A server for tests that leave it as it is."""
    yield from _server()


@pytest.fixture(scope="module")
def module_sshd() -> Iterator[OpenSshServer]:
    """A server that tests may restart and change; `sshd` puts it back."""
    yield from _server()


@pytest.fixture
def sshd(module_sshd: OpenSshServer) -> Iterator[OpenSshServer]:
    """A server to do anything with."""
    yield module_sshd
    module_sshd.restart()


Connect = Callable[..., SshTransport]


def address_of(server: OpenSshServer, **changes: object) -> SshAddress:
    """How `server` is reached with its key and its pinned host keys."""
    trust = HostTrust("board", (server.known_hosts("board"),), "pin-it {fingerprint}")
    address = SshAddress(server.host, server.port, server.user, trust, (server.identity,), True)
    return replace(address, **changes)  # type: ignore[arg-type]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes transports to servers and hangs up in the end."""
    opened: list[SshTransport] = []

    def make(server: OpenSshServer, **changes: object) -> SshTransport:
        opened.append(SshTransport("board", address_of(server, **changes)))
        return opened[-1]

    yield make
    for transport in opened:
        transport.close()


@pytest.fixture(
    params=[
        pytest.param("local", marks=pytest.mark.processes),
        pytest.param("ssh", marks=pytest.mark.e2e),
    ]
)
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """Each way to a board in turn."""
    if request.param == "local":
        yield LocalTransport()
        return
    over_ssh = SshTransport("board", address_of(request.getfixturevalue("shared_sshd")))
    yield over_ssh
    over_ssh.close()
