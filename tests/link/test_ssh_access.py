"""Who may enter and whom we trust: keys, agent and host keys, over a real sshd."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness.errors import AccessDenied, HostKeyMismatch, HostKeyUnknown
from harness.link.host_keys import HostTrust
from harness.link.transport import run_command
from tests.link.conftest import Connect
from tests.openssh import KEY_TYPES, OpenSshServer, generate_key, ssh_agent

pytestmark = pytest.mark.e2e


def test_a_key_the_board_does_not_know_is_denied_by_name(
    sshd: OpenSshServer, connect: Connect, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    generate_key(other)
    with pytest.raises(AccessDenied, match=f"accepted none of the keys offered: {other}") as raised:
        connect(sshd, identities=(other,)).start(["true"])
    assert raised.value.remedy is not None
    assert f"ssh-copy-id -p {sshd.port} {sshd.user}@127.0.0.1" in raised.value.remedy


@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
def test_each_kind_of_key_opens_the_door(
    sshd: OpenSshServer, connect: Connect, tmp_path: Path, key_type: str
) -> None:
    generate_key(tmp_path / "key", key_type)
    sshd.authorize(tmp_path / "key")
    assert run_command(connect(sshd, identities=(tmp_path / "key",)), ["true"]).status == 0


def test_no_key_at_all_is_said_so(sshd: OpenSshServer, connect: Connect) -> None:
    with pytest.raises(AccessDenied, match="got no key: none was found"):
        connect(sshd, identities=(), identities_only=False).start(["true"])


def test_default_keys_are_found(sshd: OpenSshServer, connect: Connect, home: Path) -> None:
    generate_key(home / ".ssh" / "id_ed25519")
    sshd.authorize(home / ".ssh" / "id_ed25519")
    assert run_command(connect(sshd, identities=(), identities_only=False), ["true"]).status == 0


def test_a_key_with_a_passphrase_is_skipped_and_ssh_agent_named(
    sshd: OpenSshServer, connect: Connect, tmp_path: Path
) -> None:
    generate_key(tmp_path / "locked", passphrase="secret")
    sshd.authorize(tmp_path / "locked")
    with pytest.raises(AccessDenied, match=f"protected by a passphrase.*ssh-add {tmp_path / 'locked'}"):
        connect(sshd, identities=(tmp_path / "locked",)).start(["true"])


def test_a_file_that_is_no_key_and_one_that_is_missing_are_named(
    sshd: OpenSshServer, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "note").write_text("hello")
    with pytest.raises(AccessDenied, match=r"note is not a private key.*gone cannot be read: No such file"):
        connect(sshd, identities=(tmp_path / "note", tmp_path / "gone")).start(["true"])


def test_the_agent_opens_the_door_also_for_a_key_with_a_passphrase(
    sshd: OpenSshServer, connect: Connect, tmp_path: Path
) -> None:
    generate_key(tmp_path / "key")
    sshd.authorize(tmp_path / "key")
    # A socket's path is short.
    with tempfile.TemporaryDirectory() as folder, ssh_agent(Path(folder), tmp_path / "key") as agent:
        _lock(tmp_path / "key", "secret")
        named = connect(sshd, identities=(tmp_path / "key",), agent=agent)
        assert run_command(named, ["true"]).status == 0
        unnamed = connect(sshd, identities=(), identities_only=False, agent=agent)
        assert run_command(unnamed, ["true"]).status == 0
        with pytest.raises(AccessDenied, match="got no key"):
            connect(sshd, identities=(), identities_only=True, agent=agent).start(["true"])


def test_an_agent_that_is_gone_is_said_so(sshd: OpenSshServer, connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(AccessDenied, match=r"ssh-agent at .*gone does not answer"):
        connect(sshd, identities=(), identities_only=False, agent=tmp_path / "gone").start(["true"])


def test_a_server_that_hangs_up_after_many_keys_is_a_denial(
    sshd: OpenSshServer, connect: Connect, tmp_path: Path
) -> None:
    sshd.restart("MaxAuthTries 2")
    keys = [tmp_path / f"key{number}" for number in range(4)]
    for key in keys:
        generate_key(key)
    with pytest.raises(AccessDenied, match="hung up after so many keys"):
        connect(sshd, identities=tuple(keys)).start(["true"])


def test_a_server_that_wants_more_than_a_key_is_a_denial(sshd: OpenSshServer, connect: Connect) -> None:
    sshd.restart("PasswordAuthentication yes", "AuthenticationMethods publickey,password")
    with pytest.raises(AccessDenied, match="besides a key it wants password"):
        connect(sshd).start(["true"])


def test_a_server_that_takes_no_keys_is_a_denial(sshd: OpenSshServer, connect: Connect) -> None:
    sshd.restart("PasswordAuthentication yes", "PubkeyAuthentication no")
    with pytest.raises(AccessDenied, match="it allows only password"):
        connect(sshd).start(["true"])


def test_an_unknown_host_key_is_shown_with_the_way_to_pin_it(
    sshd: OpenSshServer, connect: Connect, tmp_path: Path
) -> None:
    trust = HostTrust("board", (tmp_path / "known_hosts",), "pin-it {fingerprint}")
    with pytest.raises(HostKeyUnknown, match=re.escape(sshd.fingerprint())) as raised:
        connect(sshd, trust=trust).start(["true"])
    assert raised.value.remedy is not None
    assert f"pin-it {sshd.fingerprint()}" in raised.value.remedy
    assert not (tmp_path / "known_hosts").exists()


def test_a_changed_host_key_is_refused_with_both_fingerprints(sshd: OpenSshServer, connect: Connect) -> None:
    transport, pinned = connect(sshd), sshd.fingerprint()
    sshd.replace_host_keys()
    sshd.restart()
    attempts = sshd.log().count("Accepted")
    with pytest.raises(HostKeyMismatch) as raised:
        transport.start(["true"])
    assert pinned in raised.value.message
    assert sshd.fingerprint() in raised.value.message
    assert sshd.log().count("Accepted") == attempts


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_server_with_several_keys_is_asked_for_the_pinned_kind(
    sshd: OpenSshServer, connect: Connect, tmp_path: Path, key_type: str
) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(sshd.host_key_line("board", key_type))
    assert run_command(connect(sshd, trust=HostTrust("board", (known,), "")), ["true"]).status == 0


def test_the_hashed_known_hosts_of_openssh_are_understood(
    sshd: OpenSshServer, connect: Connect, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    name = f"[{sshd.host}]:{sshd.port}"
    known.write_text(sshd.host_key_line(name))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
    assert name not in known.read_text()
    assert run_command(connect(sshd, trust=HostTrust(name, (known,), "")), ["true"]).status == 0
    with pytest.raises(HostKeyUnknown):
        connect(sshd, trust=HostTrust("[127.0.0.1]:1", (known,), "")).start(["true"])


def _lock(path: Path, passphrase: str) -> None:
    command = ["ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
