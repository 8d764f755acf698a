"""The part of cuda.bindings.runtime that the agent may use: each call answers (cudaError_t, values ...)."""

import ctypes
import enum
import os

if not os.environ.get("STANDIN_LIBCUDART"):
    raise ImportError("DLL load failed: the stand-in wants STANDIN_LIBCUDART")

_library = ctypes.CDLL(os.environ["STANDIN_LIBCUDART"])
_library.cudaGetErrorString.restype = ctypes.c_char_p


class cudaError_t(enum.IntEnum):  # noqa: N801 - the real name
    """Numbers of driver_types.h."""

    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorInvalidResourceHandle = 400
    cudaErrorUnknown = 999


class cudaMemcpyKind(enum.IntEnum):  # noqa: N801 - the real name
    """Directions."""

    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaDeviceAttr(enum.IntEnum):  # noqa: N801 - the real name
    """Attributes."""

    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


class _Handle:
    """A cudaStream_t or cudaEvent_t: int() gives its value."""

    def __init__(self, value):
        self._value = value

    def __int__(self):
        return self._value


class cudaDeviceProp:  # noqa: N801 - the real name
    """Of which the name alone."""

    name = b""


def _void(value):
    return ctypes.c_void_p(int(value))


def _given(status, *values):
    """As cuda-python does: on failure None in place of each value."""
    error = cudaError_t(status)
    return (error, *values) if error == cudaError_t.cudaSuccess else (error, *[None] * len(values))


def _number(function, *arguments):
    found = ctypes.c_int()
    return _given(function(ctypes.byref(found), *arguments), found.value)


def _made(function, wrap, *arguments):
    made = ctypes.c_void_p()
    status = function(ctypes.byref(made), *arguments)
    return _given(status, wrap(made.value or 0))


def cudaGetDeviceCount():  # noqa: N802
    return _number(_library.cudaGetDeviceCount)


def cudaSetDevice(device):  # noqa: N802
    return _given(_library.cudaSetDevice(device))


def cudaRuntimeGetVersion():  # noqa: N802
    return _number(_library.cudaRuntimeGetVersion)


def cudaDeviceGetAttribute(attr, device):  # noqa: N802
    found = ctypes.c_int()
    status = _library.cudaDeviceGetAttribute(ctypes.byref(found), int(attr), device)
    return _given(status, found.value)


def cudaGetDeviceProperties(device):  # noqa: N802
    text = ctypes.create_string_buffer(8192)
    status = _library.cudaGetDeviceProperties(text, device)
    properties = cudaDeviceProp()
    properties.name = text.value
    return _given(status, properties)


def cudaMemGetInfo():  # noqa: N802
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    status = _library.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    return _given(status, free.value, total.value)


def cudaMalloc(size):  # noqa: N802
    return _made(_library.cudaMalloc, int, ctypes.c_size_t(size))


def cudaFree(devPtr):  # noqa: N802, N803
    return _given(_library.cudaFree(_void(devPtr)))


def cudaHostAlloc(size, flags):  # noqa: N802
    return _made(_library.cudaHostAlloc, int, ctypes.c_size_t(size), flags)


def cudaFreeHost(ptr):  # noqa: N802
    return _given(_library.cudaFreeHost(_void(ptr)))


def cudaStreamCreateWithFlags(flags):  # noqa: N802
    return _made(_library.cudaStreamCreateWithFlags, _Handle, flags)


def cudaStreamDestroy(stream):  # noqa: N802
    return _given(_library.cudaStreamDestroy(_void(stream)))


def cudaStreamSynchronize(stream):  # noqa: N802
    return _given(_library.cudaStreamSynchronize(_void(stream)))


def cudaEventCreateWithFlags(flags):  # noqa: N802
    return _made(_library.cudaEventCreateWithFlags, _Handle, flags)


def cudaEventDestroy(event):  # noqa: N802
    return _given(_library.cudaEventDestroy(_void(event)))


def cudaEventRecord(event, stream):  # noqa: N802
    return _given(_library.cudaEventRecord(_void(event), _void(stream)))


def cudaEventElapsedTime(start, end):  # noqa: N802
    found = ctypes.c_float()
    status = _library.cudaEventElapsedTime(ctypes.byref(found), _void(start), _void(end))
    return _given(status, found.value)


def cudaMemcpyAsync(dst, src, count, kind, stream):  # noqa: N802
    size = ctypes.c_size_t(count)
    return _given(_library.cudaMemcpyAsync(_void(dst), _void(src), size, int(kind), _void(stream)))


def cudaGetLastError():  # noqa: N802
    return _given(_library.cudaGetLastError())


def cudaGetErrorString(error):  # noqa: N802
    return cudaError_t.cudaSuccess, _library.cudaGetErrorString(int(error))
