"""The part of cuda.bindings.runtime that the agent may use: each call answers (cudaError_t, values ...)."""
# ruff: noqa: N801, N802, N803, N815 - the real names

import ctypes
import enum
import os

if not os.environ.get("STANDIN_LIBCUDART"):
    raise ImportError("DLL load failed: the stand-in wants STANDIN_LIBCUDART")

_library = ctypes.CDLL(os.environ["STANDIN_LIBCUDART"])
_library.cudaGetErrorString.restype = ctypes.c_char_p


class cudaError_t(enum.IntEnum):
    """Numbers of driver_types.h."""

    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorInvalidResourceHandle = 400
    cudaErrorUnknown = 999


class cudaMemcpyKind(enum.IntEnum):
    """Directions."""

    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaDeviceAttr(enum.IntEnum):
    """Attributes."""

    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


class _Handle:
    """A cudaStream_t or cudaEvent_t: int() gives its value."""

    def __init__(self, value):
        self._value = value

    def __int__(self):
        return self._value


class cudaDeviceProp:
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


def cudaGetDeviceCount():
    return _number(_library.cudaGetDeviceCount)


def cudaSetDevice(device):
    return _given(_library.cudaSetDevice(device))


def cudaRuntimeGetVersion():
    return _number(_library.cudaRuntimeGetVersion)


def cudaDeviceGetAttribute(attr, device):
    found = ctypes.c_int()
    status = _library.cudaDeviceGetAttribute(ctypes.byref(found), int(attr), device)
    return _given(status, found.value)


def cudaGetDeviceProperties(device):
    text = ctypes.create_string_buffer(8192)
    status = _library.cudaGetDeviceProperties(text, device)
    properties = cudaDeviceProp()
    properties.name = text.value
    return _given(status, properties)


def cudaMemGetInfo():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    status = _library.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    return _given(status, free.value, total.value)


def cudaMalloc(size):
    return _made(_library.cudaMalloc, int, ctypes.c_size_t(size))


def cudaFree(devPtr):
    return _given(_library.cudaFree(_void(devPtr)))


def cudaHostAlloc(size, flags):
    return _made(_library.cudaHostAlloc, int, ctypes.c_size_t(size), flags)


def cudaFreeHost(ptr):
    return _given(_library.cudaFreeHost(_void(ptr)))


def cudaStreamCreateWithFlags(flags):
    return _made(_library.cudaStreamCreateWithFlags, _Handle, flags)


def cudaStreamDestroy(stream):
    return _given(_library.cudaStreamDestroy(_void(stream)))


def cudaStreamSynchronize(stream):
    return _given(_library.cudaStreamSynchronize(_void(stream)))


def cudaEventCreateWithFlags(flags):
    return _made(_library.cudaEventCreateWithFlags, _Handle, flags)


def cudaEventDestroy(event):
    return _given(_library.cudaEventDestroy(_void(event)))


def cudaEventRecord(event, stream):
    return _given(_library.cudaEventRecord(_void(event), _void(stream)))


def cudaEventElapsedTime(start, end):
    found = ctypes.c_float()
    status = _library.cudaEventElapsedTime(ctypes.byref(found), _void(start), _void(end))
    return _given(status, found.value)


def cudaMemcpyAsync(dst, src, count, kind, stream):
    size = ctypes.c_size_t(count)
    return _given(_library.cudaMemcpyAsync(_void(dst), _void(src), size, int(kind), _void(stream)))


def cudaGetLastError():
    return _given(_library.cudaGetLastError())


def cudaGetErrorString(error):
    return cudaError_t.cudaSuccess, _library.cudaGetErrorString(int(error))
