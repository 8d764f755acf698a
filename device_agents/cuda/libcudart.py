"""CUDA through ctypes on the toolkit's own libcudart: nothing to install, the same calls from 10.2 to 13.

Names and signatures are those of cuda_runtime_api.h; all of them are exported by 10.2 and by 13 alike.
"""

import ctypes
import os
import platform
from typing import Any, Dict, List, Sequence, Set, Tuple

from device_agents.boards.host import this_host
from device_agents.cuda.base import Cuda, CudaError, CudaMissing, DeviceMemory, remedy, version_text
from device_agents.cuda.host_arrays import PinnedArrays, any_array, array_at, bytes_of

#: Where toolkits put it; the folder /usr/local/cuda is the toolkit in use, others lie beside it.
PLACES = (
    "/usr/local/cuda/lib64/libcudart.so*",
    "/usr/local/cuda*/lib64/libcudart.so*",
    "/usr/local/cuda*/targets/*/lib/libcudart.so*",
    "/usr/lib/{machine}-linux-gnu/libcudart.so*",
)

#: JetPack 4, 5, 6 and 7, for the loader's own search.
NAMES = ("libcudart.so.10.2", "libcudart.so.11.0", "libcudart.so.12", "libcudart.so.13", "libcudart.so")

#: driver_types.h
_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_STREAM_NON_BLOCKING = 1
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_SUCCESS = 0

#: cudaDeviceProp begins with char name[256]; in all it has 1008 bytes in CUDA 13 and less before.
_PROPERTIES_BYTES = 8192
_NAME_BYTES = 256

_int_p = ctypes.POINTER(ctypes.c_int)
_size_p = ctypes.POINTER(ctypes.c_size_t)
_handle_p = ctypes.POINTER(ctypes.c_void_p)

SIGNATURES: Dict[str, Tuple[Any, ...]] = {
    "cudaGetDeviceCount": (_int_p,),
    "cudaSetDevice": (ctypes.c_int,),
    "cudaDeviceGetAttribute": (_int_p, ctypes.c_int, ctypes.c_int),
    "cudaGetDeviceProperties": (ctypes.c_void_p, ctypes.c_int),
    "cudaRuntimeGetVersion": (_int_p,),
    "cudaMemGetInfo": (_size_p, _size_p),
    "cudaMalloc": (_handle_p, ctypes.c_size_t),
    "cudaFree": (ctypes.c_void_p,),
    "cudaHostAlloc": (_handle_p, ctypes.c_size_t, ctypes.c_uint),
    "cudaFreeHost": (ctypes.c_void_p,),
    "cudaStreamCreateWithFlags": (_handle_p, ctypes.c_uint),
    "cudaStreamDestroy": (ctypes.c_void_p,),
    "cudaStreamSynchronize": (ctypes.c_void_p,),
    "cudaEventCreateWithFlags": (_handle_p, ctypes.c_uint),
    "cudaEventDestroy": (ctypes.c_void_p,),
    "cudaEventRecord": (ctypes.c_void_p, ctypes.c_void_p),
    "cudaEventElapsedTime": (ctypes.POINTER(ctypes.c_float), ctypes.c_void_p, ctypes.c_void_p),
    "cudaMemcpyAsync": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p),
    "cudaGetLastError": (),
}


def open_libcudart() -> Cuda:
    """CUDA by the first library that loads and finds a device; raises CudaMissing."""
    reasons: List[str] = []
    for path in _candidates():
        try:
            return Libcudart(path)
        except CudaMissing as missing:
            reasons.append(str(missing))
    if not reasons:
        raise CudaMissing("no libcudart.so in " + ", ".join(os.path.dirname(place) for place in _places()))
    raise CudaMissing("; ".join(reasons))


def _places() -> List[str]:
    return [place.format(machine=platform.machine()) for place in PLACES]


def _candidates() -> List[str]:
    """Libraries under this host's root, each once; where that is the machine itself the loader's, too."""
    files = this_host().files
    found: Dict[str, None] = {}
    for place in _places():
        for path in files.matches(place):
            found.setdefault(os.path.realpath(files.path(path)))
    if not found and files.root == "/":
        return [name for name in NAMES if _loads(name)]
    return list(found)


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


