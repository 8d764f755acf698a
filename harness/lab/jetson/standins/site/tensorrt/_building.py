"""The builder: from a network to a plan, or to None with the reason in the log."""
# ruff: noqa: B905 - strict came with Python 3.10

import json
import os
import signal
import struct
import time

from tensorrt import _precision, _settings, _words
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
from tensorrt._failures import BuildFailed, error, out_of_memory, refuse_without_cuda
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
        raise BuildFailed(error(4, "Internal Error", _words.NO_OUTPUT, "network.cpp::validate"))
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
    if not config._profiles:
        if any(-1 in tensor._shape for tensor in network._inputs):
            raise BuildFailed(error(4, "Internal Error", _words.NO_PROFILE, "network.cpp::validate::2633"))
        return [{tensor.name: [tensor._shape] * 3 for tensor in network._inputs}]
    return [
        {tensor.name: _ranges(tensor, profile, index) for tensor in network._inputs}
        for index, profile in enumerate(config._profiles)
    ]


def _ranges(tensor, profile, index):
    """Smallest, usual and largest shape of an input."""
    if tensor.name not in profile._shapes:
        if -1 in tensor._shape:
            text = _words.MISSING_IN_PROFILE.format(name=tensor.name)
            raise BuildFailed(error(4, "API Usage Error", text, "optimizer.cpp::validate"))
        return [tensor._shape] * 3
    shapes = profile._shapes[tensor.name]
    for axis, (low, usual, high, size) in enumerate(zip(*shapes, tensor._shape)):
        if size != -1 and {low, usual, high} != {size}:
            text = _words.OUT_OF_PROFILE.format(
                name=tensor.name, axis=axis, profile=index, low=low, usual=usual, high=high, size=size
            )
            raise BuildFailed(error(4, "API Usage Error", text, "network.cpp::validate"))
    return shapes


def _workspace(network, config, logger):
    """Too much workspace, too little of it, and tactics that are left out."""
    limit = config._workspace
    if limit > _settings.number("KILLED_ABOVE_WORKSPACE", limit):
        os.kill(os.getpid(), signal.SIGKILL)
    if limit > _settings.number("MAX_WORKSPACE", limit):
        raise BuildFailed((Severity.WARNING, _words.NOT_ALLOCATED.format(size=limit)), out_of_memory(limit))
    tactic = _settings.number("TACTIC_MEMORY", 0)
    available = min(limit, _settings.number("TACTIC_AVAILABLE", limit))
    if tactic > available:
        logger.log(Severity.WARNING, _left_out(tactic, available))
        logger.log(Severity.WARNING, _words.SKIPPING.format(size=tactic))
    needs = _settings.number("NEEDS_WORKSPACE", 0)
    if limit < needs:
        text = _words.NO_IMPLEMENTATION.format(node=network._model.nodes[0].name)
        raise BuildFailed(
            (Severity.WARNING, _left_out(needs, limit)),
            error(10, "Internal Error", text, "optimizer.cpp::computeCosts::3728"),
        )


def _left_out(wanted, available):
    return _words.TACTIC_LEFT_OUT.format(wanted=wanted >> 20, available=available >> 20)


def _modes(network, config, logger):
    """(fp16, int8, calibrated): what the layers may use."""
    quantised = _precision.has_quantised_nodes(network._model)
    if network._strongly_typed:
        return False, quantised and _settings.has_fast_int8(), False
    fp16 = config._has("FP16")
    int8 = config._has("INT8")
    if fp16 and not _settings.has_fast_fp16():
        logger.log(Severity.WARNING, _words.SLOW_FP16)
    if quantised and not int8:
        raise BuildFailed(error(4, "Internal Error", _words.INT8_NOT_ALLOWED, "network.cpp::validate::2789"))
    if not int8:
        return fp16, False, False
    if not _settings.has_fast_int8():
        logger.log(Severity.WARNING, _words.SLOW_INT8)
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
        text = _words.DLA_REFUSES.format(layer=refused[0])
        raise BuildFailed(error(9, "Internal Error", text, "standardEngineBuilder.cpp"))
    for name in refused:
        logger.log(Severity.WARNING, _words.DLA_FALLS_BACK.format(layer=name))
    return [layer.name for layer in layers if layer.name not in refused]
