"""What this machine needs for virtual boards, and what to install where it is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import LabError
from harness.lab.boards.kinds import Kind
from harness.lab.machine.programs import which

#: Without boards of the lab, this shows the whole product as well.
_INSTEAD = "without it: `bench run` measures this machine, --device USER@HOST any machine with an sshd"

#: Program -> Debian's package.
_ALWAYS = {
    "ip": "iproute2",
    "mount": "mount",
    "unshare": "util-linux",
    "chroot": "coreutils",
    "ssh-keygen": "openssh-client",
}
#: To unpack what comes from Debian's mirror.
_TO_UNPACK = {"setpriv": "util-linux", "mmdebstrap": "mmdebstrap", "arch-test": "arch-test"}
_SSHD = Path("/usr/sbin/sshd")
_DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Machine:
    """What is asked of this machine; tests give another one."""

    platform: str
    is_root: bool
    which: Callable[[str], str | None]
    has_sshd: bool
    has_debian_keys: bool

    @classmethod
    def here(cls) -> Machine:
        """The one this runs on."""
        return cls(sys.platform, os.geteuid() == 0, which, _SSHD.exists(), _DEBIAN_KEYS.exists())


def check(chosen: Sequence[Kind], *, unpacks: bool, machine: Machine | None = None) -> None:
    """Return if boards of these kinds can be started here; raises LabError with all that is missing.

    `unpacks` tells whether something of theirs still has to come from Debian's mirror.
    """
    here = machine or Machine.here()
    _check_linux(here)
    lacking = missing_packages(chosen, unpacks=unpacks, machine=here)
    if lacking:
        words = ", ".join(f"{what} (package {package})" for what, package in lacking.items())
        packages = " ".join(dict.fromkeys(lacking.values()))
        raise LabError(
            f"virtual boards need what is not installed here: {words}",
            f"apt-get install -y --no-install-recommends {packages}; {_INSTEAD}",
        )
    check_root(here)


def check_root(machine: Machine | None = None) -> None:
    """Return if this is root on Linux; raises LabError otherwise."""
    here = machine or Machine.here()
    _check_linux(here)
    if not here.is_root:
        raise LabError(
            "virtual boards need root: they are made of mounts, network namespaces and control groups",
            f'sudo -E env "PATH=$PATH" bench lab ...; {_INSTEAD}',
        )


def _check_linux(machine: Machine) -> None:
    if not machine.platform.startswith("linux"):
        raise LabError(
            f"virtual boards need Linux's namespaces; this machine is {machine.platform}",
            f"use a Linux machine or VM; {_INSTEAD}",
        )


def missing_packages(chosen: Sequence[Kind], *, unpacks: bool, machine: Machine) -> dict[str, str]:
    """What is missing -> the Debian package that has it."""
    wanted = dict(_ALWAYS)
    if unpacks:
        wanted |= _TO_UNPACK
    lacking = {program: package for program, package in wanted.items() if machine.which(program) is None}
    if unpacks and not machine.has_debian_keys:
        lacking["Debian's archive keys"] = "debian-archive-keyring"
    if not all(kind.is_emulated for kind in chosen) and not machine.has_sshd:
        lacking["sshd"] = "openssh-server"
    return lacking
