"""Runtime and engine: what loads a plan, or refuses it in the words of its generation."""
# ruff: noqa: B905 - strict came with Python 3.10

import json
import struct

from tensorrt import _device, _settings, _words
from tensorrt._bound import Bound, attribute, enumeration, expect
from tensorrt._building import MAGIC
from tensorrt._configuration import ProfilingVerbosity, host_memory
from tensorrt._context import IExecutionContext, activation_memory
from tensorrt._failures import out_of_memory, refuse_without_cuda
from tensorrt._generation import SHAPE, VERSION, since
from tensorrt._inspection import EngineInspector
from tensorrt._logging import ILogger, Severity
from tensorrt._network import DataType, Dims, TensorLocation

TensorIOMode = enumeration("TensorIOMode", SHAPE.enums.get("TensorIOMode", {}))


class Runtime(Bound):
    """Loads plans."""

    DLA_core = attribute("DLA_core", -1, int)
    max_threads = attribute("max_threads", 1, int)
    engine_host_code_allowed = attribute("engine_host_code_allowed", False, bool)
    num_DLA_cores = property(lambda self: _settings.number("DLA_CORES", 0))  # noqa: N815 - the real name
    logger = property(lambda self: self._logger)

    def __init__(self, logger):
        expect(logger, ILogger, "Runtime")
        refuse_without_cuda(logger)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        """The engine; None, and the reason in the log, for what is no plan or another's."""
        data = memoryview(serialized_engine).tobytes()
        fault = _fault(data)
        if fault is None:
            engine = ICudaEngine(data, self._logger)
            if engine._weights.taken:
                return engine
            self._logger.log(Severity.ERROR, _words.NOT_ALLOCATED.format(size=engine._size))
            fault = out_of_memory(engine._size)
        self._logger.log(Severity.ERROR, fault)
        self._logger.log(Severity.ERROR, _words.NOT_DESERIALIZED)
        return None


def _fault(data):
    """Why a plan cannot be loaded, in the words of this generation; None where it can."""
    if not data.startswith(MAGIC):
        return _words.NO_PLAN
    if len(data) < 12 or len(data) != 12 + sum(struct.unpack_from("<II", data, 4)):
        return _words.PLAN_CUT_SHORT
    head = _head(data)
    if head["version"] != VERSION:
        if since(8, 4):
            return _words.OTHER_VERSION.format(ours=VERSION, theirs=head["version"])
        return _words.OTHER_VERSION_8_2.format(ours=_tag(VERSION), theirs=_tag(head["version"]))
    ours, theirs = _settings.compute_capability(), tuple(head["compute_capability"])
    if ours != theirs:
        return _words.OTHER_DEVICE.format(ours="{}.{}".format(*ours), theirs="{}.{}".format(*theirs))
    return None


def _tag(version):
    return sum(int(part) * weight for part, weight in zip(version.split("."), (20, 20, 1)))


def _head(data):
    (length, _) = struct.unpack_from("<II", data, 4)
    return json.loads(data[12 : 12 + length].decode())


class ICudaEngine(Bound):
    """A loaded plan."""

    def __init__(self, data, logger):
        self._data = data
        self._logger = logger
        self._plan = _head(data)
        self._onnx = data[12 + struct.unpack_from("<I", data, 4)[0] :]
        self._inputs = [name for name, _, _ in self._plan["inputs"]]
        self._tensors = {entry[0]: entry for entry in self._plan["inputs"] + self._plan["outputs"]}
        self._names = list(self._tensors)
        self._size = _settings.number("ENGINE_MEMORY", len(self._onnx))
        self._weights = _device.DeviceBlock(self._size)

    name = property(lambda self: "Unnamed Network 0")
    num_layers = property(lambda self: len(self._plan["layers"]))
    num_optimization_profiles = property(lambda self: len(self._plan["profiles"]))
    num_bindings = property(lambda self: len(self._names) * len(self._plan["profiles"]))
    num_io_tensors = property(lambda self: len(self._names))
    device_memory_size = property(lambda self: activation_memory())
    device_memory_size_v2 = property(lambda self: activation_memory())
    has_implicit_batch_dimension = property(lambda self: False)
    max_batch_size = property(lambda self: 1)
    refittable = property(lambda self: False)
    num_aux_streams = property(lambda self: 0)
    profiling_verbosity = property(lambda self: ProfilingVerbosity.__members__[self._plan["verbosity"]])

    def serialize(self):
        """The plan again."""
        return host_memory(self._data)

    def create_execution_context(self, *arguments):
        """A context; None where the device has too little memory for it."""
        context = IExecutionContext(self)
        if context._memory.taken:
            return context
        self._logger.log(Severity.ERROR, out_of_memory(activation_memory()))
        return None

    def create_engine_inspector(self):
        """Tells of the layers."""
        return EngineInspector(self)

    def __len__(self):
        return self.num_bindings

    def __getitem__(self, key):
        return self.get_binding_index(key) if isinstance(key, str) else self.get_binding_name(key)

    def get_binding_name(self, index):
        """Name of a binding; those of later profiles say so."""
        profile, position = divmod(index, len(self._names))
        return self._names[position] + (f" [profile {profile}]" if profile else "")

    def get_binding_index(self, name):
        """Its position, -1 for none."""
        return self._names.index(name) if name in self._names else -1

    def binding_is_input(self, index):
        """Whether it is read; by position or name."""
        return self._named(index) in self._inputs

    def get_binding_shape(self, index):
        """Its shape, -1 where open; by position or name."""
        return Dims(self._tensors[self._named(index)][2])

    def get_binding_dtype(self, index):
        """Its type; by position or name."""
        return DataType.__members__[self._tensors[self._named(index)][1]]

    def get_location(self, index):
        """Where it has to lie."""
        return TensorLocation.DEVICE

    def get_profile_shape(self, profile_index, binding):
        """Smallest, usual and largest shape of an input."""
        return [Dims(shape) for shape in self._plan["profiles"][profile_index][self._named(binding)]]

    def get_tensor_name(self, index):
        """Name of the tensor at that position."""
        return self._names[index]

    def get_tensor_mode(self, name):
        """Input or output; NONE for a name it does not have."""
        if name not in self._tensors:
            return TensorIOMode.NONE
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        """Its shape, -1 where open."""
        return Dims(self._tensors[name][2])

    def get_tensor_dtype(self, name):
        """Its type."""
        return DataType.__members__[self._tensors[name][1]]

    def get_tensor_location(self, name):
        """Where it has to lie."""
        return TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name, profile_index):
        """Smallest, usual and largest shape of an input."""
        return [Dims(shape) for shape in self._plan["profiles"][profile_index][name]]

    def _named(self, key):
        return key if isinstance(key, str) else self._names[key % len(self._names)]
