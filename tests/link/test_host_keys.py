"""The known_hosts format and the verdict on a shown key, without a server."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from harness.errors import ConfigurationError, HostKeyMismatch, HostKeyUnknown
from harness.link.host_keys import (
    HostKey,
    HostTrust,
    is_fingerprint,
    lookup_name,
    pin,
    read_known_hosts,
    same_key_elsewhere,
    unpin,
)

ONE, TWO = HostKey("ssh-ed25519", b"one"), HostKey("ssh-rsa", b"two")


def _line(names: str, key: HostKey = ONE, marker: str = "") -> str:
    return f"{marker} {names} {key.type} {base64.b64encode(key.blob).decode()} a comment\n".lstrip()


def _names(path: Path, text: str, name: str) -> bool:
    path.write_text(text)
    return any(line.names(name) for line in read_known_hosts(path))


def test_a_fingerprint_is_what_openssh_prints() -> None:
    # ssh-keygen -lf of the ed25519 key in RFC 8032's first test vector
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0 " + public
    fingerprint = HostKey("ssh-ed25519", blob).fingerprint
    assert is_fingerprint(fingerprint)
    assert len(fingerprint) == len("SHA256:") + 43


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        ("nano", "nano", True),
        ("nano", "NANO", True),
        ("nano,10.0.0.1", "10.0.0.1", True),
        ("*.lab,!bad.lab", "good.lab", True),
        ("*.lab,!bad.lab", "bad.lab", False),
        ("10.0.0.?", "10.0.0.7", True),
        ("[host]:2222", "[host]:2222", True),
        ("[host]:2222", "h", False),
        ("host", "[host]:2222", False),
        # ssh-keygen -H made it from "example.org"
        ("|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|x4rl6ZZ2kyYs3ZDzZcFR3q4zbpU=", "example.com", False),
        ("|1|not base64|x", "example.org", False),
    ],
)
def test_names_are_matched_as_openssh_does(tmp_path: Path, patterns: str, name: str, expected: bool) -> None:
    assert _names(tmp_path / "known", _line(patterns), name) is expected


def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text("# comment\n\nhost\nhost ssh-rsa ***\n@cert-authority\n" + _line("host"))
    assert [line.key for line in read_known_hosts(known)] == [ONE]


def test_a_folder_in_the_place_of_the_file_is_a_configuration_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_known_hosts(tmp_path)


def test_a_pinned_key_is_accepted_and_any_other_refused(tmp_path: Path) -> None:
    known = tmp_path / "known"
    pin(known, "nano", [ONE])
    trust = HostTrust("nano", (known,), "pin {fingerprint}")
    trust.check("nano", ONE)
    with pytest.raises(HostKeyMismatch) as raised:
        trust.check("nano", TWO)
    assert ONE.fingerprint in raised.value.message
    assert TWO.fingerprint in raised.value.message
    assert raised.value.remedy == f"only if the board was flashed or replaced: pin {TWO.fingerprint}"


def test_the_first_file_that_knows_the_host_decides(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(_line("host", ONE))
    (tmp_path / "users").write_text(_line("host", TWO) + _line("other", TWO))
    files = (tmp_path / "mine", tmp_path / "users", tmp_path / "missing")
    with pytest.raises(HostKeyMismatch):
        HostTrust("host", files, "").check("host", TWO)
    HostTrust("other", files, "").check("other", TWO)
    with pytest.raises(HostKeyUnknown):
        HostTrust("third", files, "").check("third", TWO)


def test_a_revoked_key_is_refused_even_if_pinned_too(tmp_path: Path) -> None:
    (tmp_path / "known").write_text(_line("host") + _line("*", ONE, "@revoked"))
    with pytest.raises(HostKeyMismatch, match="@revoked"):
        HostTrust("host", (tmp_path / "known",), "").check("host", ONE)


def test_an_authority_is_no_pinned_key(tmp_path: Path) -> None:
    (tmp_path / "known").write_text(_line("host", ONE, "@cert-authority"))
    with pytest.raises(HostKeyUnknown):
        HostTrust("host", (tmp_path / "known",), "").check("host", ONE)


def test_pinning_replaces_the_old_key_and_leaves_the_rest(tmp_path: Path) -> None:
    known = tmp_path / "new folder" / "known"
    pin(known, "a", [ONE])
    known.write_text(known.read_text() + "# mine\n" + _line("b", TWO))
    pin(known, "a", [TWO])
    assert [(line.patterns, line.key) for line in read_known_hosts(known)] == [("b", TWO), ("a", TWO)]
    assert "# mine" in known.read_text()
    assert stat.S_IMODE(known.stat().st_mode) == 0o600
    unpin(known, "a")
    assert [line.patterns for line in read_known_hosts(known)] == ["b"]
    unpin(tmp_path / "missing", "a")
    assert not (tmp_path / "missing").exists()


def test_boards_with_one_key_are_found(tmp_path: Path) -> None:
    (tmp_path / "known").write_text(_line("a") + _line("b") + _line("c", TWO))
    assert same_key_elsewhere(tmp_path / "known", "a", [ONE]) == ["b"]


def test_only_a_port_other_than_22_is_part_of_the_name() -> None:
    assert (lookup_name("host", 22), lookup_name("host", 2222)) == ("host", "[host]:2222")
