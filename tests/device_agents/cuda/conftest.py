"""CUDA by each of the three ways, over a C library that stands in for NVIDIA's."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_agents.cuda.base import Cuda
from device_agents.cuda.table import WAYS
from tests.standins.placing import CUDA_PACKAGES, compiled_libcudart, has_compiler, place_libcudart

MEBIBYTE = 1 << 20


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with CUDA 10.2 and a Nano's GPU, of which 64 MiB are there and 16 taken."""
    if not has_compiler():
        pytest.skip("no C compiler (cc) to make the CUDA stand-in with")
    place_libcudart(tmp_path)
    monkeypatch.setenv("EDGEBENCH_BOARD_ROOT", str(tmp_path))
    monkeypatch.setenv("STANDIN_GPU_MEMORY", str(64 * MEBIBYTE))
    monkeypatch.setenv("STANDIN_GPU_USED", str(16 * MEBIBYTE))
    return tmp_path


@pytest.fixture
def library(board: Path, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """The stand-in itself, one for all tests of a process: it is asked what has not been given back."""
    monkeypatch.setenv("STANDIN_LIBCUDART", str(compiled_libcudart()))
    return ctypes.CDLL(str(compiled_libcudart()))


@pytest.fixture
def packages(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pycuda and cuda-python can be imported."""
    monkeypatch.syspath_prepend(str(CUDA_PACKAGES))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("pycuda", "cuda")]:
        del sys.modules[name]


@pytest.fixture(params=list(WAYS))
def cuda(
    request: pytest.FixtureRequest, packages: None, monkeypatch: pytest.MonkeyPatch, library: ctypes.CDLL
) -> Iterator[Cuda]:
    """CUDA by each way; what a test leaves is given back."""
    # By the path that the packages use too, so that one process-wide account holds everything.
    monkeypatch.setattr("device_agents.cuda.libcudart._candidates", lambda: [str(compiled_libcudart())])
    opened = WAYS[request.param]()
    yield opened
    opened.close()


@pytest.fixture
def held(library: ctypes.CDLL) -> Callable[[], list[int]]:
    """How many device blocks, host blocks, streams and events have not been given back."""
    return lambda: [library.standin_live(kind) for kind in range(4)]
