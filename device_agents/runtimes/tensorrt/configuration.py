"""The builder's configuration: workspace, precision, DLA, what it should tell of layers."""

from typing import Any, List

from device_agents.runtimes.base import BuildFailed
from device_agents.runtimes.tensorrt.capabilities import Capabilities
from device_agents.runtimes.tensorrt.packages import Library
from device_agents.runtimes.tensorrt.settings import Settings


def refuse_impossible(settings: Settings, able: Capabilities, library: Library) -> None:
    """What this board cannot do is said before minutes of building. Raises BuildFailed."""
    major, minor = library.cuda.compute_capability()
    gpu = "{} (compute capability {}.{})".format(library.cuda.device_name(), major, minor)
    if settings.precision == "int8" and able.int8 == "no":
        raise BuildFailed(
            "precision_unsupported", "{} has no int8; TensorRT would run fp32 in its place".format(gpu)
        )
    if settings.precision == "fp16" and settings.precision_by == "flag" and not able.takes_flags:
        raise BuildFailed(
            "precision_unsupported",
            "TensorRT {} has no flag for fp16 any more: the graph has to be fp16 (precision_by graph)".format(
                library.version
            ),
        )
    if settings.precision_by == "calibrator" and not able.calibrator:
        raise BuildFailed(
            "precision_unsupported",
            "TensorRT {} has no int8 calibrator any more: the graph has to carry Q/DQ pairs "
            "(precision_by graph)".format(library.version),
        )
    if settings.dla_core is not None:
        _refuse_dla(settings, able, library.version)


def _refuse_dla(settings: Settings, able: Capabilities, version: str) -> None:
    if settings.dla_core is not None and settings.dla_core >= able.dla_cores:
        offered = "{} DLA cores".format(able.dla_cores) if able.dla_cores else "no DLA"
        raise BuildFailed(
            "dla_unavailable",
            "DLA core {} is wanted and TensorRT {} offers {} here".format(
                settings.dla_core, version, offered
            ),
        )
    if settings.precision == "fp32":
        raise BuildFailed("dla_unavailable", "a DLA computes in fp16 and int8 only, not in fp32")


def strongly_typed(settings: Settings, able: Capabilities) -> bool:
    """Whether the graph's types alone decide. Not for a DLA, which takes its precision from the flags."""
    return settings.precision_by == "graph" and able.strongly_typed and settings.dla_core is None


def configure(
    library: Library, builder: Any, settings: Settings, able: Capabilities, workspace_bytes: int
) -> Any:
    """A builder configuration without profiles, calibrator and timing cache."""
    trt = library.trt
    config = builder.create_builder_config()
    _set_workspace(trt, config, workspace_bytes)
    for flag in _precision_flags(settings, able):
        config.set_flag(getattr(trt.BuilderFlag, flag))
    # On by default, it would make fp32 on Orin and newer what nobody asked for: 10 bits of mantissa.
    if settings.precision == "fp32" and not settings.tf32 and hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.dla_core is not None:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = settings.dla_core
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if settings.optimization_level is not None:
        if not hasattr(config, "builder_optimization_level"):
            message = "TensorRT {} has no optimisation levels: leave optimization_level out"
            raise BuildFailed("invalid_option", message.format(library.version))
        config.builder_optimization_level = settings.optimization_level
    if hasattr(config, "profiling_verbosity"):
        # So that the engine inspector can name the precision of each layer; running it costs nothing more.
        # It was called VERBOSE in 8.0, which has no inspector yet.
        words = trt.ProfilingVerbosity
        config.profiling_verbosity = words.DETAILED if hasattr(words, "DETAILED") else words.VERBOSE
    return config


def flags_set(trt: Any, config: Any) -> List[str]:
    """Names of the flags that are on, the builder's own defaults among them."""
    members = getattr(trt.BuilderFlag, "__members__", {})
    return sorted({str(name) for name, flag in members.items() if config.get_flag(flag)})


def _set_workspace(trt: Any, config: Any, workspace_bytes: int) -> None:
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    else:
        config.max_workspace_size = workspace_bytes


def _precision_flags(settings: Settings, able: Capabilities) -> List[str]:
    """Flags for the precision. TensorRT 8 wants them for typed graphs too: there types are permissions."""
    if not able.takes_flags or strongly_typed(settings, able):
        return []
    flags = {"fp32": [], "fp16": ["FP16"], "int8": ["INT8"]}[settings.precision]
    if settings.precision == "int8" and (settings.mixed_fp16 or settings.dla_core is not None):
        # What a DLA runs in int8 falls back to its fp16, and only then to the GPU.
        flags = flags + ["FP16"]
    return flags
