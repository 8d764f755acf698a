"""int8 by calibration: the calibrator is asked for its cache, else for batch after batch."""
# ruff: noqa: B905 - strict came with Python 3.10

import struct

from tensorrt import _device, _words
from tensorrt._configuration import host_memory
from tensorrt._failures import BuildFailed, error
from tensorrt._generation import SHAPE
from tensorrt._logging import Severity


def calibrate(network, config, quantised, logger):
    """Whether there are ranges: asks the calibrator for its cache, else for batch after batch."""
    calibrator = config._int8_calibrator
    if quantised:
        if calibrator is not None:
            logger.log(Severity.WARNING, _words.CALIBRATOR_IGNORED)
        return False
    if calibrator is None:
        logger.log(Severity.WARNING, _words.NO_CALIBRATOR)
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
        raise BuildFailed(error(1, "Internal Error", _words.NOTHING_CALIBRATED, "calibrator.cpp"))
    written = "\n".join([title, *(f"{name}: {_hex(amax / 127)}" for name, amax in ranges.items())]) + "\n"
    calibrator.write_calibration_cache(host_memory(written.encode()))
    return True


def _calibration_shapes(network, config, logger):
    profile = config._calibration_profile
    if profile is None and config._profiles:
        logger.log(Severity.WARNING, _words.CALIBRATION_PROFILE)
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
            dtype = {"FLOAT": "f4", "HALF": "f2", "INT32": "i4", "INT64": "i8", "BOOL": "u1"}.get(
                tensor.dtype.name
            )
            values = np.frombuffer(_device.bytes_at(int(address), size), dtype or "i1")
            found[tensor.name] = max(found.get(tensor.name, 0.0), float(np.abs(values.astype("f4")).max()))


def _hex(value):
    """A float as the calibration cache writes it: the bits of float32, big end first."""
    return struct.pack(">f", value).hex()


def _version_number():
    major, minor, patch = SHAPE.numbers[:3]
    return f"{major}{minor}{patch:02d}" if major < 10 else f"{major}{minor:02d}{patch:02d}"
