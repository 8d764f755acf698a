"""The builder: from a network to a plan, or to None with the reason in the log."""

import ctypes
import json
import os
import signal
import struct
import time

from tensorrt import _device, _precision, _settings
from tensorrt._bound import Bound, attribute, enumeration, expect
from tensorrt._generation import SHAPE, VERSION, since
from tensorrt._logging import IInt8Calibrator, ILogger, Severity
from tensorrt._network import DataType, Dims, INetworkDefinition

BuilderFlag = enumeration("BuilderFlag", SHAPE.enums["BuilderFlag"])
NetworkDefinitionCreationFlag = enumeration(
    "NetworkDefinitionCreationFlag", SHAPE.enums["NetworkDefinitionCreationFlag"]
)
DeviceType = enumeration("DeviceType", SHAPE.enums["DeviceType"])
ProfilingVerbosity = enumeration("ProfilingVerbosity", SHAPE.enums["ProfilingVerbosity"])
MemoryPoolType = enumeration("MemoryPoolType", SHAPE.enums.get("MemoryPoolType", {}))

MAGIC = b"ptrt"
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

    def set_shape(self, input, min, opt, max):  # noqa: A002 - the real names
        """Shapes of an input: smallest, usual, largest. ValueError where they are out of order."""
        shapes = [tuple(min), tuple(opt), tuple(max)]
        if not all(a <= b <= c for a, b, c in zip(*shapes)) or len({len(shape) for shape in shapes}) != 1:
            raise ValueError("Shape provided for max is inconsistent with other shapes.")
        self._shapes[input] = shapes

    def get_shape(self, input):  # noqa: A002 - the real name
        """The three shapes."""
        return [Dims(shape) for shape in self._shapes.get(input, [])]

    def __bool__(self):
        return bool(self._shapes)


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
        if pool == MemoryPoolType.WORKSPACE:
            self._workspace = pool_size

    def get_memory_pool_limit(self, pool):
        """Bytes a pool may have."""
        expect(pool, MemoryPoolType, "get_memory_pool_limit")
        return self._workspace if pool == MemoryPoolType.WORKSPACE else 0

    def add_optimization_profile(self, profile):
        """Its index."""
        expect(profile, IOptimizationProfile, "add_optimization_profile")
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
            self._logger.log(Severity.WARNING, "Failed to deserialize the timing cache; its magic tag is wrong")
            return None
        version, entries = json.loads(data[len(_CACHE_MAGIC) :].decode())
        cache = ITimingCache(set(entries))
        cache._foreign = version != VERSION
        return cache

    def set_timing_cache(self, cache, ignore_mismatch):
        """Whether it is taken: one of another version is not."""
        expect(cache, ITimingCache, "set_timing_cache")
        if getattr(cache, "_foreign", False):
            self._logger.log(Severity.WARNING, "The timing cache will not be used: it is of another TensorRT version")
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


class Builder(Bound):
    """Makes networks, configurations and plans."""

    max_batch_size = attribute("max_batch_size", 1, int)
    max_threads = attribute("max_threads", 1, int)
    logger = property(lambda self: self._logger)
    platform_has_fast_fp16 = property(lambda self: _settings.has_fast_fp16())
    platform_has_fast_int8 = property(lambda self: _settings.has_fast_int8())
    platform_has_tf32 = property(lambda self: _settings.has_tf32())
    num_DLA_cores = property(lambda self: _settings.number("DLA_CORES", 0))  # noqa: N815 - the real name
    max_DLA_batch_size = property(lambda self: 4096)  # noqa: N815 - the real name

    def __init__(self, logger):
        expect(logger, ILogger, "Builder")
        refuse_without_cuda(logger)
        self._logger = logger

    def create_network(self, flags=0):
        """An empty network; before 10 a batch dimension has to be asked for."""
        expect(flags, int, "create_network")
        members = NetworkDefinitionCreationFlag.__members__
        typed = since(11) or ("STRONGLY_TYPED" in members and bool(flags & 1 << int(members["STRONGLY_TYPED"])))
        explicit = since(10) or bool(flags & 1 << int(members["EXPLICIT_BATCH"]))
        return INetworkDefinition(self, explicit, typed)

    def create_builder_config(self):
        """Defaults."""
        return IBuilderConfig(self._logger)

    def create_optimization_profile(self):
        """An empty profile."""
        return IOptimizationProfile()

    def is_network_supported(self, network, config):
        """Whether it can be built."""
        return True

    def build_serialized_network(self, network, config):
        """The plan's bytes; None where it fails, and then the log says why."""
        expect(network, INetworkDefinition, "build_serialized_network")
        expect(config, IBuilderConfig, "build_serialized_network")
        try:
            return host_memory(plan_of(network, config, self._logger))
        except BuildFailed as failed:
            for severity, message in failed.messages:
                self._logger.log(severity, message)
            return None


