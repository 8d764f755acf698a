"""Entering a board with a password, once, to leave a public key there; the password goes no further."""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.errors import AccessDenied, DeviceError, LinkLost
from harness.link.host_keys import HostKey
from harness.link.private_files import replace_file
from harness.link.ssh_address import SshAddress
from harness.link.ssh_connection import handshaken_unchecked
from harness.link.ssh_keys import offered_keys

#: What ssh-copy-id does: right modes, the key once, and a newline before it if the file lacks its last.
_INSTALL = """
umask 077
key=$(cat)
mkdir -p ~/.ssh && chmod 700 ~/.ssh && cd ~/.ssh || exit 1
touch authorized_keys && chmod 600 authorized_keys || exit 1
grep -qxF "$key" authorized_keys && exit 0
[ -z "$(tail -c 1 authorized_keys)" ] || echo >> authorized_keys || exit 1
printf '%s\\n' "$key" >> authorized_keys || exit 1
if command -v restorecon > /dev/null 2>&1; then restorecon -R ~/.ssh; fi
exit 0
"""


@dataclass(frozen=True)
class Password:
    """Kept out of every repr, and so out of tracebacks that show variables."""

    text: str = field(repr=False)


def takes_passwords(address: SshAddress, board: str, host_key: HostKey) -> bool:
    """Whether the server lets anybody in with a password at all."""
    with handshaken_unchecked(address, board, host_key) as transport:
        try:
            transport.auth_none(address.user)
        except paramiko.BadAuthenticationType as error:
            return not {"password", "keyboard-interactive"}.isdisjoint(error.allowed_types)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise LinkLost(f"{board}: the connection broke during the login ({error})") from error
    return False


def install_public_key(
    address: SshAddress, board: str, host_key: HostKey, password: Password, public_key: str
) -> None:
    """Append `public_key` (one line) to ~/.ssh/authorized_keys on the board, unless it is there.

    Raises AccessDenied for a wrong password, DeviceError if the file cannot be written.
    """
    with handshaken_unchecked(address, board, host_key) as transport:
        try:
            transport.auth_password(address.user, password.text)
            if not transport.is_authenticated():
                raise AccessDenied(f"{board}: {address} wants more than a password", _BY_HAND)
            session = transport.open_session(timeout=address.connect_timeout_s)
            session.settimeout(address.connect_timeout_s)
            session.exec_command("exec /bin/sh -c " + shlex.quote(_INSTALL))
            session.sendall(public_key.encode("utf-8") + b"\n")
            session.shutdown_write()
            complaint = session.makefile_stderr("rb").read()
            status = session.recv_exit_status()
        except paramiko.AuthenticationException as error:
            raise AccessDenied(f"{board}: {address} did not accept the password", _BY_HAND) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise LinkLost(f"{board}: the connection broke while the key was installed ({error})") from error
    if status != 0:
        words = complaint.decode("utf-8", "replace").strip() or f"exit status {status}"
        raise DeviceError(f"{board}: ~/.ssh/authorized_keys could not be written: {words}", _BY_HAND)


def usable_public_key(address: SshAddress, skipped: list[str]) -> str | None:
    """The authorized_keys line of the first key that could be offered to `address`, if there is one."""
    with offered_keys(address, skipped) as keys:
        for offered in keys:
            blob = base64.b64encode(offered.key.asbytes()).decode("ascii")
            return f"{offered.key.get_name()} {blob} edgebench"
    return None


def generate_identity(path: Path) -> str:
    """A new ed25519 key at `path` (0600) and its public part beside it; returns that line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    line = public.decode("ascii") + " edgebench"
    replace_file(path, private.decode("ascii"))
    replace_file(path.with_name(path.name + ".pub"), line + "\n")
    return line


_BY_HAND = "put the public key into ~/.ssh/authorized_keys on the board by hand, then add it again"
