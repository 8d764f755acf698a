"""CUDA through NVIDIA's cuda-python: `cuda.bindings.runtime` from 12.6 on, `cuda.cudart` before.

Every call answers a tuple that begins with a cudaError_t.
"""

import importlib
from typing import Any, Dict, List, Sequence, Set, Tuple

from device_agents.cuda.base import Cuda, CudaError, CudaMissing, DeviceMemory, remedy, version_text
from device_agents.cuda.host_arrays import PinnedArrays, any_array, array_at, bytes_of

MODULES = ("cuda.bindings.runtime", "cuda.cudart")

#: driver_types.h; cuda-python has no name for cudaStreamNonBlocking in its older versions.
_STREAM_NON_BLOCKING = 1


def open_cuda_python() -> Cuda:
    """CUDA by the installed cuda-python; raises CudaMissing."""
    reasons = []
    for name in MODULES:
        try:
            module = importlib.import_module(name)
            package = importlib.import_module(name.rpartition(".")[0])
        except ImportError as error:
            reasons.append(str(error))
            continue
        return CudaPython(module, str(getattr(package, "__version__", "of unknown version")))
    raise CudaMissing("; ".join(reasons))


class CudaPython(Cuda):
    """CUDA of device 0 by a module with the functions of cuda.bindings.runtime."""

    def __init__(self, module: Any, version: str) -> None:
        self._module = module
        self.package = "cuda-python {}".format(version)
        self._blocks: Set[int] = set()
        self._streams: Dict[int, Any] = {}
        self._events: List[Any] = []
        self._pinned: PinnedArrays = {}
        self._success = module.cudaError_t.cudaSuccess
        self._in = module.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._out = module.cudaMemcpyKind.cudaMemcpyDeviceToHost
        # Bound here, so that the timed calls look nothing up.
        self._memcpy = module.cudaMemcpyAsync
        self._record = module.cudaEventRecord
        self._wait = module.cudaStreamSynchronize
        self._find_device()

    def _find_device(self) -> None:
        try:
            status, count = self._module.cudaGetDeviceCount()
            if status == self._success and count:
                (status,) = self._module.cudaSetDevice(0)
        except RuntimeError as error:  # without libcuda.so some versions raise at the first call
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
        address = int(self._call("cudaHostAlloc", max(bytes_of(shape, dtype), 1), 0))
        host = array_at(address, shape, dtype)
        self._pinned[id(host.array)] = host
        return host.array

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
        _, host, size = self._pinned.get(id(array)) or any_array(array)
        (status,) = self._memcpy(address, host, size, self._in, stream)
        if status != self._success:
            self._fail("cudaMemcpyAsync", status)

    def copy_out(self, array: Any, address: int, stream: int) -> None:
        """By cudaMemcpyAsync."""
        _, host, size = self._pinned.get(id(array)) or any_array(array)
        (status,) = self._memcpy(host, address, size, self._out, stream)
        if status != self._success:
            self._fail("cudaMemcpyAsync", status)

    def record(self, event: Any, stream: int) -> None:
        """By cudaEventRecord."""
        (status,) = self._record(event, stream)
        if status != self._success:
            self._fail("cudaEventRecord", status)

    def synchronize(self, stream: int) -> None:
        """By cudaStreamSynchronize."""
        (status,) = self._wait(stream)
        if status != self._success:
            self._fail("cudaStreamSynchronize", status)

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
        for host in self._pinned.values():
            module.cudaFreeHost(host.address)
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