class Libcudart(Cuda):
    """CUDA of device 0 by one libcudart; `path` may be a name that the loader finds."""

    def __init__(self, path: str) -> None:
        try:
            self._library = ctypes.CDLL(path)
            self._declare()
        except (OSError, AttributeError) as error:  # of another machine, or it lacks a call
            raise CudaMissing("{}: {}".format(path, error)) from error
        self.package = os.path.basename(path)
        self._blocks: Set[int] = set()
        self._streams: List[int] = []
        self._events: List[int] = []
        self._pinned: PinnedArrays = {}
        self._find_device()

    def _declare(self) -> None:
        """Signatures once: a call then converts its arguments itself, and needs no check in Python."""
        library = self._library
        library.cudaGetErrorName.argtypes = library.cudaGetErrorString.argtypes = (ctypes.c_int,)
        library.cudaGetErrorName.restype = library.cudaGetErrorString.restype = ctypes.c_char_p
        for name, arguments in SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes = arguments
            function.restype = ctypes.c_int
        # Bound here, so that the timed calls look nothing up.
        self._memcpy = library.cudaMemcpyAsync
        self._record = library.cudaEventRecord
        self._wait = library.cudaStreamSynchronize

    def _find_device(self) -> None:
        count = ctypes.c_int()
        status = self._library.cudaGetDeviceCount(ctypes.byref(count))
        if status == _SUCCESS and count.value > 0:
            status = self._library.cudaSetDevice(0)
        if status != _SUCCESS:
            name = self._error_name(status)
            words = self._library.cudaGetErrorString(status).decode("ascii", "replace")
            raise CudaMissing("{}: {} ({}){}".format(self.package, words, name, remedy(name)))
        if count.value == 0:
            raise CudaMissing("{}: it finds no device{}".format(self.package, remedy("cudaErrorNoDevice")))

    def device_name(self) -> str:
        """As cudaGetDeviceProperties has it."""
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", properties, 0)
        return properties.raw[:_NAME_BYTES].split(b"\0")[0].decode("utf-8", "replace")

    def compute_capability(self) -> Tuple[int, int]:
        """Attributes 75 and 76."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("cudaDeviceGetAttribute", ctypes.byref(major), _CAPABILITY_MAJOR, 0)
        self._call("cudaDeviceGetAttribute", ctypes.byref(minor), _CAPABILITY_MINOR, 0)
        return major.value, minor.value

    def version(self) -> str:
        """Of the runtime library."""
        number = ctypes.c_int()
        self._call("cudaRuntimeGetVersion", ctypes.byref(number))
        return version_text(number.value)

    def memory(self) -> DeviceMemory:
        """By cudaMemGetInfo."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return DeviceMemory(free.value, total.value)

    def allocate(self, size: int) -> int:
        """By cudaMalloc."""
        address = self._handle("cudaMalloc", max(size, 1))
        self._blocks.add(address)
        return address

    def free(self, address: int) -> None:
        """By cudaFree."""
        self._call("cudaFree", address)
        self._blocks.discard(address)

    def pinned(self, shape: Sequence[int], dtype: Any) -> Any:
        """By cudaHostAlloc."""
        address = self._handle("cudaHostAlloc", max(bytes_of(shape, dtype), 1), 0)
        host = array_at(address, shape, dtype)
        self._pinned[id(host.array)] = host
        return host.array

    def create_stream(self) -> int:
        """Non-blocking: it does not wait for the default stream."""
        stream = self._handle("cudaStreamCreateWithFlags", _STREAM_NON_BLOCKING)
        self._streams.append(stream)
        return stream

    def create_event(self) -> Any:
        """With times."""
        event = self._handle("cudaEventCreateWithFlags", 0)
        self._events.append(event)
        return event

    def copy_in(self, address: int, array: Any, stream: int) -> None:
        """By cudaMemcpyAsync."""
        _, host, size = self._pinned.get(id(array)) or any_array(array)
        status = self._memcpy(address, host, size, _HOST_TO_DEVICE, stream)
        if status:
            self._fail("cudaMemcpyAsync", status)

    def copy_out(self, array: Any, address: int, stream: int) -> None:
        """By cudaMemcpyAsync."""
        _, host, size = self._pinned.get(id(array)) or any_array(array)
        status = self._memcpy(host, address, size, _DEVICE_TO_HOST, stream)
        if status:
            self._fail("cudaMemcpyAsync", status)

    def record(self, event: Any, stream: int) -> None:
        """By cudaEventRecord."""
        status = self._record(event, stream)
        if status:
            self._fail("cudaEventRecord", status)

    def synchronize(self, stream: int) -> None:
        """By cudaStreamSynchronize."""
        status = self._wait(stream)
        if status:
            self._fail("cudaStreamSynchronize", status)

    def elapsed_s(self, start: Any, end: Any) -> float:
        """By cudaEventElapsedTime."""
        milliseconds = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(milliseconds), start, end)
        return milliseconds.value / 1e3

    def close(self) -> None:
        """What fails to be freed is left: after a failed kernel CUDA refuses everything."""
        library = self._library
        for event in self._events:
            library.cudaEventDestroy(event)
        for stream in self._streams:
            library.cudaStreamDestroy(stream)
        for host in self._pinned.values():
            library.cudaFreeHost(host.address)
        for address in self._blocks:
            library.cudaFree(address)
        self._events, self._streams, self._pinned, self._blocks = [], [], {}, set()

    def _handle(self, name: str, *arguments: Any) -> int:
        """What a call writes to its first argument."""
        handle = ctypes.c_void_p()
        self._call(name, ctypes.byref(handle), *arguments)
        return handle.value or 0

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            self._fail(name, status)

    def _fail(self, call: str, status: int) -> None:
        # CUDA keeps the last error until it is asked for; TensorRT would find ours and take it for its own.
        self._library.cudaGetLastError()
        raise CudaError(call, self._error_name(status))

    def _error_name(self, status: int) -> str:
        return str(self._library.cudaGetErrorName(status).decode("ascii", "replace"))
