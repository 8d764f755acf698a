"""Puts stand-ins for CUDA and TensorRT where a board has the real ones; README.md says what they do."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from pathlib import Path

from harness.lab.jetson import stand_in_cuda
from harness.lab.jetson.stand_in_cuda import has_compiler as has_compiler
from harness.lab.jetson.standins import SITE as SITE

HERE = Path(__file__).parent
CAPTURES = HERE.parent / "captures" / "tensorrt-api"

#: What is made or fetched once and kept between runs.
KEPT = Path(tempfile.gettempdir()) / f"edgebench-standins-{os.getuid()}"

#: The same for `pycuda` and `cuda.bindings`; they want STANDIN_LIBCUDART, the path of compiled_libcudart().
CUDA_PACKAGES = HERE / "cuda_packages"


@functools.cache
def compiled_libcudart() -> Path:
    """The CUDA stand-in as a shared library; made once for each text of its source, kept between runs."""
    return stand_in_cuda.compiled_libcudart(KEPT)


def place_libcudart(root: Path, version: str = "10.2") -> Path:
    """Install the CUDA stand-in below a board's tree as its toolkit of that version; where it lies."""
    folder = root / "usr" / "local" / f"cuda-{version}" / "lib64"
    folder.mkdir(parents=True, exist_ok=True)
    placed = folder / f"libcudart.so.{version}"
    shutil.copyfile(compiled_libcudart(), placed)
    (folder / "libcudart.so").unlink(missing_ok=True)
    (folder / "libcudart.so").symlink_to(placed.name)
    return placed


def place_tensorrt(folder: Path) -> Path:
    """Copy the stand-in package `tensorrt`, with its captures, into `folder`; put that on PYTHONPATH."""
    placed = folder / "tensorrt"
    shutil.copytree(
        SITE / "tensorrt", placed, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    shutil.copytree(CAPTURES, placed / "_captures", dirs_exist_ok=True)
    return placed
