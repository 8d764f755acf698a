"""How to build: flags, workspace, profiles, timing cache."""
# ruff: noqa: B905 - strict came with Python 3.10

import ctypes
import json

from tensorrt import _settings
from tensorrt._bound import Bound, attribute, enumeration, expect
from tensorrt._generation import SHAPE, VERSION, since
from tensorrt._logging import IInt8Calibrator, Severity
from tensorrt._network import DataType, Dims

BuilderFlag = enumeration("BuilderFlag", SHAPE.enums["BuilderFlag"])
NetworkDefinitionCreationFlag = enumeration(
    "NetworkDefinitionCreationFlag", SHAPE.enums["NetworkDefinitionCreationFlag"]
)
DeviceType = enumeration("DeviceType", SHAPE.enums["DeviceType"])
ProfilingVerbosity = enumeration("ProfilingVerbosity", SHAPE.enums["ProfilingVerbosity"])
MemoryPoolType = enumeration("MemoryPoolType", SHAPE.enums.get("MemoryPoolType", {}))

_CACHE_MAGIC = b"ttrt"


class IHostMemory:
    """A buffer of bytes; made by `host_memory`, because only ctypes gives a Python class a buffer."""

    nbytes = property(lambda self: self._length_)
    dtype = property(lambda self: DataType.INT8)


def host_memory(data):
    """`data` as the library hands it out."""
    kind = type("IHostMemory", (IHostMemory, ctypes.Array), {"_type_": ctypes.c_ubyte, "_length_": len(data)})
    return kind.from_buffer_copy(data)


class IOptimizationProfile(Bound):
    """Ranges of the open sizes."""

    def __init__(self):
        self._shapes = {}
        self._valid = True

    def set_shape(self, input, min, opt, max):  # noqa: A002 - the real names
        """Smallest, usual and largest shape of an input; out of order they are a RuntimeError before 10."""
        shapes = [tuple(min), tuple(opt), tuple(max)]
        same_rank = len({len(shape) for shape in shapes}) == 1
        if not same_rank or not all(low <= usual <= high for low, usual, high in zip(*shapes)):
            if not since(10):
                raise RuntimeError("Shape provided for max is inconsistent with other shapes.")
            self._valid = False
        self._shapes[input] = shapes

    def get_shape(self, input):  # noqa: A002 - the real name
        """The three shapes."""
        return [Dims(shape) for shape in self._shapes.get(input, [])]

    def __bool__(self):
        return self._valid


class ITimingCache(Bound):
    """Timings of tactics, of use to later builds of the same kind."""

    def __init__(self, entries):
        self._entries = entries

    def serialize(self):
        """As bytes."""
        return host_memory(_CACHE_MAGIC + json.dumps([VERSION, sorted(self._entries)]).encode())

    def combine(self, input_cache, ignore_mismatch):
        """Take another's timings in."""
        self._entries |= input_cache._entries
        return True

    def reset(self):
        """Empty it."""
        self._entries = set()
        return True


class IBuilderConfig(Bound):
    """How to build."""

    DLA_core = attribute("DLA_core", -1, int)
    default_device_type = attribute("default_device_type", DeviceType.GPU, DeviceType)
    profiling_verbosity = attribute(
        "profiling_verbosity",
        ProfilingVerbosity.__members__.get("LAYER_NAMES_ONLY", ProfilingVerbosity.__members__.get("DEFAULT")),
        ProfilingVerbosity,
    )
    int8_calibrator = attribute("int8_calibrator", None, (IInt8Calibrator, type(None)))
    flags = attribute("flags", 0, int)
    max_workspace_size = attribute("workspace", 0, int)
    builder_optimization_level = attribute("builder_optimization_level", 3, int)
    avg_timing_iterations = attribute("avg_timing_iterations", 1, int)
    min_timing_iterations = attribute("min_timing_iterations", 2, int)
    max_aux_streams = attribute("max_aux_streams", -1, int)
    profile_stream = attribute("profile_stream", 0, int)
    num_optimization_profiles = property(lambda self: len(self._profiles))

    def __init__(self, logger):
        self._logger = logger
        self._profiles = []
        self._calibration_profile = None
        self._timing_cache = None
        self._timing_matches = True
        # Since there are pools their default is all of the device's memory; before them it was nothing.
        self._workspace = _settings.number("GPU_MEMORY", 4 << 30) if since(8, 4) else 0
        self._int8_calibrator = None
        if "TF32" in BuilderFlag.__members__:
            self._flags = 1 << int(BuilderFlag.TF32)

    def set_flag(self, flag):
        """Switch one on."""
        expect(flag, BuilderFlag, "set_flag")
        self._flags = self.flags | 1 << int(flag)

    def clear_flag(self, flag):
        """Switch one off."""
        expect(flag, BuilderFlag, "clear_flag")
        self._flags = self.flags & ~(1 << int(flag))

    def get_flag(self, flag):
        """Whether one is on."""
        expect(flag, BuilderFlag, "get_flag")
        return bool(self.flags & 1 << int(flag))

    def set_memory_pool_limit(self, pool, pool_size):
        """At most so many bytes for a pool."""
        expect(pool, MemoryPoolType, "set_memory_pool_limit")
        expect(pool_size, int, "set_memory_pool_limit")
        if pool_size < 0:
            raise TypeError("set_memory_pool_limit(): incompatible function arguments: pool_size is below 0")
        if pool == MemoryPoolType.WORKSPACE:
            self._workspace = pool_size

    def get_memory_pool_limit(self, pool):
        """Bytes a pool may have."""
        expect(pool, MemoryPoolType, "get_memory_pool_limit")
        return self._workspace if pool == MemoryPoolType.WORKSPACE else 0

    def add_optimization_profile(self, profile):
        """Its index; -1 where its shapes are out of order."""
        expect(profile, IOptimizationProfile, "add_optimization_profile")
        if not profile:
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_calibration_profile(self, profile):
        """The shapes to calibrate with."""
        expect(profile, IOptimizationProfile, "set_calibration_profile")
        self._calibration_profile = profile
        return True

    def get_calibration_profile(self):
        """As set."""
        return self._calibration_profile

    def create_timing_cache(self, serialized_timing_cache):
        """From the bytes of an earlier build, or empty ones."""
        data = memoryview(serialized_timing_cache).tobytes()
        if not data:
            return ITimingCache(set())
        if not data.startswith(_CACHE_MAGIC):
            self._logger.log(
                Severity.WARNING, "Failed to deserialize the timing cache; its magic tag is wrong"
            )
            return None
        version, entries = json.loads(data[len(_CACHE_MAGIC) :].decode())
        cache = ITimingCache(set(entries))
        cache._foreign = version != VERSION
        return cache

    def set_timing_cache(self, cache, ignore_mismatch):
        """Whether it is taken: one of another version is not."""
        expect(cache, ITimingCache, "set_timing_cache")
        if getattr(cache, "_foreign", False):
            self._logger.log(
                Severity.WARNING, "The timing cache will not be used: it is of another TensorRT version"
            )
            return False
        self._timing_cache = cache
        return True

    def get_timing_cache(self):
        """As set; None without one."""
        return self._timing_cache

    def set_tactic_sources(self, tactic_sources):
        """Which libraries to take tactics from, as bits."""
        return True

    def _has(self, name):
        member = BuilderFlag.__members__.get(name)
        return member is not None and self.get_flag(member)
