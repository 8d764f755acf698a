"""Runtime, engine and execution context: what runs a plan, really, with onnxruntime on the CPU."""

import json
import struct

from tensorrt import _device, _settings
from tensorrt._bound import Bound, attribute, enumeration, expect
XX
    MAGIC,
    ProfilingVerbosity,
    error,
    host_memory,
    refuse_without_cuda,
)
from tensorrt._generation import SHAPE, VERSION, since
from tensorrt._logging import ILogger, Severity
from tensorrt._network import DataType, Dims, TensorLocation
from tensorrt._precision import Layer

TensorIOMode = enumeration("TensorIOMode", SHAPE.enums.get("TensorIOMode", {}))
LayerInformationFormat = enumeration("LayerInformationFormat", SHAPE.enums.get("LayerInformationFormat", {}))

#: What a context takes of the device for the values between layers, unless STANDIN_ACTIVATION_MEMORY says.
_ACTIVATIONS = 1 << 20

_NUMPY = {"FLOAT": "f4", "HALF": "f2", "INT8": "i1", "INT32": "i4", "BOOL": "?", "UINT8": "u1", "INT64": "i8"}


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
            self._logger.log(
                Severity.ERROR,
                f"Requested amount of GPU memory ({len(engine._onnx)} bytes) could not be allocated. There may not "
                "be enough free memory for allocation to succeed.",
            )
            fault = error(
                2, "OutOfMemory", "no further information", "virtualMemoryBuffer.cpp::resizePhysical"
            )
        self._logger.log(Severity.ERROR, fault)
        self._logger.log(
            Severity.ERROR,
            "4: [runtime.cpp::deserializeCudaEngine::50] Error Code 4: Internal Error (Engine deserialization failed.)",
        )
        return None


def _fault(data):
    """Why a plan cannot be loaded, in the words of this generation; None where it can."""
    serialization = "1: [stdArchiveReader.cpp::StdArchiveReader::{}] Error Code 1: Serialization ({})"
    if not data.startswith(MAGIC):
        text = "Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match"
        return serialization.format(32, text)
    if len(data) < 12 or len(data) != 12 + sum(struct.unpack_from("<II", data, 4)):
        text = "Serialization assertion sizeRead == static_cast<uint64_t>(mEnd - mCurrent) failed.Size specified in "
        return serialization.format(46, text + "header does not match archive size")
    head = _head(data)
    if head["version"] != VERSION:
        if not since(8, 4):
            text = (
                "Serialization assertion stdVersionRead == serializationVersion failed.Version tag does not match. "
                f"Note: Current Version: {_tag(VERSION)}, Serialized Engine Version: {_tag(head['version'])}"
            )
            return serialization.format(40, text)
        return (
            "6: The engine plan file is not compatible with this version of TensorRT, expecting library version "
            f"{VERSION} got {head['version']}, please rebuild."
        )
    if tuple(head["compute_capability"]) != _settings.compute_capability():
        expected = "{}.{}".format(*_settings.compute_capability())
        found = "{}.{}".format(*head["compute_capability"])
        return (
            "6: The engine plan file is generated on an incompatible device, expecting compute "
            f"{expected} got compute {found}, please rebuild."
        )
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
        self._weights = _device.DeviceBlock(_settings.number("ENGINE_MEMORY", len(self._onnx)))

    name = property(lambda self: "Unnamed Network 0")
    num_layers = property(lambda self: len(self._plan["layers"]))
    num_optimization_profiles = property(lambda self: len(self._plan["profiles"]))
    num_bindings = property(lambda self: len(self._names) * len(self._plan["profiles"]))
    num_io_tensors = property(lambda self: len(self._names))
    device_memory_size = property(lambda self: _activation())
    device_memory_size_v2 = property(lambda self: _activation())
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
        self._logger.log(
            Severity.ERROR,
            error(2, "OutOfMemory", "no further information", "executionContext.cpp::initialize"),
        )
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


