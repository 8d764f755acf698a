"""The Python a board's system would have, among those of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.lab.kinds import Kind

#: Where pyenv and packages of other distributions put interpreters.
_PLACES = (".pyenv/versions/{version}.*/bin/python{version}",)


def find_python(kind: Kind, home: Path | None = None) -> Path | None:
    """The interpreter for a board that lies on this machine's system; None for its root's own python3."""
    if kind.python is None:
        return None
    for pattern in _PLACES:
        found = sorted((home or Path.home()).glob(pattern.format(version=kind.python)))
        if found:
            return found[-1]
    # A shim of pyenv works or not by settings of its user.
    on_path = shutil.which(f"python{kind.python}")
    return Path(on_path) if on_path and ".pyenv" not in on_path else None