class BuildFailed(Exception):
    """With what the log says of it."""

    def __init__(self, *messages):
        super().__init__(messages[-1])
        self.messages = [
            (Severity.ERROR, message) if isinstance(message, str) else message for message in messages
        ]


def error(number, kind, text, place):
    """An error as this generation words it."""
    if since(10):
        return f"IBuilder::buildSerializedNetwork: Error Code {number}: {kind} ({text} In {place})"
    return f"{number}: [{place}] Error Code {number}: {kind} ({text})"


def refuse_without_cuda(logger):
    """What the constructors of Builder and Runtime do where CUDA does not work (TypeError seen with 8.6.1)."""
    code = _settings.number("CUDA_ERROR")
    if code:
        logger.log(
            Severity.ERROR,
            f"6: CUDA initialization failure with error: {code}. Please check your CUDA installation: "
            "http://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html",
        )
        raise TypeError("pybind11::init(): factory function returned nullptr")


def plan_of(network, config, logger):
    """A plan: magic, length of a JSON head, the head, the model."""
    if network._model is None:
        raise BuildFailed(error(4, "Internal Error", "Network must have at least one output", "network.cpp::validate"))
    time.sleep(float(_settings.text("BUILD_SECONDS", "0")))
    profiles = _profiles(network, config)
    _workspace(network, config, logger)
    fp16, int8, calibrated = _modes(network, config, logger)
    layers = _precision.layers(network._model, fp16, int8, calibrated)
    dla = _on_dla(config, layers, logger)
    if config._timing_cache is not None and not config._has("DISABLE_TIMING_CACHE"):
        config._timing_cache._entries |= {f"{layer.kind}:{layer.precision}" for layer in layers}
    head = {
        "version": VERSION,
        "compute_capability": list(_settings.compute_capability()),
        "flags": sorted(word for word in BuilderFlag.__members__ if config._has(word)),
        "strongly_typed": network._strongly_typed,
        "workspace": config._workspace,
        "verbosity": config.profiling_verbosity.name,
        "dla": dla,
        "profiles": profiles,
        "inputs": [_tensor(tensor) for tensor in network._inputs],
        "outputs": [_tensor(tensor) for tensor in network._outputs],
        "layers": [list(layer) for layer in layers],
    }
    encoded = json.dumps(head).encode()
    return MAGIC + struct.pack("<II", len(encoded), len(network._data)) + encoded + network._data


def _tensor(tensor):
    return [tensor.name, tensor.dtype.name, list(tensor.shape)]


