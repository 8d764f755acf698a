"""Compiles what stands in for NVIDIA's CUDA runtime: no GPU, this machine's memory."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from harness.lab.jetson.standins import LIBCUDART
from harness.lab.machine.programs import call

_OPTIONS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread")


def has_compiler() -> bool:
    """Whether it can be made here."""
    return shutil.which("cc") is not None


def compiled_libcudart(kept: Path) -> Path:
    """The library in `kept`, made once for each text of its source; LabError has the compiler's words."""
    name = f"libcudart-{hashlib.sha256(LIBCUDART.read_bytes()).hexdigest()[:12]}.so"
    made = kept / name
    if not made.is_file():
        kept.mkdir(parents=True, exist_ok=True, mode=0o755)
        with tempfile.TemporaryDirectory(dir=kept) as folder:
            fresh = Path(folder) / name
            call("cc", *_OPTIONS, "-o", fresh, LIBCUDART)
            fresh.chmod(0o755)
            fresh.rename(made)
    return made
