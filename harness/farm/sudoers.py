"""The narrow sudoers file of a board: exactly the commands the agent runs as root there, and no other.

Each command is a full path with its arguments: a bare `tee` or `nvpmodel *` would be as good as root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from device_agents.protocol import Examination
from harness.errors import UsageError

FILE = "/etc/sudoers.d/edgebench"
CLOCKS_FILE = "/run/edgebench/clocks.conf"
NVMAP_FILE = "/sys/kernel/debug/nvmap/iovmm/clients"
TMPFILES = "/etc/tmpfiles.d/edgebench.conf"
#: root's own folder: what jetson_clocks restores from there is run by root.
TMPFILES_LINE = "d /run/edgebench 0755 root root -"


@dataclass(frozen=True)
class Sudoers:
    """The file's text, and how it is checked and installed."""

    text: str
    #: The line of tmpfiles.d that makes root's own folder at every start; None where none is needed.
    tmpfiles: str | None
    install: tuple[str, ...]


def sudoers_for(examined: Examination, name: str) -> Sudoers:
    """The file for the user that the agent runs as on that board."""
    if examined.is_root:
        raise UsageError(
            f"{name}: the agent runs as root there and needs no sudoers file",
            "name an ordinary account as `user` in the inventory",
        )
    rules = rules_for(examined.commands, examined.governor_files)
    if not rules:
        raise UsageError(
            f"{name}: there is nothing to allow: it has no governor, nvpmodel or jetson_clocks",
            "a virtual machine has no clocks of its own",
        )
    has_clocks = "jetson_clocks" in examined.commands
    text = text_of(rules, str(examined.user), name)
    tmpfiles = TMPFILES_LINE if has_clocks else None
    return Sudoers(text, tmpfiles, _installation(tmpfiles))


def text_of(rules: Sequence[str], user: str, name: str) -> str:
    """The file's text for that user of the board."""
    escaped = ", \\\n    ".join(_escaped(rule) for rule in rules)
    return (
        f"# edgebench: what the agent runs as root on {name}, and nothing else\n"
        f"{user} ALL=(root) NOPASSWD: \\\n    {escaped}\n"
    )


def rules_for(commands: Mapping[str, str], governor_files: Sequence[str]) -> list[str]:
    """As the agent runs them, with the paths that the board has the commands under."""
    found = []
    nvpmodel = commands.get("nvpmodel")
    if nvpmodel:
        found += [f"{nvpmodel} -m [0-9]", f"{nvpmodel} -q"]
    clocks = commands.get("jetson_clocks")
    if clocks:
        # "" allows the command without arguments only; nothing there would allow any.
        found += [f'{clocks} ""', f"{clocks} --show"]
        found += [f"{clocks} {option} {CLOCKS_FILE}" for option in ("--store", "--restore")]
        found.append(f"{commands.get('rm', '/bin/rm')} -f {CLOCKS_FILE}")
        # Not for the mode, but memory of the GPU is told nowhere else. Read only.
        return [*found, f"{commands.get('cat', '/bin/cat')} {NVMAP_FILE}"]
    tee = commands.get("tee", "/usr/bin/tee")
    return found + [f"{tee} {path}" for path in governor_files]


def _installation(tmpfiles: str | None) -> tuple[str, ...]:
    """Checked before it takes effect: a broken file in sudoers.d locks everybody out of sudo."""
    steps = [
        "visudo -cf edgebench.sudoers",
        f"sudo install -o root -g root -m 0440 edgebench.sudoers {FILE}",
        "sudo visudo -c",
    ]
    if tmpfiles is not None:
        steps += [f"echo '{tmpfiles}' | sudo tee {TMPFILES}", f"sudo systemd-tmpfiles --create {TMPFILES}"]
    return tuple(steps)


def _escaped(command: str) -> str:
    """sudoers(5): these mean something in arguments unless a backslash is before them."""
    return "".join(f"\\{letter}" if letter in ",:=\\" else letter for letter in command)
