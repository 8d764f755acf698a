"""The aarch64 system that the boards share, made once."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.lab.boards.kinds import Kind
from harness.lab.locking import locked
from harness.lab.machine.programs import call
from harness.lab.systems import qemu
from harness.lab.systems.mmdebstrap import unpack

SUITE = "bookworm"
#: What decides with a processor which packages run there.
PYTHON, GLIBC = (3, 11), (2, 36)
PACKAGES = (
    "libstdc++6", "libgomp1", "iproute2", "kmod", "python3", "python3-venv", "openssh-server",
    "openssh-sftp-server", "ca-certificates", "procps", "libc-bin", "base-passwd", "base-files", "bash",
    "dash", "coreutils", "grep", "sed", "util-linux", "hostname", "mawk", "login", "passwd", "findutils",
    "tar", "gzip",
)  # fmt: skip
_NOT_COMPILED = "test|idlelib|lib2to3|turtledemo|ensurepip|distutils|tkinter"
#: Raised when what is done after unpacking changes.
_RECIPE = 2


def root_folder(roots: Path) -> Path:
    """Where the root lies once it is made; a changed recipe has another place."""
    recipe = json.dumps([SUITE, PACKAGES, _RECIPE]).encode()
    return roots / f"debian-{SUITE}-{hashlib.sha256(recipe).hexdigest()[:8]}"


def must_unpack(roots: Path, chosen: Sequence[Kind]) -> bool:
    """Whether boards of these kinds need something that is not there yet: their root, or any QEMU."""
    if not any(kind.is_emulated for kind in chosen):
        return False
    return not root_folder(roots).is_dir() or (qemu.is_needed() and qemu.find_qemu(roots) is None)


def make_root(roots: Path, tell: Callable[[str], None]) -> Path:
    """The root, made now where it is not there yet. Needs the binfmt line; raises LabError."""
    folder = root_folder(roots)
    if not folder.is_dir():
        with locked(roots, tell):
            # Another lab may have made it meanwhile.
            if not folder.is_dir():
                _make(folder, tell)
    return folder


def _make(folder: Path, tell: Callable[[str], None]) -> None:
    """Make it elsewhere; the name is given to what is complete."""
    began = time.monotonic()
    tell(f"making the boards' Debian ({SUITE}, aarch64), once: about 130 MB in {folder}, 20 to 60 seconds")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _unpack(partial, tell)
        _finish(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    tell(f"made in {time.monotonic() - began:.0f} s")


def _unpack(folder: Path, tell: Callable[[str], None]) -> None:
    """Unpack the packages without running their scripts: 16 s instead of 196 s under emulation."""
    options = ("--arch=arm64", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
    unpack(SUITE, PACKAGES, folder, options, tell)


def _finish(folder: Path) -> None:
    """What the packages' scripts would have done and boards need."""
    (folder / "usr/bin/awk").symlink_to("mawk")
    for place in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(folder / place, ignore_errors=True)
    call("chroot", folder, "/sbin/ldconfig")
    # 10 s once; without, every process of the agent spends a second on it, and may not keep the outcome.
    call("chroot", folder, "sh", "-c", f"python3 -m compileall -q -x '{_NOT_COMPILED}' /usr/lib/python3.*")
