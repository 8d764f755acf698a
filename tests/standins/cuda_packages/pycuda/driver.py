"""The part of pycuda.driver that the agent may use; as there, all but Device wants a context on the stack."""
# ruff: noqa: B905 - strict came with Python 3.10

import atexit
import ctypes
import os

import numpy as np

if not os.environ.get("STANDIN_LIBCUDART"):
    raise ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")

_library = ctypes.CDLL(os.environ["STANDIN_LIBCUDART"])
_library.cudaGetErrorString.restype = ctypes.c_char_p
_stack = []


class Error(Exception):
    """What CUDA refuses."""


class MemoryError(Error):  # noqa: A001 - the real name
    """Not enough memory."""


class LogicError(Error):
    """A wrong argument or state."""


class LaunchError(Error):
    """A kernel failed."""


class RuntimeError(Error):  # noqa: A001 - the real name
    """Anything else."""


@atexit.register
def _look_at_stack():
    if _stack:
        os.write(2, b"PyCUDA ERROR: The context stack was not empty upon module cleanup.\n")
        os.abort()


def _check(call, status):
    if status:
        kind = MemoryError if status == 2 else LogicError
        raise kind(f"{call} failed: {_library.cudaGetErrorString(status).decode()}")


def _in_context(call):
    if not _stack:
        raise LogicError(f"{call} failed: invalid device context")


def init(flags=0):
    """Look for a driver."""
    count = ctypes.c_int()
    _check("cuInit", _library.cudaGetDeviceCount(ctypes.byref(count)))


def get_version():
    """Of the toolkit it was compiled with."""
    number = ctypes.c_int()
    _library.cudaRuntimeGetVersion(ctypes.byref(number))
    return number.value // 1000, number.value % 1000 // 10, 0


class Context:
    """The primary context."""

    def push(self):
        """Make it the current one."""
        _stack.append(self)

    @staticmethod
    def pop():
        """Take the current one off."""
        if not _stack:
            raise LogicError(
                "m_stack::pop failed: invalid device context - cannot pop context off empty stack"
            )
        _stack.pop()

    def detach(self):
        """Give it back."""
        if self in _stack:
            raise LogicError("cuDevicePrimaryCtxRelease failed: it is on the stack")


class Device:
    """A GPU by its number."""

    def __init__(self, number):
        self._number = number

    @staticmethod
    def count():
        """GPUs there are."""
        count = ctypes.c_int()
        _library.cudaGetDeviceCount(ctypes.byref(count))
        return count.value

    def name(self):
        """Of the GPU."""
        text = ctypes.create_string_buffer(8192)
        _check("cuDeviceGetName", _library.cudaGetDeviceProperties(text, self._number))
        return text.value.decode()

    def compute_capability(self):
        """Major and minor."""
        parts = [ctypes.c_int(), ctypes.c_int()]
        for part, attribute in zip(parts, (75, 76)):
            status = _library.cudaDeviceGetAttribute(ctypes.byref(part), attribute, self._number)
            _check("cuDeviceGetAttribute", status)
        return parts[0].value, parts[1].value

    def retain_primary_context(self):
        """The context that the runtime API uses."""
        return Context()


def mem_get_info():
    """Free and total."""
    _in_context("cuMemGetInfo")
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _check("cuMemGetInfo", _library.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)))
    return free.value, total.value


class DeviceAllocation:
    """Memory that is given back when nobody has this object any more."""

    def __init__(self, address):
        self._address = address

    def __int__(self):
        return self._address

    def free(self):
        """Give it back now."""
        _check("cuMemFree", _library.cudaFree(ctypes.c_void_p(self._address)))
        self._address = 0

    def __del__(self):
        if self._address:
            self.free()


def mem_alloc(size):
    """Device memory."""
    _in_context("cuMemAlloc")
    address = ctypes.c_void_p()
    _check("cuMemAlloc", _library.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(size)))
    return DeviceAllocation(address.value)


def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
    """An array whose base has free()."""
    _in_context("cuMemHostAlloc")
    size = max(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize, 1)
    address = ctypes.c_void_p()
    _check("cuMemHostAlloc", _library.cudaHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), mem_flags))

    class HostAllocation(ctypes.c_ubyte * size):
        def free(self):
            _check("cuMemFreeHost", _library.cudaFreeHost(address))

    return np.ndarray(shape, dtype, HostAllocation.from_address(address.value))


class Stream:
    """A stream; given back with this object."""

    def __init__(self, flags=0):
        _in_context("cuStreamCreate")
        self._handle = ctypes.c_void_p()
        _check("cuStreamCreate", _library.cudaStreamCreateWithFlags(ctypes.byref(self._handle), flags))

    handle = property(lambda self: self._handle.value)

    def synchronize(self):
        """Wait for it."""
        _check("cuStreamSynchronize", _library.cudaStreamSynchronize(self._handle))

    def __del__(self):
        _library.cudaStreamDestroy(self._handle)


class Event:
    """A moment; given back with this object."""

    def __init__(self, flags=0):
        _in_context("cuEventCreate")
        self._handle = ctypes.c_void_p()
        _check("cuEventCreate", _library.cudaEventCreateWithFlags(ctypes.byref(self._handle), flags))

    def record(self, stream=None):
        """Note when the stream gets here."""
        handle = ctypes.c_void_p() if stream is None else stream._handle
        _check("cuEventRecord", _library.cudaEventRecord(self._handle, handle))
        return self

    def time_till(self, event):
        """Milliseconds."""
        found = ctypes.c_float()
        status = _library.cudaEventElapsedTime(ctypes.byref(found), self._handle, event._handle)
        _check("cuEventElapsedTime", status)
        return found.value

    def __del__(self):
        _library.cudaEventDestroy(self._handle)


def memcpy_htod_async(dest, src, stream=None):
    """Copy a host array to the device."""
    _copy("cuMemcpyHtoDAsync", dest, src.ctypes.data, src.nbytes, 1, stream)


def memcpy_dtoh_async(dest, src, stream=None):
    """Copy from the device to a host array."""
    _copy("cuMemcpyDtoHAsync", dest.ctypes.data, src, dest.nbytes, 2, stream)


def _copy(call, to, source, size, direction, stream):
    _in_context(call)
    handle = ctypes.c_void_p() if stream is None else stream._handle
    status = _library.cudaMemcpyAsync(
        ctypes.c_void_p(int(to)), ctypes.c_void_p(int(source)), ctypes.c_size_t(size), direction, handle
    )
    _check(call, status)
