"""pycuda, cuda-python and libcudart do the same. The library below all three stands in for NVIDIA's."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import numpy as np
import pytest

from device_agents.cuda.base import Cuda, CudaError, CudaMissing, DeviceMemory
from device_agents.cuda.table import WAYS
from tests.device_agents.cuda.conftest import MEBIBYTE

pytestmark = pytest.mark.processes  # the C compiler, once


def test_tells_the_device(cuda: Cuda) -> None:
    facts = (cuda.device_name(), cuda.compute_capability(), cuda.version())
    assert facts == ("NVIDIA Tegra X1", (5, 3), "10.2")


def test_tells_which_memory_is_free(cuda: Cuda) -> None:
    cuda.allocate(8 * MEBIBYTE)
    assert cuda.memory() == DeviceMemory(free=40 * MEBIBYTE, total=64 * MEBIBYTE)


def test_memory_given_back_is_free_again(cuda: Cuda) -> None:
    cuda.free(cuda.allocate(48 * MEBIBYTE))
    assert cuda.memory().free == 48 * MEBIBYTE


def test_too_much_memory_is_refused_in_cudas_word(cuda: Cuda) -> None:
    with pytest.raises(CudaError) as refused:
        cuda.allocate(48 * MEBIBYTE + 1)
    assert refused.value.name == "cudaErrorMemoryAllocation"


# pycuda uses the driver's interface, which keeps no last error.
@pytest.mark.parametrize("cuda", ["cuda-python", "libcudart"], indirect=True)
def test_an_error_told_is_not_left_for_tensorrt_to_find(cuda: Cuda, library: ctypes.CDLL) -> None:
    with pytest.raises(CudaError):
        cuda.allocate(1 << 40)
    assert library.cudaGetLastError() == 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int64", "bool"])
def test_what_is_copied_in_comes_out(cuda: Cuda, dtype: str) -> None:
    stream = cuda.create_stream()
    sent, got = cuda.pinned((2, 3, 5), dtype), cuda.pinned((2, 3, 5), dtype)
    sent[...] = np.arange(30).reshape(2, 3, 5) % 7
    address = cuda.allocate(sent.nbytes)
    cuda.copy_in(address, sent, stream)
    cuda.copy_out(got, address, stream)
    cuda.synchronize(stream)
    assert (got.dtype, got.tolist()) == (sent.dtype, sent.tolist())


def test_ordinary_arrays_are_copied_too(cuda: Cuda) -> None:
    stream, sent = cuda.create_stream(), np.arange(12, dtype=np.float32)
    address = cuda.allocate(sent.nbytes)
    cuda.copy_in(address, sent, stream)
    got = np.empty((3, 4), np.float32)
    cuda.copy_out(got, address, stream)
    cuda.synchronize(stream)
    assert got.ravel().tolist() == sent.tolist()


def test_an_array_with_gaps_is_refused(cuda: Cuda) -> None:
    address, stream = cuda.allocate(64), cuda.create_stream()
    with pytest.raises(ValueError, match="contiguous"):
        cuda.copy_in(address, np.zeros((4, 4), np.float32)[:, ::2], stream)


def test_a_copy_beyond_the_block_is_refused(cuda: Cuda) -> None:
    address, stream = cuda.allocate(16), cuda.create_stream()
    with pytest.raises(CudaError, match=r"cudaErrorInvalidValue|invalid argument"):
        cuda.copy_in(address, cuda.pinned((5,), "float32"), stream)


@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)], ids=str)
def test_pinned_arrays_are_zeros_of_their_shape(cuda: Cuda, shape: tuple[int, ...]) -> None:
    array = cuda.pinned(shape, np.float32)
    assert (array.shape, array.dtype, array.any(), array.flags.writeable) == (shape, np.float32, False, True)


def test_events_keep_seconds(cuda: Cuda) -> None:
    stream, begun, ended = cuda.create_stream(), cuda.create_event(), cuda.create_event()
    cuda.record(begun, stream)
    time.sleep(0.02)
    cuda.record(ended, stream)
    cuda.synchronize(stream)
    assert 0.02 <= cuda.elapsed_s(begun, ended) < 2


def test_events_not_recorded_have_no_time_between(cuda: Cuda) -> None:
    with pytest.raises(CudaError, match="ElapsedTime"):
        cuda.elapsed_s(cuda.create_event(), cuda.create_event())


def test_close_gives_everything_back(cuda: Cuda, held: Callable[[], list[int]]) -> None:
    cuda.allocate(64), cuda.pinned((4,), "int8"), cuda.create_stream(), cuda.create_event()
    before = held()
    cuda.close()
    cuda.close()
    assert (before, held()) == ([1, 1, 1, 1], [0, 0, 0, 0])


@pytest.mark.parametrize("way", list(WAYS))
def test_a_driver_too_old_is_told_in_cudas_words(
    way: str, packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_CUDA_ERROR", "35")
    with pytest.raises(CudaMissing, match="CUDA driver version is insufficient for CUDA runtime version"):
        WAYS[way]()
