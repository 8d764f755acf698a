"""The stand-in's share of device memory: taken from the libcudart that this process has loaded, if any."""

import ctypes
from pathlib import Path


class DeviceBlock:
    """Device memory held as long as this object lives; `taken` is False where there was not enough."""

    def __init__(self, size):
        self._library = _loaded_libcudart()
        self._address = ctypes.c_void_p()
        self.taken = True
        if self._library is not None and size > 0:
            self.taken = self._library.cudaMalloc(ctypes.byref(self._address), ctypes.c_size_t(size)) == 0

    def __del__(self):
        if self._library is not None and self._address:
            self._library.cudaFree(self._address)


def _loaded_libcudart():
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    paths = sorted({line.split()[-1] for line in lines if "libcudart" in line})
    return ctypes.CDLL(paths[0]) if paths else None


def bytes_at(address, size):
    """A copy of device memory, which in the stand-in is memory like any other."""
    return ctypes.string_at(address, size)


def write_at(address, data):
    """Write to device memory."""
    ctypes.memmove(address, data, len(data))
