"""CUDA through NVIDIA's cuda-python: `cuda.bindings.runtime` from 12.6 on, `cuda.cudart` before.

Every call answers a tuple that begins with a cudaError_t.
"""

import importlib
from typing import Any, Dict, List, Sequence, Tuple

from device_agents.cuda.base import Cuda, CudaError, CudaMissing, DeviceMemory, remedy, version_text

MODULES = ("cuda.bindings.runtime", "cuda.cudart")

#: driver_types.h; cuda-python has no name for cudaStreamNonBlocking in its older versions.
_STREAM_NON_BLOCKING = 1


def open_cuda_python() -> Cuda:
    """CUDA by the installed cuda-python; raises CudaMissing."""
    return CudaPython(_runtime_module())


def _runtime_module() -> Any:
    reasons = []
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reasons.append(str(error))
    raise CudaMissing("; ".join(reasons))


class CudaPython(Cuda):
    """CUDA of device 0 by a module with the functions of cuda.bindings.runtime."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.package = "cuda-python {}".format(_version_of(module))
        self._blocks = set()  # type: set[int]
        self._streams = {}  # type: Dict[int, Any]
        self._events = []  # type: List[Any]
        self._pinned = {}  # type: Dict[int, Tuple[Any, int, int]]
        self._success = module.cudaError_t.cudaSuccess
        self._in = module.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._out = module.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._memcpy = module.cudaMemcpyAsync
        self._find_device()

    def _find_device(self) -> None:
        try:
            status, count = self._module.cudaGetDeviceCount()
            if status == self._success and count:
                (status,) = self._module.cudaSetDevice(0)
        except RuntimeError as error:  # it looks for libcuda.so at the first call, and not all versions answer a code
            raise CudaMissing("{}: {}".format(self.package, error)) from error
        if status != self._success:
            _, words = self._module.cudaGetErrorString(status)
            text = words.decode("ascii", "replace")
            raise CudaMissing("{}: {} ({}){}".format(self.package, text, status.name, remedy(status.name)))
        if not count:
            raise CudaMissing("{}: it finds no device{}".format(self.package, remedy("cudaErrorNoDevice")))

    def device_name(self) -> str:
        """As cudaGetDeviceProperties has it."""
        name = self._call("cudaGetDeviceProperties", 0).name
        return str(name.split(b"\0")[0].decode("utf-8", "replace"))

    def compute_capability(self) -> Tuple[int, int]:
        """By cudaDeviceGetAttribute."""
        attributes = self._module.cudaDeviceAttr
        major = self._call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMajor, 0)
        minor = self._call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMinor, 0)
        return int(major), int(minor)

    def version(self) -> str:
        """Of the runtime library it carries."""
        return version_text(int(self._call("cudaRuntimeGetVersion")))

    def memory(self) -> DeviceMemory:
        """By cudaMemGetInfo."""
        free, total = self._call("cudaMemGetInfo")
        return DeviceMemory(int(free), int(total))

    def allocate(self, size: int) -> int:
        """By cudaMalloc."""
        address = int(self._call("cudaMalloc", max(size, 1)))
        self._blocks.add(address)
        return address

    def free(self, address: int) -> None:
        """By cudaFree."""
        self._call("cudaFree", address)
        self._blocks.discard(address)

    def pinned(self, shape: Sequence[int], dtype: Any) -> Any:
        """By cudaHostAlloc."""
        import ctypes

        import numpy as np

        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        size = count * kind.itemsize
        address = int(self._call("cudaHostAlloc", max(size, 1), 0))
        ctypes.memset(address, 0, size)
        array = np.frombuffer((ctypes.c_ubyte * size).from_address(address), kind, count).reshape(tuple(shape))
        self._pinned[id(array)] = (array, address, size)
        return array

    def create_stream(self) -> int:
        """Non-blocking: it does not wait for the default stream."""
        stream = self._call("cudaStreamCreateWithFlags", _STREAM_NON_BLOCKING)
        self._streams[int(stream)] = stream
        return int(stream)

    def create_event(self) -> Any:
        """With times."""
        event = self._call("cudaEventCreateWithFlags", 0)
        self._events.append(event)
        return event

    def copy_in(self, address: int, array: Any, stream: int) -> None:
        """By cudaMemcpyAsync."""
        _, host, size = self._pinned.get(id(array)) or _unknown(array)
        (status,) = self._memcpy(address, host, size, self._in, stream)
        if status != self._success:
            self._fail("cudaMemcpyAsync", status)

    def copy_out(self, array: Any, address: int, stream: int) -> None:
        """By cudaMemcpyAsync."""
        _, host, size = self._pinned.get(id(array)) or _unknown(array)
        (status,) = self._memcpy(host, address, size, self._out, stream)
        if status != self._success:
            self._fail("cudaMemcpyAsync", status)

    def record(self, event: Any, stream: int) -> None:
        """By cudaEventRecord."""
        self._call("cudaEventRecord", event, stream)

    def synchronize(self, stream: int) -> None:
        """By cudaStreamSynchronize."""
        self._call("cudaStreamSynchronize", stream)

    def elapsed_s(self, start: Any, end: Any) -> float:
        """By cudaEventElapsedTime."""
        return float(self._call("cudaEventElapsedTime", start, end)) / 1e3

    def close(self) -> None:
        """What fails to be freed is left: after a failed kernel CUDA refuses everything."""
        module = self._module
        for event in self._events:
            module.cudaEventDestroy(event)
        for stream in self._streams.values():
            module.cudaStreamDestroy(stream)
        for _, address, _ in self._pinned.values():
            module.cudaFreeHost(address)
        for address in self._blocks:
            module.cudaFree(address)
        self._events, self._streams, self._pinned, self._blocks = [], {}, {}, set()

    def _call(self, name: str, *arguments: Any) -> Any:
        """What a call gives besides its status: nothing, one thing or a tuple."""
        status, *given = getattr(self._module, name)(*arguments)
        if status != self._success:
            self._fail(name, status)
        return given[0] if len(given) == 1 else tuple(given)

    def _fail(self, call: str, status: Any) -> None:
        # CUDA keeps the last error until it is asked for; TensorRT would find ours and take it for its own.
        self._module.cudaGetLastError()
        raise CudaError(call, str(status.name))


def _unknown(array: Any) -> Tuple[Any, int, int]:
    if not array.flags.c_contiguous:
        raise ValueError("only a contiguous array can be copied to or from a device")
    return array, array.ctypes.data, array.nbytes