class IExecutionContext(Bound):
    """Runs an engine on shapes and addresses of its own."""

    name = attribute("name", "", str)
    profiler = attribute("profiler", None)
    enqueue_emits_profile = attribute("enqueue_emits_profile", True, bool)
    persistent_cache_limit = attribute("persistent_cache_limit", 0, int)

    def __init__(self, engine):
        self._engine = engine
        self._logger = engine._logger
        self._profile = 0
        self._addresses = {}
        self._shapes = {name: list(engine._tensors[name][2]) for name in engine._inputs}
        self._output_shapes = None
        self._session = _session(engine._onnx)
        self._memory = _device.DeviceBlock(_activation())

    engine = property(lambda self: self._engine)
    all_binding_shapes_specified = property(lambda self: not self._open())
    all_shape_inputs_specified = property(lambda self: True)

    @property
    def active_optimization_profile(self):
        """Index of the profile whose ranges hold."""
        return self._profile

    @active_optimization_profile.setter
    def active_optimization_profile(self, index):
        self.set_optimization_profile_async(index, 0)

    def set_optimization_profile_async(self, profile_index, stream_handle):
        """Choose a profile; RuntimeError for one there is not."""
        if not 0 <= profile_index < self._engine.num_optimization_profiles:
            raise RuntimeError("Error in set optimization profile async.")
        self._profile = profile_index
        return True

    def set_binding_shape(self, binding, shape):
        """Shape of an input; False, with the reason in the log, outside of the profile's range."""
        return self._set_shape(self._engine._named(binding), tuple(shape))

    def get_binding_shape(self, binding):
        """Shape of a tensor as it will be; -1 where that is open."""
        return Dims(self._shape(self._engine._named(binding)))

    def set_input_shape(self, name, shape):
        """The same by name."""
        return self._set_shape(name, tuple(shape))

    def get_tensor_shape(self, name):
        """The same by name."""
        return Dims(self._shape(name))

    def infer_shapes(self):
        """Names of inputs whose shape is missing."""
        return self._open()

    def set_tensor_address(self, name, memory):
        """Where the tensor lies on the device; False for a name it does not have."""
        if name not in self._engine._tensors:
            return False
        self._addresses[name] = memory
        return True

    def get_tensor_address(self, name):
        """As set; 0 without."""
        return self._addresses.get(name, 0)

    def execute_v2(self, bindings):
        """Run and wait; addresses in the order of bindings."""
        return self._run_bindings(bindings, "executeV2")

    def execute_async_v2(self, bindings, stream_handle, input_consumed=None):
        """Run on a stream."""
        expect(stream_handle, int, "execute_async_v2")
        return self._run_bindings(bindings, "enqueueV2")

    def execute_async_v3(self, stream_handle):
        """Run on a stream, on the addresses that were set."""
        expect(stream_handle, int, "execute_async_v3")
        return self._run("enqueueV3")

    def _run_bindings(self, bindings, call):
        names = self._engine._names
        ours = list(bindings)[self._profile * len(names) : (self._profile + 1) * len(names)]
        if len(ours) != len(names):
            raise RuntimeError(f"{call}: {len(ours)} bindings for {len(names)} tensors")
        self._addresses = {name: int(address) for name, address in zip(names, ours)}
        return self._run(call)

    def _run(self, call):
        import numpy as np

        missing = [name for name in self._engine._names if not self._addresses.get(name)]
        if self._open() or missing:
            self._complain(call, self._open(), missing)
            return False
        feed = {}
        for name in self._engine._inputs:
            dtype = np.dtype(_NUMPY[self._engine._tensors[name][1]])
            shape = self._shapes[name]
            size = int(np.prod(shape)) * dtype.itemsize
            values = np.frombuffer(_device.bytes_at(self._addresses[name], size), dtype).reshape(shape)
            feed[name] = values.astype(self._session.dtypes[name])
        names = [name for name in self._engine._names if name not in self._engine._inputs]
        for name, values in zip(names, self._session.run(names, feed)):
            dtype = np.dtype(_NUMPY[self._engine._tensors[name][1]])
            _device.write_at(self._addresses[name], np.ascontiguousarray(values.astype(dtype)).tobytes())
        return True

    def _open(self):
        return [name for name, shape in self._shapes.items() if -1 in shape]

    def _shape(self, name):
        if name in self._shapes:
            return self._shapes[name]
        declared = self._engine._tensors[name][2]
        if -1 not in declared or self._open():
            return declared
        if self._output_shapes is None:
            self._output_shapes = self._session.output_shapes(self._shapes)
        return self._output_shapes[name]

    def _set_shape(self, name, shape):
        ranges = self._engine._plan["profiles"][self._profile].get(name)
        if ranges is None:
            return False
        low, _, high = ranges
        if len(shape) != len(low) or any(not a <= b <= c for a, b, c in zip(low, shape, high)):
            self._logger.log(
                Severity.ERROR,
                "3: [executionContext.cpp::setInputShape::2020] Error Code 3: API Usage Error (Parameter check failed "
                "at: engine.cpp::setBindingDimensions::1125, condition: profileMaxDims.d[i] >= dimensions.d[i]. "
                f"Supplied binding dimension {list(shape)} for {name} exceed min ~ max range, maximum dimension in "
                f"profile is {list(high)}, minimum dimension in profile is {list(low)}.)",
            )
            return False
        self._shapes[name] = list(shape)
        self._output_shapes = None
        return True

    def _complain(self, call, open_inputs, missing):
        if open_inputs:
            text = f"input shape of {open_inputs[0]} has not been specified"
        else:
            text = (
                f"Address is not set for tensor {missing[0]}. Call setInputTensorAddress or setTensorAddress before "
                "enqueue/execute."
            )
        self._logger.log(Severity.ERROR, f"IExecutionContext::{call}: Error Code 3: API Usage Error ({text})")


