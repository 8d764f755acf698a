"""What the agent wants of CUDA. A new way to it is a file beside this and a row in `table.py`.

Device memory and streams are plain integers (addresses and handles), so that TensorRT takes them as they are.
All calls come from one thread.
"""

from typing import Any, NamedTuple, Sequence, Tuple


class CudaMissing(Exception):
    """One way to CUDA is not there, or finds no device; the text says why."""


class CudaError(Exception):
    """A CUDA call failed; `name` is CUDA's own word, cudaErrorMemoryAllocation say."""

    def __init__(self, call: str, name: str) -> None:
        super().__init__("{}: {}".format(call, name))
        self.name = name


class DeviceMemory(NamedTuple):
    """cudaMemGetInfo: bytes free and in all. On boards whose GPU shares the RAM it is the whole board's."""

    free: int
    total: int


class Cuda:
    """CUDA of device 0. Every call raises CudaError when CUDA says no."""

    #: What serves it, with its version, as in "libcudart.so.10.2" or "pycuda 2022.1".
    package = ""

    def device_name(self) -> str:
        """The GPU's name."""
        raise NotImplementedError

    def compute_capability(self) -> Tuple[int, int]:
        """As in (5, 3)."""
        raise NotImplementedError

    def version(self) -> str:
        """CUDA's own version, as in "10.2"."""
        raise NotImplementedError

    def memory(self) -> DeviceMemory:
        """Memory of the device now."""
        raise NotImplementedError

    def allocate(self, size: int) -> int:
        """Address of `size` bytes (at least 1) of device memory; cudaErrorMemoryAllocation where there is not
        enough.
        """
        raise NotImplementedError

    def free(self, address: int) -> None:
        """Give device memory back."""
        raise NotImplementedError

    def pinned(self, shape: Sequence[int], dtype: Any) -> Any:
        """A numpy array of zeros in page-locked host memory; it must not be used after `close`."""
        raise NotImplementedError

    def create_stream(self) -> int:
        """A stream's handle; the stream waits for no other."""
        raise NotImplementedError

    def create_event(self) -> Any:
        """An event that keeps times."""
        raise NotImplementedError

    def copy_in(self, address: int, array: Any, stream: int) -> None:
        """Begin to copy a contiguous host array to the device.

        The address of an array that `pinned` gave is known and not asked for again: the timed loop may call
        this as it is. It goes by the object; of a view, or of any other array, numpy is asked for the address
        each time, which takes some microseconds. The array has to live until the stream is waited for.
        """
        raise NotImplementedError

    def copy_out(self, array: Any, address: int, stream: int) -> None:
        """Begin to copy device memory to a contiguous host array; as for `copy_in`."""
        raise NotImplementedError

    def record(self, event: Any, stream: int) -> None:
        """Note the moment when the stream gets here."""
        raise NotImplementedError

    def synchronize(self, stream: int) -> None:
        """Wait until the stream has done everything."""
        raise NotImplementedError

    def elapsed_s(self, start: Any, end: Any) -> float:
        """Seconds between two recorded events, to half a microsecond; the stream has to have passed both."""
        raise NotImplementedError

    def close(self) -> None:
        """Free streams, events, pinned memory and what is left of device memory; again is harmless."""
        raise NotImplementedError


def version_text(number: int) -> str:
    """CUDA's version from its number: 10020 is "10.2"."""
    return "{}.{}".format(number // 1000, number % 1000 // 10)


def remedy(name: str) -> str:
    """What mends a CUDA that finds no device, to be put after the reason; "" where nothing is known."""
    if name in ("cudaErrorNoDevice", "cudaErrorUnknown", "cudaErrorOperatingSystem"):
        return "; is the user in the group video (from JetPack 6 on in render, too)?"
    if name == "cudaErrorInsufficientDriver":
        return "; the board's driver is missing or older than this CUDA"
    return ""
