"""Stands in for TensorRT's Python package where there is none: see tests/standins/README.md.

STANDIN_TENSORRT says of which version; without it importing this fails, as on a machine without TensorRT.
"""

import sys

from tensorrt import _building, _configuration, _context, _inspection, _logging, _network, _running
from tensorrt._bound import Bound, Enumeration, cut, enumeration
from tensorrt._generation import SHAPE, VERSION, since

__version__ = VERSION

_module = sys.modules[__name__]

#: All that is written here, before anything is cut: name -> its public attributes. For the tests.
WRITTEN = {}


def volume(iterable):
    """Product of sizes."""
    product = 1
    for size in iterable:
        product *= size
    return product


def nptype(trt_type):
    """The numpy type of a DataType. Up to 8.5.2 its table names np.bool, which numpy 1.24 and later lack."""
    import numpy as np

    table = {
        "FLOAT": np.float32,
        "HALF": np.float16,
        "INT8": np.int8,
        "INT32": np.int32,
        "BOOL": np.bool_ if since(8, 5, 3) else np.bool,
    }
    if since(8, 6):
        table["UINT8"] = np.uint8
    if since(10):
        table["INT64"] = np.int64
    if trt_type.name not in table:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return table[trt_type.name]


def init_libnvinfer_plugins(logger, namespace):
    """There are none to register."""
    return True


def get_nv_onnx_parser_version():
    """As one number."""
    major, minor, patch = SHAPE.numbers[:3]
    return major * 100 + minor * 10 + patch if major < 10 else major * 10000 + minor * 100 + patch


def _publish():
    """Everything of this generation, and nothing else, under its public name."""
    written = _written()
    for name, owner in written.items():
        if not issubclass(owner, Enumeration):
            WRITTEN[name] = {word for word in dir(owner) if not word.startswith("_")}
    for name in [name for name in SHAPE.classes if "." not in name]:
        if name not in written:
            written[name] = type(name, (Bound,), {"__init__": _refuse, "__module__": __name__})
        cut(written[name], name, SHAPE.attributes(name))
    for name in [name for name in SHAPE.enums if "." not in name and name not in written]:
        written[name] = enumeration(name, SHAPE.enums[name])
    for name, value in written.items():
        if name in SHAPE.classes or name in SHAPE.enums:
            setattr(_module, name, value)
    types = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16"}
    for name in SHAPE.values:
        member = _network.DataType.__members__.get(types.get(name, name.upper()))
        if member is not None:
            setattr(_module, name, member)


def _written():
    """Classes of the parts by their names, of this generation or not."""
    return {
        name: value
        for part in _PARTS
        for name, value in vars(part).items()
        if isinstance(value, type) and not name.startswith("_") and name in _PUBLIC
    }


def _refuse(self, *_arguments, **_options):
    raise NotImplementedError(f"TensorRT has {type(self).__name__}; the stand-in does not do it")


_PARTS = (_logging, _network, _configuration, _building, _context, _inspection, _running)
_PUBLIC = [
    "ILogger",
    "Logger",
    "IInt8Calibrator",
    "IInt8EntropyCalibrator",
    "IInt8EntropyCalibrator2",
    "IInt8MinMaxCalibrator",
    "DataType",
    "ErrorCode",
    "TensorLocation",
    "LayerType",
    "Dims",
    "ITensor",
    "ILayer",
    "INetworkDefinition",
    "ParserError",
    "OnnxParser",
    "BuilderFlag",
    "NetworkDefinitionCreationFlag",
    "DeviceType",
    "ProfilingVerbosity",
    "MemoryPoolType",
    "IHostMemory",
    "IOptimizationProfile",
    "ITimingCache",
    "IBuilderConfig",
    "Builder",
    "TensorIOMode",
    "LayerInformationFormat",
    "Runtime",
    "ICudaEngine",
    "IExecutionContext",
    "EngineInspector",
    "CalibrationAlgoType",
]

_publish()