def _activation():
    return _settings.number("ACTIVATION_MEMORY", _ACTIVATIONS)


class _session:  # noqa: N801 - private
    """onnxruntime on the model of a plan."""

    def __init__(self, data):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        words = {
            "float": "f4",
            "float16": "f2",
            "int64": "i8",
            "int32": "i4",
            "int8": "i1",
            "uint8": "u1",
            "bool": "?",
        }
        self.dtypes = {value.name: words[value.type[7:-1]] for value in self._session.get_inputs()}

    def run(self, names, feed):
        """Values of the outputs of these names."""
        return self._session.run(names, feed)

    def output_shapes(self, shapes):
        """What comes out for inputs of these shapes, seen by running it on zeros."""
        import numpy as np

        feed = {name: np.zeros(shape, self.dtypes[name]) for name, shape in shapes.items()}
        names = [value.name for value in self._session.get_outputs()]
        return {name: list(value.shape) for name, value in zip(names, self._session.run(names, feed))}


class EngineInspector(Bound):
    """Tells of an engine's layers, as much as it was built with."""

    execution_context = attribute("execution_context", None, (IExecutionContext, type(None)))

    def __init__(self, engine):
        self._engine = engine

    def get_layer_information(self, layer_index, format):  # noqa: A002 - the real name
        """One layer, as text or as JSON."""
        expect(format, LayerInformationFormat, "get_layer_information")
        return self._text(self._layers()[layer_index], format)

    def get_engine_information(self, format):  # noqa: A002 - the real name
        """All layers and the tensors at the ends."""
        expect(format, LayerInformationFormat, "get_engine_information")
        key = "I/O Tensors" if since(11) else "Bindings"
        whole = {"Layers": self._layers(), key: self._engine._names}
        if format == LayerInformationFormat.JSON:
            return json.dumps(whole)
        return "Layers:\n" + "\n".join(self._text(layer, format) for layer in whole["Layers"])

    def _text(self, layer, form):
        if form == LayerInformationFormat.JSON:
            return json.dumps(layer)
        return (
            layer if isinstance(layer, str) else ", ".join(f"{key}: {value}" for key, value in layer.items())
        )

    def _layers(self):
        plan = self._engine._plan
        verbosity = ProfilingVerbosity.__members__[plan["verbosity"]]
        if verbosity == ProfilingVerbosity.NONE:
            return []
        layers = [Layer(*entry) for entry in plan["layers"]]
        if verbosity != ProfilingVerbosity.__members__.get("DETAILED"):
            return [layer.name for layer in layers]
        unknown = self.execution_context is None and any(-1 in shape for _, _, shape in plan["inputs"])
        return [_described(layer, unknown) for layer in _with_copies(layers, plan)]


def _with_copies(layers, plan):
    """Reformats where the ends are fp32 and the layer beside them is not, as real engines have them."""
    if not layers or plan["strongly_typed"]:
        return layers
    first, last = layers[0], layers[-1]
    found = list(layers)
    if first.precision != "FP32":
        name = f"Reformatting CopyNode for Input Tensor 0 to {first.name}"
        found.insert(0, Layer(name, "Reformat", "FP32", first.inputs, [name], 0))
    if last.precision != "FP32":
        name = f"Reformatting CopyNode for Output Tensor 0 to {last.name}"
        found.append(Layer(name, "Reformat", "FP32", [name], last.outputs, 0))
    return found


def _described(layer, unknown):
    long = {
        "FP32": "Row major linear FP32",
        "FP16": "Row major linear FP16 format",
        "INT8": "Row major Int8 format",
    }
    short = {"FP32": "Float", "FP16": "Half", "INT8": "Int8"}
    form = "N/A due to dynamic shapes" if unknown else (short if since(10) else long)[layer.precision]
    described = {
        "Name": layer.name,
        "LayerType": layer.kind,
        "Inputs": [_end(name, form) for name in layer.inputs],
        "Outputs": [_end(name, form) for name in layer.outputs],
        "ParameterType": layer.kind,
    }
    if layer.weights:
        described["Weights"] = {"Type": short[layer.precision], "Count": layer.weights}
    described.update(TacticName=f"stand_in_{layer.precision.lower()}_{layer.kind.lower()}", TacticValue="0x0")
    if since(8, 6):
        described["Metadata"] = "".join(f"[ONNX Layer: {name}]" for name in layer.name.split(" + "))
    return described


def _end(name, form):
    return {"Name": name, "Location": "Device", "Dimensions": [], "Format/Datatype": form}
