"""NVIDIA's power modes: which there are, which is set, which is best. Ids differ by board and release.

Orin Nano Super has MAXN_SUPER as id 2 and Orin NX Super as id 0, so ids always come from /etc/nvpmodel.conf
of the board at hand.
"""

import os
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from device_agents.boards.host import Host
from device_agents.boards.linux_files import LinuxFiles

#: A link to the file of the module, as a rule.
CONF = "/etc/nvpmodel.conf"

#: What the tool remembers over a reboot, as in `pmode:0002 fmode:fan_mode_quiet`. Everybody may read it.
STATUS = "/var/lib/nvpmodel/status"

#: /etc/nvpmodel.conf -> /etc/nvpmodel/nvpmodel_p3767_0003.conf is one step; a ring would have no end.
_LINK_STEPS = 8

_HEADER = re.compile(r"<\s*([A-Z_]+)\s+([^<>]*)>")
_ID = re.compile(r"\bID=([0-9]{1,4})\b")
_NAME = re.compile(r"\bNAME=(\S+)")
_STATUS = re.compile(r"\bpmode:([0-9]{1,6})\b")
_QUERY = re.compile(r"NV Power Mode:[ \t]*(\S[^\r\n]*)")
_WATTS = re.compile(r"([0-9]{1,4})W")


class PowerMode(NamedTuple):
    """A mode of the board, with what it sets, as in {"CPU_ONLINE CORE_1": "0"}."""

    id: int
    name: str
    settings: Dict[str, str]

    @property
    def label(self) -> str:
        """As a person reads it: MAXN (0)."""
        return label(self.id, self.name)

    @property
    def gating(self) -> Dict[str, str]:
        """Which parts of the GPU it switches off.

        Once the GPU was used these change with a reboot only: `Golden image context is already created`.
        """
        return {key: value for key, value in self.settings.items() if "PG_MASK" in key}


def label(number: int, name: Optional[str]) -> str:
    """Name and id of a mode."""
    return "{} ({})".format(name or "a mode without a name", number)


def parse_conf(text: str) -> List[PowerMode]:
    """The modes of a configuration in its order; lines that are not understood are passed over."""
    modes: List[PowerMode] = []
    settings: Optional[Dict[str, str]] = None
    for line in text.splitlines():
        header = _HEADER.match(line.strip())
        if header:
            settings = None
            number, name = _ID.search(header.group(2)), _NAME.search(header.group(2))
            if header.group(1) == "POWER_MODEL" and number and name:
                settings = {}
                modes.append(PowerMode(int(number.group(1)), name.group(1), settings))
        elif settings is not None and not line.lstrip().startswith("#"):
            words = line.split()
            if len(words) == 3:
                settings[words[0] + " " + words[1]] = words[2]
    return modes


def parse_query(text: str) -> Optional[Tuple[int, str]]:
    """Id and name out of `nvpmodel -q`; None if it does not say.

    The id stands on the next line; before and after there may be `NV Fan Mode:quiet`, `NVPM WARN: ...` and
    `NVPM ERROR: ...`, the last as a rule when an ordinary user asks.
    """
    found = _QUERY.search(text)
    if not found:
        return None
    for line in text[found.end() :].splitlines():
        if re.match(r"^[0-9]{1,4}$", line.strip(), re.ASCII):
            return int(line.strip()), found.group(1).strip()
    return None


def parse_status(text: str) -> Optional[int]:
    """The id in the tool's status file."""
    found = _STATUS.search(text)
    return int(found.group(1)) if found else None


def best_mode(modes: List[PowerMode]) -> Optional[PowerMode]:
    """The fastest: MAXN_SUPER, else MAXN, else most watts, then most cores (Xavier NX has no MAXN)."""
    for wanted in ("MAXN_SUPER", "MAXN"):
        for mode in modes:
            if _plain(mode.name) == wanted:
                return mode
    return max(modes, key=lambda mode: (_watts(mode), _cores(mode), -mode.id)) if modes else None


def modes(files: LinuxFiles) -> List[PowerMode]:
    """The board's modes; none where it has no such file."""
    text = files.text(_resolved(files, CONF))
    return parse_conf(text) if text else []


def current_id(host: Host) -> Optional[int]:
    """The id of the mode that is set: from the status file, else the tool is asked."""
    status = parse_status(host.files.text(STATUS) or "")
    if status is not None:
        return status
    asked = query(host)
    return None if asked is None else asked[0]


def query(host: Host) -> Optional[Tuple[int, str]]:
    """What `nvpmodel -q` says; needs no rights. Some milliseconds."""
    finished = host.commands.run("nvpmodel", "-q")
    return parse_query(finished.stdout + "\n" + finished.stderr)


def current_mode(host: Host) -> Optional[str]:
    """The mode that is set, as in "MAXN (0)"; None where there is none or it cannot be told."""
    status = parse_status(host.files.text(STATUS) or "")
    names = {mode.id: mode.name for mode in modes(host.files)}
    if status is not None and status in names:
        return label(status, names[status])
    asked = query(host)
    if asked is not None:
        return label(*asked)
    return None if status is None else label(status, None)


def named(host: Host, number: int) -> str:
    """A mode of this board by its id, for people."""
    return label(number, {mode.id: mode.name for mode in modes(host.files)}.get(number))


def _plain(name: str) -> str:
    upper = name.upper()
    return upper[len("MODE_") :] if upper.startswith("MODE_") else upper


def _watts(mode: PowerMode) -> int:
    found = _WATTS.search(mode.name.upper())
    return int(found.group(1)) if found else 0


def _cores(mode: PowerMode) -> int:
    return sum(1 for key, value in mode.settings.items() if key.startswith("CPU_ONLINE ") and value == "1")


def _resolved(files: LinuxFiles, path: str) -> str:
    """Where a link of the board leads, seen from the board's own "/"."""
    for _ in range(_LINK_STEPS):
        try:
            target = os.readlink(files.path(path))
        except OSError:
            return path
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))
    return path
