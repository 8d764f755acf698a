"""What tactics took when they were tried: the same layer is not timed twice on a board."""

import contextlib
import hashlib
import os
from typing import Any

from device_agents.runtimes.tensorrt.packages import Library
from device_agents.workspace import whole_file


class TimingCache:
    """One file for each TensorRT and GPU; what does not load is begun anew."""

    def __init__(self, library: Library, folder: str) -> None:
        capability = library.cuda.compute_capability()
        identity = (library.package, library.version, library.cuda.device_name(), capability)
        name = hashlib.sha256(repr(identity).encode("utf-8")).hexdigest()[:32]
        self._path = os.path.join(folder, "timing", name + ".cache")
        self._log = library.log
        self._cache: Any = None

    def attach(self, config: Any) -> str:
        """Give it to a builder; returns new, extended or none (this TensorRT has no such cache)."""
        if not hasattr(config, "create_timing_cache"):
            return "none"
        for stored in (self._stored(), b""):
            doubts = len(self._log.warnings)
            cache = self._made(config, stored)
            if cache is not None and config.set_timing_cache(cache, False):
                self._cache = cache
                # Of a file that it cannot use it says so in a warning, and gives an empty cache.
                return "extended" if stored and len(self._log.warnings) == doubts else "new"
        return "none"

    def save(self) -> None:
        """Keep what was learnt; a cache is worth no failed build, so a full disk is let pass."""
        if self._cache is None:
            return
        content = self._cache.serialize()
        if content is None:
            return
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            with whole_file(self._path) as file:
                file.write(content)

    def _stored(self) -> bytes:
        try:
            with open(self._path, "rb") as file:
                return file.read()
        except OSError:
            return b""

    @staticmethod
    def _made(config: Any, stored: bytes) -> Any:
        try:
            return config.create_timing_cache(stored)
        except (RuntimeError, TypeError, ValueError):  # of a file that is none: pybind11's for a null pointer
            return None