def _profiles(network, config):
    """Shapes of each profile; refused as the real builder does where they do not fit the network."""
    open_inputs = [tensor for tensor in network._inputs if -1 in list(tensor.shape)]
    if open_inputs and not config._profiles:
        text = "Network has dynamic or shape inputs, but no optimization profile has been defined."
        raise BuildFailed(error(4, "Internal Error", text, "network.cpp::validate::2633"))
    for index, profile in enumerate(config._profiles):
        for tensor in open_inputs:
            if tensor.name not in profile._shapes:
                text = f"{tensor.name}: optimization profile is missing values for shape input"
                raise BuildFailed(error(4, "API Usage Error", text, "optimizer.cpp::validate"))
        for tensor in network._inputs:
            for low, usual, high, size in zip(*profile._shapes.get(tensor.name, [[]] * 3), list(tensor.shape)):
                if size != -1 and {low, usual, high} != {size}:
                    text = (
                        f"{tensor.name}: for dimension number 0 in profile {index} does not match network definition "
                        f"(got min={low}, opt={usual}, max={high}), expected min=opt=max={size})."
                    )
                    raise BuildFailed(error(4, "API Usage Error", text, "network.cpp::validate"))
    if not config._profiles:
        return [{tensor.name: [list(tensor.shape)] * 3 for tensor in network._inputs}]
    return [
        {tensor.name: profile._shapes.get(tensor.name, [list(tensor.shape)] * 3) for tensor in network._inputs}
        for profile in config._profiles
    ]


