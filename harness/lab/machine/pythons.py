"""The Python a board's system would have, among those of this machine."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.lab.boards.kinds import Kind


def find_python(kind: Kind, homes: Sequence[Path] | None = None) -> Path | None:
    """The interpreter for a board that lies on this machine's system; None for its root's own python3."""
    if kind.python is None:
        return None
    for home in _homes() if homes is None else homes:
        found = sorted(home.glob(f".pyenv/versions/{kind.python}.*/bin/python{kind.python}"))
        if found:
            return found[-1]
    # A shim of pyenv works or not by settings of its user.
    on_path = shutil.which(f"python{kind.python}")
    return Path(on_path) if on_path and ".pyenv" not in on_path else None


def _homes() -> list[Path]:
    """HOME, and the account's own folder whatever HOME says: that of the caller with sudo."""
    account = pwd.getpwuid(int(os.environ.get("SUDO_UID", os.getuid())))
    return [Path.home(), Path(account.pw_dir)]
