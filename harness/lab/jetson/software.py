"""What a virtual Jetson needs of this machine: packages for its Python, a C compiler, sudo.

Nothing of it is needed for the board to come up: what is missing it lacks, and that is said.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BenchError
from harness.farm.board_packages import BoardPlatform, Pin, packages_for, version_pair
from harness.farm.wheelhouse import Wheel, fetched
from harness.lab.boards.kinds import Kind
from harness.lab.jetson.stand_in_cuda import compiled_libcudart, has_compiler
from harness.lab.locking import locked
from harness.lab.machine.programs import call, which
from harness.lab.machine.pythons import find_python

Tell = Callable[[str], None]


@dataclass(frozen=True)
class JetsonSoftware:
    """What was found or made for boards of one kind; absent is None."""

    #: numpy and onnxruntime for the board's Python: with them the stand-in of TensorRT computes.
    packages: Path | None
    libcudart: Path | None
    has_sudo: bool
    #: What is missing, each with its remedy.
    lacks: tuple[str, ...]

    @property
    def has_tensorrt(self) -> bool:
        """Whether the board gets it: half of it would be a board that no real one is like."""
        return self.packages is not None and self.libcudart is not None


def find_software(kind: Kind, roots: Path, tell: Tell) -> JetsonSoftware:
    """All of it, made now where it is not there yet, and kept in `roots`."""
    lacks: list[str] = []
    packages = _packages(kind, roots, tell, lacks)
    libcudart = _libcudart(roots, lacks) if packages else None
    if packages is None or libcudart is None:
        lacks.append("so it comes without TensorRT")
    has_sudo = which("sudo") is not None
    if not has_sudo:
        lacks.append("no sudo here, so its performance mode cannot be changed (apt-get install -y sudo)")
    return JetsonSoftware(packages, libcudart, has_sudo, tuple(lacks))


def _packages(kind: Kind, roots: Path, tell: Tell, lacks: list[str]) -> Path | None:
    python = find_python(kind)
    if python is None or kind.python is None:
        lacks.append(
            f"there is no Python {kind.python} on this machine (pyenv install {kind.python}); it has python3"
        )
        return None
    try:
        return make_packages(python, kind.python, roots, tell)
    except BenchError as error:
        # A machine without the index has a board all the same.
        lacks.append(f"numpy and onnxruntime for its Python cannot be had: {error.message} ({error.remedy})")
        return None


def _libcudart(roots: Path, lacks: list[str]) -> Path | None:
    if not has_compiler():
        lacks.append("there is no C compiler for what stands in for CUDA (apt-get install -y gcc libc6-dev)")
        return None
    try:
        return compiled_libcudart(roots)
    except BenchError as error:
        lacks.append(f"what stands in for CUDA cannot be compiled: {error.message}")
        return None


def make_packages(python: Path, version: str, roots: Path, tell: Tell) -> Path:
    """The folder with numpy and onnxruntime for that Python; raises BenchError where they cannot be had."""
    target = BoardPlatform(
        machine=platform.machine(),
        python=version_pair(version) or (0, 0),
        glibc=version_pair((os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")),
        cpu_features=None,
    )
    pins = packages_for(target, ("onnxruntime",))
    folder = roots / _folder_name(target, pins)
    if not folder.is_dir():
        with locked(roots, tell):
            # Another lab may have made it meanwhile.
            if not folder.is_dir():
                _unpack(fetched(target, pins, roots / "wheels", tell), folder, python)
    return folder


def _folder_name(target: BoardPlatform, pins: tuple[Pin, ...]) -> str:
    words = " ".join(pin.exact for pin in pins)
    return f"{target.abi}-{target.machine}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def _unpack(wheels: tuple[Wheel, ...], folder: Path, python: Path) -> None:
    """A wheel is a zip whose files lie as they are imported. Made elsewhere; the name is for the whole."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for wheel in wheels:
            with zipfile.ZipFile(wheel.path) as archive:
                archive.extractall(partial)
        # The agent's processes may not keep what they compile here.
        call(python, "-m", "compileall", "-q", "-x", "/tests?/", partial)
        for place in (partial, *partial.rglob("*")):
            place.chmod(0o755 if place.is_dir() else 0o644)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
