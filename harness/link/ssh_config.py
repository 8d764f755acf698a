"""From what the inventory or the command line says to an SshAddress, honouring OpenSSH's client files.

What is given explicitly wins over ~/.ssh/config, which wins over /etc/ssh/ssh_config, as with `ssh`.
StrictHostKeyChecking and password options are not honoured on purpose: host keys are always checked,
and boards are always entered with keys.
"""

from __future__ import annotations

import getpass
import glob
import os
import shlex
from dataclasses import replace
from pathlib import Path

import paramiko

from harness.errors import ConfigurationError
from harness.link.host_keys import HostTrust, lookup_name
from harness.link.ssh_address import SshAddress, SshTarget, parse_destination

#: OpenSSH stops here too.
_MAX_INCLUDE_DEPTH = 16


class SshSettings:
    """OpenSSH's client configuration, read once, and edgebench's own user-level known_hosts file."""

    def __init__(self, known_hosts: Path, config_files: tuple[Path, ...] | None = None) -> None:
        self._known_hosts = known_hosts
        files = default_config_files() if config_files is None else config_files
        self._config = _parsed(files)

    def resolve(self, target: SshTarget) -> SshAddress:
        """The address of `target`; raises ConfigurationError for values that make no sense."""
        return self._resolve(target, ())

    def _resolve(self, target: SshTarget, via: tuple[str, ...]) -> SshAddress:
        if target.host in via:
            route = " -> ".join((*via, target.host))
            raise ConfigurationError([f"ssh_config: ProxyJump goes round in a circle: {route}"])
        options = self._lookup(target)
        host = _text(options, "hostname") or target.host
        port = target.port or _number(options, "port", target.host, 22)
        jump_spec = target.proxy_jump or _text(options, "proxyjump")
        command = None if target.proxy_jump else _text(options, "proxycommand")
        jumps = () if command else self._jumps(jump_spec, (*via, target.host))
        identities = (target.identity,) if target.identity else _identity_files(options)
        return SshAddress(
            host=host,
            port=port,
            user=target.user or _text(options, "user") or getpass.getuser(),
            trust=target.trust or self._trust(options, host, port),
            identities=tuple(path.expanduser() for path in identities),
            identities_only=bool(target.identity) or options.get("identitiesonly") == "yes",
            agent=_agent_socket(options),
            jumps=jumps,
            proxy_command=command,
            connect_timeout_s=_number(options, "connecttimeout", target.host, 15) or 15,
            keepalive_s=_number(options, "serveraliveinterval", target.host, 15) or 15,
        )

    def _jumps(self, spec: str | None, via: tuple[str, ...]) -> tuple[SshAddress, ...]:
        """The servers of a ProxyJump value; the first one's own ProxyJump is honoured, as with `ssh -J`."""
        if not spec or spec.lower() == "none":
            return ()
        hops: list[SshAddress] = []
        for word in spec.split(","):
            target = parse_destination(word.strip())
            # `Host *` with a ProxyJump also matches the jump host; nobody means to go through it twice.
            if target.host == via[-1]:
                continue
            hop = self._resolve(target, via)
            hops += [*hop.jumps, replace(hop, jumps=())] if not hops else [replace(hop, jumps=())]
        return tuple(hops)

    def _trust(self, options: dict[str, str | list[str]], host: str, port: int) -> HostTrust:
        name = _text(options, "hostkeyalias") or lookup_name(host, port)
        users = shlex.split(_text(options, "userknownhostsfile") or "~/.ssh/known_hosts ~/.ssh/known_hosts2")
        files = tuple(Path(word).expanduser() for word in users if word != "none")
        return HostTrust(
            name,
            (self._known_hosts, *files),
            f"ssh-keyscan -p {port} {host} prints its keys; add the line whose key has that fingerprint "
            f"to {self._known_hosts} under the name {name}, or `bench device add NAME USER@HOST "
            "--host-key {fingerprint}`",
        )

    def _lookup(self, target: SshTarget) -> dict[str, str | list[str]]:
        try:
            # %r and `Match user` see the user that will really be used.
            return dict(self._config.lookup(target.host))
        except (paramiko.SSHException, ImportError, ValueError, OSError) as error:
            raise ConfigurationError([f"ssh_config for {target.host}: {error}"]) from error


def default_config_files() -> tuple[Path, ...]:
    """OpenSSH's client files, the user's first; of each option the first value found counts."""
    return (Path.home() / ".ssh" / "config", Path("/etc/ssh/ssh_config"))


def _parsed(files: tuple[Path, ...]) -> paramiko.SSHConfig:
    lines = [line for path in files for line in _expanded(path, 0)]
    try:
        return paramiko.SSHConfig.from_text("\n".join(lines))
    except (paramiko.SSHException, ValueError) as error:
        names = " or ".join(str(path) for path in files)
        raise ConfigurationError([f"{names}: {error}"]) from error


def _expanded(path: Path, depth: int) -> list[str]:
    """The lines of a file with its Include lines replaced, which paramiko does not know.

    A file starts and an included one ends outside any Host block, so the block around an Include is
    opened again behind it.
    """
    if depth > _MAX_INCLUDE_DEPTH:
        raise ConfigurationError([f"{path}: Include goes deeper than {_MAX_INCLUDE_DEPTH} files"])
    try:
        text = path.read_text("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from error
    block = "Host *"
    lines = [block]
    for line in text.splitlines():
        words = line.replace("=", " ", 1).split(None, 1)
        keyword = words[0].lower() if words else ""
        if keyword == "include" and len(words) == 2:
            for included in _included(words[1], path):
                lines += _expanded(included, depth + 1)
            lines.append(block)
            continue
        if keyword in ("host", "match"):
            block = line
        lines.append(line)
    return lines


def _included(patterns: str, path: Path) -> list[Path]:
    """The files an Include line means: relative ones lie in the folder of the file that includes."""
    found: list[Path] = []
    for pattern in shlex.split(patterns, comments=True):
        expanded = Path(pattern).expanduser()
        absolute = expanded if expanded.is_absolute() else path.parent / expanded
        found += [Path(name) for name in sorted(glob.glob(str(absolute)))]  # noqa: PTH207  (absolute)
    return found


def _text(options: dict[str, str | list[str]], key: str) -> str | None:
    """A single value; `none` is OpenSSH's word for taking an option back."""
    value = options.get(key)
    return value if isinstance(value, str) and value.lower() != "none" else None


def _number(options: dict[str, str | list[str]], key: str, host: str, default: int) -> int:
    text = _text(options, key)
    if text is None:
        return default
    if not text.isdecimal():
        raise ConfigurationError([f"ssh_config for {host}: {key} is {text!r}, not a number"])
    return int(text)


def _identity_files(options: dict[str, str | list[str]]) -> tuple[Path, ...]:
    files = options.get("identityfile", [])
    return tuple(Path(name) for name in files if name.lower() != "none")


def _agent_socket(options: dict[str, str | list[str]]) -> Path | None:
    """IdentityAgent, or SSH_AUTH_SOCK; `none` switches the agent off."""
    setting = options.get("identityagent")
    if isinstance(setting, str) and setting.lower() == "none":
        return None
    name = setting if isinstance(setting, str) and setting != "SSH_AUTH_SOCK" else None
    if name and name.startswith("$"):
        name = os.environ.get(name.strip("${}"))
    name = name or os.environ.get("SSH_AUTH_SOCK")
    return Path(name).expanduser() if name else None
