"""Packages of Debian, fetched from its mirror, checked by its archive's keys and unpacked into a folder.

Nothing of them is installed in this machine's own system, and none of their scripts is run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import LabError
from harness.lab.machine.programs import environment


def unpack(
    suite: str, packages: Sequence[str], folder: Path, options: Sequence[str], tell: Callable[[str], None]
) -> None:
    """Unpack `packages` and what they need into `folder`: this machine's, unless `options` name another.

    Raises LabError; what is in the folder then is the caller's to remove.
    """
    command = [
        # In namespaces of its own, and not without us: neither a mount nor a process of it outlives a kill.
        "setpriv", "--pdeathsig", "KILL",
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
        "mmdebstrap", "--mode=root", "--variant=extract", *options, f"--include={','.join(packages)}",
        suite, str(folder),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    ) as child:
        assert child.stderr is not None
        said: list[str] = []
        for line in child.stderr:
            said.append(line)
            if line.startswith("I: "):
                tell(line.removeprefix("I: ").strip())
    if child.returncode != 0:
        words = " ".join(line.strip() for line in said if not line.startswith("I: ")) or "it gave no reason"
        raise LabError(
            f"mmdebstrap failed (status {child.returncode}): {words[-600:]}",
            "the packages come from Debian's mirror: see that this machine reaches it (apt-get update)",
        )
