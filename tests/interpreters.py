"""The Pythons of this machine, by minor version: the agent has to run on whatever a board has.

Needs no pytest, so that benchmarks and scripts may use it too.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
from pathlib import Path

#: What the agent is tested with: its floor, two of the boards' systems, and the newest.
AGENT_VERSIONS = ("3.6", "3.8", "3.11", "3.13")


@functools.cache
def interpreter(version: str) -> Path | None:
    """A Python of that minor version, on PATH or made by pyenv; None if there is none."""
    on_path = shutil.which(f"python{version}")
    # Tests give HOME another meaning; the account's own folder stays what it is.
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    by_pyenv = sorted(home.glob(f".pyenv/versions/{version}.*/bin/python3"))
    # pyenv's own first: on PATH there may be only a shim, which works or not by a setting elsewhere.
    candidates = [*by_pyenv, *([Path(on_path)] if on_path else [])]
    return next((path for path in candidates if _version(path) == version), None)


def missing(version: str) -> str:
    """Why a test for that version is left out."""
    return f"no Python {version} on PATH or under ~/.pyenv"


def _version(path: Path) -> str | None:
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-c", question], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
