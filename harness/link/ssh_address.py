"""How to reach one SSH server: what is said about it (SshTarget), and all of it resolved (SshAddress)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.link.host_keys import HostTrust, lookup_name

_DESTINATION = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[^\]\s]+)\]|(?P<host>[^-:@\s/\[][^:@\s/]*))(?::(?P<port>\d+))?/?"
)


@dataclass(frozen=True)
class SshTarget:
    """What is said explicitly about a server; None leaves it to ssh_config."""

    #: A host name, an address, or an alias of ssh_config.
    host: str
    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    #: Like ProxyJump: [user@]host[:port], several with commas.
    proxy_jump: str | None = None
    #: How the host key is checked; None looks it up by host and port in `known_hosts`.
    trust: HostTrust | None = None


@dataclass(frozen=True)
class SshAddress:
    """One SSH server and the way to it: no file is read and no option looked up any more."""

    host: str
    port: int
    user: str
    #: Which host key is the right one.
    trust: HostTrust
    #: Private key files to offer first, in order; none means OpenSSH's default ones.
    identities: tuple[Path, ...] = ()
    #: Offer nothing but `identities` (ssh_config's IdentitiesOnly).
    identities_only: bool = False
    #: ssh-agent's socket; None where there is no agent to ask.
    agent: Path | None = None
    #: Servers to go through, the nearest first.
    jumps: tuple[SshAddress, ...] = ()
    #: Shell command whose standard streams are the connection; excludes `jumps`.
    proxy_command: str | None = None
    #: Bounds each step of connecting: TCP, banner, key exchange, each authentication.
    connect_timeout_s: float = 15.0
    #: Idle seconds after which something is sent, so that routers do not forget the connection.
    keepalive_s: float = 15.0

    def __str__(self) -> str:
        return f"{self.user}@{lookup_name(self.host, self.port)}"


def parse_destination(text: str) -> SshTarget:
    """[user@]host[:port], also as an ssh:// URI or with [IPv6]; raises UsageError for anything else."""
    found = _DESTINATION.fullmatch(text)
    if found is None or (found["port"] and not 0 < int(found["port"]) < 65536):
        raise UsageError(
            f"{text!r} is not [user@]host[:port]", "an IPv6 address goes into brackets: user@[::1]:22"
        )
    port = int(found["port"]) if found["port"] else None
    return SshTarget(found["v6"] or found["host"], found["user"], port)
