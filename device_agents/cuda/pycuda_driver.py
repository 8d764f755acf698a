"""CUDA through pycuda's driver module, in the device's primary context: the one that TensorRT runs in too.

Not through pycuda.autoinit, which makes a context of its own and takes it down at exit, before or after the
engines that live in it. A context left on pycuda's stack at exit aborts the interpreter; ours is taken off.
"""

import atexit
import importlib
from typing import Any, Dict, List, Sequence, Tuple

from device_agents.cuda.base import Cuda, CudaError, CudaMissing, DeviceMemory
from device_agents.cuda.host_arrays import any_array

#: CU_STREAM_NON_BLOCKING of cuda.h: the stream does not wait for the default one.
_NON_BLOCKING = 1


def open_pycuda() -> Cuda:
    """CUDA by the installed pycuda; raises CudaMissing."""
    try:
        driver = importlib.import_module("pycuda.driver")
        version = importlib.import_module("pycuda").VERSION_TEXT
    except ImportError as error:
        raise CudaMissing(str(error)) from error
    # It was compiled on this board, perhaps against another numpy; an old one asks numpy for what is gone.
    except (AttributeError, RuntimeError, ValueError, TypeError) as error:
        raise CudaMissing("pycuda cannot be imported: {}".format(error)) from error
    return PyCuda(driver, str(version))


class PyCuda(Cuda):
    """CUDA of device 0 by pycuda.driver."""

    def __init__(self, driver: Any, version: str) -> None:
        self._driver = driver
        self.package = "pycuda {}".format(version)
        self._blocks: Dict[int, Any] = {}
        self._streams: Dict[int, Any] = {}
        self._events: List[Any] = []
        self._pinned: Dict[int, Any] = {}
        try:
            driver.init()
            if driver.Device.count() == 0:
                raise CudaMissing("{}: it finds no device".format(self.package))
            self._device = driver.Device(0)
            if not hasattr(self._device, "retain_primary_context"):
                raise CudaMissing("{} has no primary contexts; 2020.1 and later do".format(self.package))
            self._context: Any = self._device.retain_primary_context()
            self._context.push()
        except driver.Error as error:
            raise CudaMissing("{}: {}".format(self.package, error)) from error
        atexit.register(self.close)

    def device_name(self) -> str:
        """As cuDeviceGetName has it."""
        return str(self._device.name())

    def compute_capability(self) -> Tuple[int, int]:
        """By cuDeviceComputeCapability."""
        major, minor = self._device.compute_capability()
        return int(major), int(minor)

    def version(self) -> str:
        """Of the toolkit it was compiled with."""
        major, minor = self._driver.get_version()[:2]
        return "{}.{}".format(major, minor)

    def memory(self) -> DeviceMemory:
        """By cuMemGetInfo."""
        free, total = self._guarded("cuMemGetInfo", self._driver.mem_get_info)
        return DeviceMemory(int(free), int(total))

    def allocate(self, size: int) -> int:
        """By cuMemAlloc."""
        block = self._guarded("cuMemAlloc", self._driver.mem_alloc, max(size, 1))
        self._blocks[int(block)] = block
        return int(block)

    def free(self, address: int) -> None:
        """By cuMemFree."""
        block = self._blocks.pop(address, None)
        if block is None:
            raise CudaError("cuMemFree", "cudaErrorInvalidValue")
        self._guarded("cuMemFree", block.free)

    def pinned(self, shape: Sequence[int], dtype: Any) -> Any:
        """By cuMemHostAlloc."""
        array = self._guarded("cuMemHostAlloc", self._driver.pagelocked_empty, tuple(shape), dtype)
        array[...] = 0
        self._pinned[id(array)] = array
        return array

    def create_stream(self) -> int:
        """Non-blocking: it does not wait for the default stream."""
        stream = self._guarded("cuStreamCreate", self._driver.Stream, _NON_BLOCKING)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def create_event(self) -> Any:
        """With times."""
        event = self._guarded("cuEventCreate", self._driver.Event)
        self._events.append(event)
        return event

    def copy_in(self, address: int, array: Any, stream: int) -> None:
        """By cuMemcpyHtoDAsync; pycuda takes the address from the array's buffer itself."""
        if id(array) not in self._pinned:
            any_array(array)
        try:
            self._driver.memcpy_htod_async(address, array, self._streams[stream])
        except self._driver.Error as error:
            raise _named("cuMemcpyHtoDAsync", error) from error

    def copy_out(self, array: Any, address: int, stream: int) -> None:
        """By cuMemcpyDtoHAsync."""
        if id(array) not in self._pinned:
            any_array(array)
        try:
            self._driver.memcpy_dtoh_async(array, address, self._streams[stream])
        except self._driver.Error as error:
            raise _named("cuMemcpyDtoHAsync", error) from error

    def record(self, event: Any, stream: int) -> None:
        """By cuEventRecord."""
        self._guarded("cuEventRecord", event.record, self._streams[stream])

    def synchronize(self, stream: int) -> None:
        """By cuStreamSynchronize."""
        self._guarded("cuStreamSynchronize", self._streams[stream].synchronize)

    def elapsed_s(self, start: Any, end: Any) -> float:
        """By cuEventElapsedTime."""
        return float(self._guarded("cuEventElapsedTime", start.time_till, end)) / 1e3

    def close(self) -> None:
        """In the order that pycuda wants: all that lives in the context, then the context."""
        if self._context is None:
            return
        context, self._context = self._context, None
        atexit.unregister(self.close)
        self._events, self._streams = [], {}
        try:
            for array in self._pinned.values():
                array.base.free()
            for block in self._blocks.values():
                block.free()
        except self._driver.Error:  # after a failed kernel CUDA refuses everything; the context goes anyway
            pass
        self._pinned, self._blocks = {}, {}
        context.pop()
        context.detach()

    def _guarded(self, call: str, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._driver.Error as error:
            raise _named(call, error) from error


def _named(call: str, error: Exception) -> CudaError:
    """The call and CUDA's word of an error such as "cuMemAlloc failed: out of memory"."""
    text = str(error)
    call, _, words = text.partition(" failed: ") if " failed: " in text else (call, "", text)
    names = {"MemoryError": "cudaErrorMemoryAllocation", "LaunchError": "cudaErrorLaunchFailure"}
    return CudaError(call, names.get(type(error).__name__, words))
