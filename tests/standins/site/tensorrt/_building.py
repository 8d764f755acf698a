"""The builder: from a network to a plan, or to None with the reason in the log."""
# ruff: noqa: B905 - strict came with Python 3.10

import json
import os
import signal
import struct
import time

from tensorrt import _precision, _settings
from tensorrt._bound import Bound, attribute, expect
from tensorrt._calibration import calibrate
from tensorrt._configuration import (
    BuilderFlag,
    DeviceType,
    IBuilderConfig,
    IOptimizationProfile,
    NetworkDefinitionCreationFlag,
    host_memory,
)
from tensorrt._failures import BuildFailed, error, refuse_without_cuda
from tensorrt._generation import VERSION, since
from tensorrt._logging import ILogger, Severity
from tensorrt._network import INetworkDefinition

MAGIC = b"ptrt"


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
        typed = since(11) or (
            "STRONGLY_TYPED" in members and bool(flags & 1 << int(members["STRONGLY_TYPED"]))
        )
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


def plan_of(network, config, logger):
    """A plan: magic, length of a JSON head, the head, the model."""
    if network._model is None:
        raise BuildFailed(
            error(4, "Internal Error", "Network must have at least one output", "network.cpp::validate")
        )
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
            for low, usual, high, size in zip(
                *profile._shapes.get(tensor.name, [[]] * 3), list(tensor.shape)
            ):
                if size != -1 and {low, usual, high} != {size}:
                    text = (
                        f"{tensor.name}: for dimension number 0 in profile {index} does not match network definition "
                        f"(got min={low}, opt={usual}, max={high}), expected min=opt=max={size})."
                    )
                    raise BuildFailed(error(4, "API Usage Error", text, "network.cpp::validate"))
    if not config._profiles:
        return [{tensor.name: [list(tensor.shape)] * 3 for tensor in network._inputs}]
    return [
        {
            tensor.name: profile._shapes.get(tensor.name, [list(tensor.shape)] * 3)
            for tensor in network._inputs
        }
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
    calibrated = calibrate(network, config, quantised, logger)
    return fp16, _settings.has_fast_int8(), calibrated


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
