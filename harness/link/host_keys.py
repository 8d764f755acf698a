"""Host keys: OpenSSH's known_hosts format, and the one decision whether a shown key is the pinned one.

Nothing is ever learnt silently. Boards of an inventory are looked up by their inventory name (their
addresses move) in the inventory's own file; anything else by host and port in edgebench's user-level
file, then in the user's known_hosts, which is only read.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigurationError, HostKeyMismatch, HostKeyUnknown
from harness.link.private_files import replace_file

_HEADER = (
    "# Host keys of edgebench's boards, by their inventory names. `bench device add` writes this file.\n"
)

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True)
class HostKey:
    """A server's public key: OpenSSH's type word (`ssh-ed25519`) and the key itself as it is sent."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: SHA256 and unpadded base64."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode("ascii")
        return "SHA256:" + digest.rstrip("=")


@dataclass(frozen=True)
class KnownHost:
    """One line of a known_hosts file; `marker` is empty, `@revoked` or `@cert-authority`."""

    patterns: str
    key: HostKey
    marker: str = ""

    def names(self, name: str) -> bool:
        """Whether this line is about `name` (`host`, or `[host]:port` for a port other than 22)."""
        if self.patterns.startswith("|1|"):
            return _hash_matches(self.patterns, name)
        found = False
        for pattern in self.patterns.split(","):
            wanted = pattern.removeprefix("!")
            # Only * and ? are special in OpenSSH's patterns; fnmatch would also read [host]:22 as a set.
            if fnmatch.fnmatchcase(name.lower(), wanted.lower().replace("[", "[[]")):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


@dataclass(frozen=True)
class HostTrust:
    """Where the key of one host is looked up, and what to tell the user when it is not there."""

    name: str
    files: tuple[Path, ...]
    #: Command that pins a key; `{fingerprint}` stands for what the host showed.
    pin_command: str
    #: Keys already approved by a person but not written to a file yet; `files` are not read then.
    approved: tuple[HostKey, ...] = ()

    def pinned(self) -> list[KnownHost]:
        """The lines about this host in the first file that has any; earlier files are the stricter word."""
        if self.approved:
            return [KnownHost(self.name, key) for key in self.approved]
        for path in self.files:
            lines = [line for line in read_known_hosts(path) if line.names(self.name)]
            if any(line.marker != "@cert-authority" for line in lines):
                return [line for line in lines if line.marker != "@cert-authority"]
        return []

    def check(self, board: str, shown: HostKey) -> None:
        """Return if `shown` is pinned; raises HostKeyUnknown or HostKeyMismatch otherwise."""
        lines = self.pinned()
        files = ", ".join(str(path) for path in self.files) or "what was approved"
        if any(line.key == shown and line.marker == "@revoked" for line in lines):
            raise HostKeyMismatch(
                f"{board}: the host key {shown.fingerprint} ({shown.type}) is marked @revoked in {files}",
                "do not use this host before you know why its key was revoked",
            )
        pinned = [line.key for line in lines if not line.marker]
        if shown in pinned:
            return
        pin = self.pin_command.replace("{fingerprint}", shown.fingerprint)
        if not pinned:
            raise HostKeyUnknown(
                f"{board}: no host key is pinned for {self.name!r} (looked in {files}); "
                f"it shows {shown.type} {shown.fingerprint}",
                f"compare that with `ssh-keygen -lf` of the key on the board, then: {pin}",
            )
        expected = ", ".join(f"{key.type} {key.fingerprint}" for key in pinned)
        raise HostKeyMismatch(
            f"{board}: the host key has changed: it shows {shown.type} {shown.fingerprint}, "
            f"pinned is {expected} (in {files}). Somebody may be between you and the board",
            f"only if the board was flashed or replaced: {pin}",
        )


def read_known_hosts(path: Path) -> list[KnownHost]:
    """The lines of a known_hosts file that can be understood; none if there is no such file."""
    try:
        text = path.read_text("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from error
    lines = (_parsed(line) for line in text.splitlines())
    return [line for line in lines if line is not None]


def pin(path: Path, name: str, keys: Sequence[HostKey]) -> None:
    """Make `keys` the only ones pinned for `name` in the file, which is created 0600 where needed."""
    lines = [line for line in _lines(path) if not _is_about(line, name)]
    lines += [f"{name} {key.type} {base64.b64encode(key.blob).decode('ascii')}\n" for key in keys]
    replace_file(path, "".join(lines))


def unpin(path: Path, name: str) -> None:
    """Forget the keys of `name`; other lines and comments stay."""
    before = _lines(path)
    after = [line for line in before if not _is_about(line, name)]
    if after != before and path.exists():
        replace_file(path, "".join(after))


def same_key_elsewhere(path: Path, name: str, keys: Iterable[HostKey]) -> list[str]:
    """Other names in the file that have one of `keys`: boards flashed from one image."""
    wanted = set(keys)
    return sorted({line.patterns for line in read_known_hosts(path) if line.key in wanted} - {name})


def lookup_name(host: str, port: int) -> str:
    """What known_hosts calls a host and port."""
    return host if port == 22 else f"[{host}]:{port}"


def is_fingerprint(text: str) -> bool:
    """Whether `text` has the form of a SHA256 fingerprint; base64 padding at its end is tolerated."""
    return _FINGERPRINT.fullmatch(text.rstrip("=")) is not None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return [_HEADER]


def _is_about(line: str, name: str) -> bool:
    parsed = _parsed(line)
    return parsed is not None and parsed.patterns == name


def _parsed(line: str) -> KnownHost | None:
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    if len(fields) < 3 or fields[0].startswith("#"):
        return None
    try:
        blob = base64.b64decode(fields[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return KnownHost(fields[0], HostKey(fields[1], blob), marker)


def _hash_matches(pattern: str, name: str) -> bool:
    """HashKnownHosts lines: |1|salt|HMAC-SHA1(salt, name)."""
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in pattern.split("|")[2:4])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode("utf-8"), "sha1").digest(), digest)