def _workspace(network, config, logger):
    """Too little workspace, too much of it, and tactics that are left out."""
    limit = config._workspace
    needs = _settings.number("NEEDS_WORKSPACE", 0)
    tactic = _settings.number("TACTIC_MEMORY", 0)
    free = _settings.number("TACTIC_AVAILABLE", tactic)
    if limit >= _settings.number("KILLED_ABOVE_WORKSPACE", limit + 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if limit > _settings.number("MAX_WORKSPACE", limit):
        raise BuildFailed(
            (
                Severity.WARNING,
                f"Requested amount of GPU memory ({limit} bytes) could not be allocated. There may not be enough "
                "free memory for allocation to succeed.",
            ),
            error(2, "OutOfMemory", "no further information", "virtualMemoryBuffer.cpp::resizePhysical::145"),
        )
    if tactic > min(free, limit):
        available = min(free, limit) >> 20
        logger.log(
            Severity.WARNING,
            f"Tactic Device request: {tactic >> 20}MB Available: {available}MB. Device memory is insufficient to use "
            "tactic.",
        )
        logger.log(
            Severity.WARNING,
            f"Skipping tactic 0 due to insufficient memory on requested size of {tactic} detected for tactic "
            "0x0000000000000000.",
        )
    if limit < needs:
        node = network._model.nodes[0].name
        raise BuildFailed(
            (
                Severity.WARNING,
                f"Tactic Device request: {needs >> 20}MB Available: {limit >> 20}MB. Device memory is insufficient "
                "to use tactic.",
            ),
            error(
                10,
                "Internal Error",
                f"Could not find any implementation for node {node}.",
                "optimizer.cpp::computeCosts::3728",
            ),
        )


def _modes(network, config, logger):
    """(fp16, int8, calibrated): what the layers may use."""
    quantised = _precision.has_quantised_nodes(network._model)
    if network._strongly_typed:
        return False, quantised, False
    fp16 = config._has("FP16")
    int8 = config._has("INT8")
    if fp16 and not _settings.has_fast_fp16():
        logger.log(
            Severity.WARNING,
            "Half2 support requested on hardware without native FP16 support, performance will be negatively "
            "affected.",
        )
    if quantised and not int8:
        text = "Int8 precision has been set for a layer or layer output, but int8 is not configured in the builder"
        raise BuildFailed(error(4, "Internal Error", text, "network.cpp::validate::2789"))
    if not int8:
        return fp16, False, False
    if not _settings.has_fast_int8():
        logger.log(
            Severity.WARNING,
            "Int8 support requested on hardware without native Int8 support, performance will be negatively affected.",
        )
    calibrated = _calibrate(network, config, quantised, logger)
    return fp16, _settings.has_fast_int8(), calibrated


def _calibrate(network, config, quantised, logger):
    """Whether there are ranges: asks the calibrator for its cache, else for batch after batch."""
    calibrator = config._int8_calibrator
    if quantised:
        if calibrator is not None:
            logger.log(
                Severity.WARNING,
                "Calibrator won't be used in explicit precision mode. Use quantization aware training to generate "
                "network with Quantize/Dequantize nodes.",
            )
        return False
    if calibrator is None:
        logger.log(
            Severity.WARNING,
            "Calibrator is not being used. Users must provide dynamic range for all tensors that are not Int32 or "
            "Bool.",
        )
        return False
    shapes = _calibration_shapes(network, config, logger)
    title = f"TRT-{_version_number()}-{calibrator._title}"
    cache = calibrator.read_calibration_cache()
    if cache is not None:
        lines = memoryview(cache).tobytes().decode("utf-8", "replace").splitlines()
        if lines and lines[0] == title:
            logger.log(Severity.INFO, "Read calibration cache")
            return True
        logger.log(Severity.WARNING, "Calibration cache of another version or calibrator is not used")
    ranges = _ranges(network, calibrator, shapes)
    if not ranges:
        raise BuildFailed(
            error(1, "Internal Error", "Calibration failure occurred with no scaling factors detected.", "calibrator.cpp")
        )
    written = "\n".join([title, *(f"{name}: {_hex(amax / 127)}" for name, amax in ranges.items())]) + "\n"
    calibrator.write_calibration_cache(host_memory(written.encode()))
    return True


def _calibration_shapes(network, config, logger):
    profile = config._calibration_profile
    if profile is None and config._profiles:
        logger.log(
            Severity.WARNING,
            "Calibration Profile is not defined. Running calibration with Profile 0",
        )
        profile = config._profiles[0]
    return {
        tensor.name: tuple(profile._shapes[tensor.name][1])
        if profile and tensor.name in profile._shapes
        else tuple(tensor.shape)
        for tensor in network._inputs
    }


def _ranges(network, calibrator, shapes):
    """Largest magnitude of each input over all batches, read from the addresses the calibrator gives."""
    import numpy as np

    names = [tensor.name for tensor in network._inputs]
    batch = calibrator.get_batch_size()
    found = {}
    while True:
        addresses = calibrator.get_batch(names)
        if not addresses:
            return found
        for tensor, address in zip(network._inputs, addresses):
            shape = (batch, *shapes[tensor.name][1:])
            size = int(np.prod(shape)) * tensor.dtype.itemsize
            dtype = {"FLOAT": "f4", "HALF": "f2", "INT32": "i4", "INT64": "i8", "BOOL": "u1"}.get(tensor.dtype.name)
            values = np.frombuffer(_device.bytes_at(int(address), size), dtype or "i1")
            found[tensor.name] = max(found.get(tensor.name, 0.0), float(np.abs(values.astype("f4")).max()))


def _hex(value):
    """A float as the calibration cache writes it: the bits of float32, big end first."""
    return struct.pack(">f", value).hex()


def _version_number():
    major, minor, patch = SHAPE.numbers[:3]
    return f"{major}{minor}{patch:02d}" if major < 10 else f"{major}{minor:02d}{patch:02d}"


def _on_dla(config, layers, logger):
    """Names of layers that run on the DLA."""
    if config.default_device_type != DeviceType.DLA:
        return []
    if config.DLA_core >= _settings.number("DLA_CORES", 0):
        text = f"DLA core {config.DLA_core} was asked for and there are {_settings.number('DLA_CORES', 0)}"
        raise BuildFailed(error(3, "API Usage Error", text, "builder.cpp"))
    refused = [layer.name for layer in layers if layer.kind in _settings.names("DLA_UNSUPPORTED")]
    if refused and not config._has("GPU_FALLBACK"):
        text = (
            f"Default DLA is enabled but layer {refused[0]} is not supported on DLA and falling back to GPU is not "
            "enabled."
        )
        raise BuildFailed(error(9, "Internal Error", text, "standardEngineBuilder.cpp"))
    for name in refused:
        logger.log(
            Severity.WARNING,
            f"Default DLA is enabled but layer {name} is not supported on DLA, falling back to GPU.",
        )
    return [layer.name for layer in layers if layer.name not in refused]
