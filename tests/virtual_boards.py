"""Virtual boards for tests: where they can be had, and whether anything of them is left.

Needs no pytest, so that benchmarks use it too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.errors import LabError
from harness.lab.boards.kinds import chosen_kinds
from harness.lab.machine import binfmt, cgroups, network
from harness.lab.machine.requirements import check
from harness.lab.names import LabNames
from harness.lab.systems.roots import must_unpack

#: Made by the first test that wants it, about a minute; kept for later runs.
ROOTS = Path(os.environ.get("EDGEBENCH_LAB_ROOTS", f"/var/tmp/edgebench-lab-roots-{os.getuid()}"))


def missing(*kinds: str) -> str | None:
    """Why boards of these kinds cannot be started here, or None."""
    try:
        chosen = chosen_kinds(kinds)
        check(chosen, unpacks=must_unpack(ROOTS, chosen))
        cgroups.memory_hierarchy()
    except LabError as error:
        return f"{error.message} ({error.remedy})"
    # Containers have a root that may not do this.
    may = ["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"]
    done = subprocess.run(may, capture_output=True, text=True, check=False)
    return f"root may not make namespaces here: {done.stderr.strip()}" if done.returncode else None


def left_of(home: Path) -> list[str]:
    """Everything on this machine that belongs to the lab in that folder."""
    names = LabNames.of(home)
    group = cgroups.memory_hierarchy() / names.group
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    # Another lab's lines keep the list mounted.
    in_use = {path.name for path in binfmt.PLACE.glob("*")} - {"register", "status"}
    ours = [f"edgebench-lab {binfmt.PLACE}"] if not in_use else []
    mounts = [line for line in mounts if str(home) in line or line.startswith(tuple(ours))]
    files = [str(path) for path in home.glob("*") if path.name != "lock"]
    lines = [str(path) for path in binfmt.PLACE.glob(names.binfmt)]
    return [
        *network.lab_links(names),
        *network.lab_namespaces(names),
        *([str(group)] if group.exists() else []),
        *mounts,
        *files,
        *lines,
        *_processes(home),
    ]


def _processes(home: Path) -> Sequence[str]:
    """Processes whose root or command line is below the folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = str(home) in os.readlink(place / "root")  # noqa: PTH115 - the target may be gone
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if is_ours or f"{home}/boards" in command:
            found.append(f"process {place.name}: {command}")
    return found
