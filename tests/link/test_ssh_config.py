"""From a target and OpenSSH's client files to an address; the last ones over real servers."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import ConfigurationError, HostKeyUnknown, Unreachable, UsageError
from harness.link.ssh import SshTransport
from harness.link.ssh_address import SshAddress, SshTarget, parse_destination
from harness.link.ssh_config import SshSettings
from harness.link.transport import run_command
from tests.link.conftest import _server
from tests.openssh import OpenSshServer


@pytest.fixture
def config(home: Path) -> Path:
    return home / ".ssh" / "config"


def _resolve(config: Path, target: SshTarget | str) -> SshAddress:
    settings = SshSettings(config.parent / "bench_known_hosts", (config,))
    return settings.resolve(SshTarget(target) if isinstance(target, str) else target)


def test_without_a_file_the_usual_values_are_taken(config: Path) -> None:
    address = _resolve(config, "board")
    assert (address.host, address.port, address.user) == ("board", 22, getpass.getuser())
    assert (address.identities, address.jumps, address.proxy_command, address.agent) == ((), (), None, None)
    assert address.trust.name == "board"
    assert address.trust.files[:2] == (config.parent / "bench_known_hosts", config.parent / "known_hosts")


def test_an_alias_gives_all_that_its_block_says(config: Path, tmp_path: Path) -> None:
    config.write_text(
        "Host nano\n HostName 10.0.0.21\n User bench\n Port 2222\n IdentityFile ~/.ssh/nano\n"
        f" IdentitiesOnly yes\n ConnectTimeout 4\n ServerAliveInterval 7\n HostKeyAlias n\n"
        f" IdentityAgent {tmp_path}/a\n UserKnownHostsFile ~/k1 ~/k2\nHost *\n Port 99\n User other\n"
    )
    address = _resolve(config, "nano")
    assert str(address) == "bench@[10.0.0.21]:2222"
    assert address.identities == (config.parent / "nano",)
    assert address.identities_only
    assert (address.connect_timeout_s, address.keepalive_s) == (4, 7)
    assert address.trust.name == "n"
    assert address.trust.files[1:] == (config.parent.parent / "k1", config.parent.parent / "k2")
    assert address.agent == tmp_path / "a"


def test_what_is_said_explicitly_wins(config: Path) -> None:
    config.write_text("Host nano\n User other\n Port 99\n IdentityFile /other\n ProxyJump elsewhere\n")
    target = SshTarget("nano", user="bench", port=22, identity=Path("/mine"), proxy_jump="me@gate:2200")
    address = _resolve(config, target)
    assert (address.user, address.port, address.identities, address.identities_only) == (
        "bench",
        22,
        (Path("/mine"),),
        True,
    )
    assert [str(hop) for hop in address.jumps] == ["me@[gate]:2200"]


def test_a_chain_of_jump_hosts_is_resolved_hop_by_hop(config: Path) -> None:
    config.write_text(
        "Host nano\n ProxyJump gate,bob@inner:2022\n"
        "Host gate\n HostName gate.lab\n User g\n ProxyJump outer\n"
        "Host inner\n Port 1\n ProxyJump never\n"
    )
    hops = _resolve(config, "nano").jumps
    me = getpass.getuser()
    assert [str(hop) for hop in hops] == [f"{me}@outer", "g@gate.lab", "bob@[inner]:2022"]
    assert [hop.trust.name for hop in hops] == ["outer", "gate.lab", "[inner]:2022"]


def test_a_jump_host_that_its_own_wildcard_names_is_entered_directly(config: Path) -> None:
    config.write_text("Host *\n ProxyJump gate\n")
    assert [hop.host for hop in _resolve(config, "nano").jumps] == ["gate"]
    assert _resolve(config, "gate").jumps == ()


def test_a_circle_of_jump_hosts_is_named(config: Path) -> None:
    config.write_text("Host a\n ProxyJump b\nHost b\n ProxyJump c\nHost c\n ProxyJump a\n")
    with pytest.raises(ConfigurationError, match="a -> b -> c -> a"):
        _resolve(config, "a")


def test_none_takes_an_option_back(config: Path) -> None:
    config.write_text(
        "Host nano\n ProxyJump none\n ProxyCommand none\n IdentityAgent none\nHost *\n ProxyJump gate\n"
    )
    address = _resolve(config, "nano")
    assert (address.jumps, address.proxy_command, address.agent) == ((), None, None)


def test_included_files_count_where_they_are_included(config: Path) -> None:
    folder = config.parent / "config.d"
    folder.mkdir()
    (folder / "10-lab").write_text("Host nano\n User from-include\n Port 7\n")
    (folder / "20-more").write_text("Host *\n ConnectTimeout 3\n")
    config.write_text("Include config.d/*\nUser everybody\nHost nano\n Port 8\n")
    address = _resolve(config, "nano")
    assert (address.user, address.port, address.connect_timeout_s) == ("from-include", 7, 3)
    assert _resolve(config, "other").user == "everybody"


def test_a_file_that_includes_itself_is_a_fault(config: Path) -> None:
    config.write_text("Include config\n")
    with pytest.raises(ConfigurationError, match="Include goes deeper"):
        _resolve(config, "nano")


@pytest.mark.parametrize("line", ["Port ssh", "Host 'nano", "Match all host x"])
def test_lines_that_cannot_be_used_are_configuration_faults(config: Path, line: str) -> None:
    config.write_text(f"{line}\n")
    with pytest.raises(ConfigurationError):
        _resolve(config, "nano")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nano", SshTarget("nano")),
        ("bench@10.0.0.1:2222", SshTarget("10.0.0.1", "bench", 2222)),
        ("bench@[fe80::1]:22", SshTarget("fe80::1", "bench", 22)),
        ("ssh://bench@nano:22", SshTarget("nano", "bench", 22)),
    ],
)
def test_destinations_are_taken_apart(text: str, expected: SshTarget) -> None:
    assert parse_destination(text) == expected


@pytest.mark.parametrize(
    "text", ["", "bench@", "@nano", "nano:ssh", "a b", "nano:70000", "-oProxyCommand=x", "u@-x", "::1"]
)
def test_other_words_are_no_destinations(text: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        parse_destination(text)


# --- over real servers ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gate() -> Iterator[OpenSshServer]:
    """A second server, to go through."""
    yield from _server()


def _run(config: Path, alias: str) -> str:
    transport = SshTransport(alias, _resolve(config, alias))
    try:
        return run_command(transport, ["id", "-un"]).stdout.decode().strip()
    finally:
        transport.close()


@pytest.mark.e2e
def test_an_alias_is_enough_to_get_there(shared_sshd: OpenSshServer, config: Path) -> None:
    config.write_text(shared_sshd.ssh_config("nano"))
    (config.parent / "known_hosts").write_text(shared_sshd.known_hosts().read_text())
    assert _run(config, "nano") == shared_sshd.user


@pytest.mark.e2e
def test_a_jump_host_is_entered_and_checked_like_a_board(
    shared_sshd: OpenSshServer, gate: OpenSshServer, config: Path
) -> None:
    config.write_text(
        gate.ssh_config("gate")
        + gate.ssh_config("gate2")
        + shared_sshd.ssh_config("nano", "ProxyJump gate,gate2")
    )
    known = config.parent / "known_hosts"
    known.write_text(shared_sshd.known_hosts().read_text())
    with pytest.raises(HostKeyUnknown, match="jump host"):
        _run(config, "nano")
    known.write_text(known.read_text() + gate.known_hosts().read_text())
    before = gate.log().count("Accepted publickey")
    assert _run(config, "nano") == shared_sshd.user
    assert gate.log().count("Accepted publickey") == before + 2


@pytest.mark.e2e
def test_a_jump_host_that_cannot_go_on_is_named(gate: OpenSshServer, config: Path) -> None:
    config.write_text(gate.ssh_config("gate") + "Host nano\n HostName 127.0.0.1\n Port 1\n ProxyJump gate\n")
    (config.parent / "known_hosts").write_text(gate.known_hosts().read_text())
    with pytest.raises(Unreachable, match=r"nano: the jump host could not connect to 127\.0\.0\.1 port 1"):
        _run(config, "nano")


@pytest.mark.e2e
def test_a_proxy_command_carries_the_connection(
    shared_sshd: OpenSshServer, gate: OpenSshServer, config: Path
) -> None:
    known = config.parent / "known_hosts"
    known.write_text(shared_sshd.known_hosts().read_text() + gate.known_hosts().read_text())
    command = f"ssh -F {config} -o UserKnownHostsFile={known} -W %h:%p gate"
    config.write_text(gate.ssh_config("gate") + shared_sshd.ssh_config("nano", f"ProxyCommand {command}"))
    assert _run(config, "nano") == shared_sshd.user


@pytest.mark.e2e
def test_the_last_words_of_a_failing_proxy_command_are_told(shared_sshd: OpenSshServer, config: Path) -> None:
    config.write_text(shared_sshd.ssh_config("nano", "ProxyCommand sh -c 'echo no route today >&2; exit 1'"))
    with pytest.raises(Unreachable, match="no route today"):
        _run(config, "nano")
