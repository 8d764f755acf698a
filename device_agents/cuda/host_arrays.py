"""Host memory as numpy arrays, and the addresses of arrays."""

import ctypes
from typing import Any, Dict, NamedTuple, Sequence

Shape = Sequence[int]


class HostArray(NamedTuple):
    """An array with what a copy wants to know of it. Kept with the array, so that its id stays its own."""

    array: Any
    address: int
    size: int


#: Arrays in page-locked memory by their id().
PinnedArrays = Dict[int, HostArray]


def bytes_of(shape: Shape, dtype: Any) -> int:
    """Size of an array."""
    import numpy as np

    return int(np.prod(shape, dtype=np.int64)) * int(np.dtype(dtype).itemsize)


def array_at(address: int, shape: Shape, dtype: Any) -> HostArray:
    """Zeros in memory that somebody else holds; at least one byte of it."""
    import numpy as np

    size = bytes_of(shape, dtype)
    ctypes.memset(address, 0, size)
    memory: Any = (ctypes.c_ubyte * max(size, 1)).from_address(address)
    return HostArray(np.ndarray(tuple(shape), np.dtype(dtype), memory), address, size)


def any_array(array: Any) -> HostArray:
    """Of an array from elsewhere. What is not contiguous would be copied as other bytes than it shows."""
    if not array.flags.c_contiguous:
        raise ValueError("only a contiguous array can be copied to or from a device")
    return HostArray(array, int(array.ctypes.data), int(array.nbytes))
