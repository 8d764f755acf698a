"""Which keys are offered to a server, and in which order: the ones meant for it first.

Servers end a connection after a few refused keys (OpenSSH: 6), so every key is offered once and the
agent's other keys come last where an identity is given.
"""

from __future__ import annotations

import base64
import binascii
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentSSH

from harness.link.ssh_address import SshAddress

#: OpenSSH's default files of the kinds paramiko knows, the best first.
_DEFAULT_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")

#: An agent may ask its user for consent, or a token for a touch.
_AGENT_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class OfferedKey:
    """A key that can sign, and where it is from."""

    key: paramiko.PKey
    source: str


@contextmanager
def offered_keys(address: SshAddress, skipped: list[str]) -> Iterator[Iterator[OfferedKey]]:
    """The keys for `address`, each once; why others are not among them is added to `skipped`.

    The agent's keys can sign until the end of the block.
    """
    agent = _connected_agent(address.agent, skipped)
    try:
        yield _in_order(address, agent.usable_keys() if agent else {}, skipped)
    finally:
        if agent:
            agent.close()


def _in_order(
    address: SshAddress, agent_keys: dict[bytes, paramiko.AgentKey], skipped: list[str]
) -> Iterator[OfferedKey]:
    files = address.identities or default_identities()
    named = _from_files(files, agent_keys, explicit=bool(address.identities), skipped=skipped)
    others = [] if address.identities_only else [OfferedKey(key, "ssh-agent") for key in agent_keys.values()]
    seen: set[bytes] = set()
    ordered = (named, others) if address.identities else (others, named)
    for keys in ordered:
        for offered in keys:
            blob = offered.key.asbytes()
            if blob not in seen:
                seen.add(blob)
                yield offered


def default_identities() -> tuple[Path, ...]:
    """The default key files that exist."""
    paths = (Path.home() / ".ssh" / name for name in _DEFAULT_NAMES)
    return tuple(path for path in paths if path.is_file())


def _from_files(
    files: tuple[Path, ...],
    agent_keys: dict[bytes, paramiko.AgentKey],
    *,
    explicit: bool,
    skipped: list[str],
) -> Iterator[OfferedKey]:
    """The key of each file: by the agent where it holds it, so that a passphrase does not matter."""
    for path in files:
        public = _public_text(path)
        blob = _blob(public) if public else None
        if blob in agent_keys:
            yield OfferedKey(agent_keys[blob], f"{path} (ssh-agent)")
        elif path.suffix == ".pub":
            skipped.append(f"{path} is a public key that ssh-agent does not hold")
        elif path.is_file() or explicit:
            key = _loaded(path, skipped)
            if key is not None:
                yield OfferedKey(key, str(path))


def _loaded(path: Path, skipped: list[str]) -> paramiko.PKey | None:
    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        # cryptography says TypeError for an encrypted key without a passphrase.
        skipped.append(f"{path} is protected by a passphrase: load it into ssh-agent with `ssh-add {path}`")
    except OSError as error:
        skipped.append(f"{path} cannot be read: {error.strerror}")
    except (ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType, UnsupportedAlgorithm) as error:
        skipped.append(f"{path} is not a private key that can be used: {error}")
    return None


def _public_text(path: Path) -> str | None:
    public = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    try:
        return public.read_text("utf-8", "replace")
    except OSError:
        return None


def _blob(public_line: str) -> bytes | None:
    words = public_line.split()
    try:
        return base64.b64decode(words[1], validate=True) if len(words) > 1 else None
    except binascii.Error:
        return None


class _Agent(AgentSSH):
    """An ssh-agent at a given socket; paramiko's own only knows SSH_AUTH_SOCK and has no deadline."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_AGENT_TIMEOUT_S)
        try:
            self._socket.connect(str(path))
            self._connect(self._socket)  # type: ignore[attr-defined]
        except (OSError, paramiko.SSHException):
            self._socket.close()
            raise

    def usable_keys(self) -> dict[bytes, paramiko.AgentKey]:
        """Its keys by their public part, without those on hardware tokens, which paramiko cannot use."""
        return {key.asbytes(): key for key in self.get_keys() if not key.get_name().startswith("sk-")}

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _connected_agent(path: Path | None, skipped: list[str]) -> _Agent | None:
    if path is None:
        return None
    try:
        return _Agent(path)
    except (OSError, paramiko.SSHException) as error:
        skipped.append(f"ssh-agent at {path} does not answer: {error}")
        return None
