"""Running the system's programs; what they say when they fail becomes a LabError."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from harness.errors import LabError

#: Where distributions put programs for root; a user's PATH, which sudo may have handed on, often lacks them.
_ROOTS_PLACES = "/usr/local/sbin:/usr/sbin:/sbin"


def which(name: str) -> str | None:
    """Where a program is, those for root included."""
    return shutil.which(name, path=environment()["PATH"])


def environment() -> dict[str, str]:
    """What programs are started with."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:{_ROOTS_PLACES}", "LC_ALL": "C"}


def call(*command: str | Path, text: str | None = None) -> str:
    """What the command prints; raises LabError with its last words if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=text, capture_output=True, text=True, check=False, env=environment()
        )
    except OSError as error:
        raise LabError(f"{words[0]}: cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-600:] or "it said nothing"
        raise LabError(f"`{shlex.join(words)}` failed (status {done.returncode}): {said}")
    return done.stdout
