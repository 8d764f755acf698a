"""The execution context: runs an engine, really, with onnxruntime on the CPU."""
# ruff: noqa: B905 - strict came with Python 3.10

from tensorrt import _device, _settings, _words
from tensorrt._bound import Bound, attribute, expect
from tensorrt._logging import Severity
from tensorrt._network import Dims

#: What a context takes of the device for the values between layers, unless STANDIN_ACTIVATION_MEMORY says.
_ACTIVATIONS = 1 << 20

_NUMPY = {"FLOAT": "f4", "HALF": "f2", "INT8": "i1", "INT32": "i4", "BOOL": "?", "UINT8": "u1", "INT64": "i8"}
_ORT = {
    "float": "f4",
    "float16": "f2",
    "int8": "i1",
    "int32": "i4",
    "bool": "?",
    "uint8": "u1",
    "int64": "i8",
}


def activation_memory():
    """Bytes of device memory that a context takes."""
    return _settings.number("ACTIVATION_MEMORY", _ACTIVATIONS)


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
        self._session = _Session(engine._onnx)
        self._memory = _device.DeviceBlock(activation_memory())

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
            text = _words.SHAPE_OUT_OF_RANGE.format(
                name=name, shape=list(shape), low=list(low), high=list(high)
            )
            self._logger.log(Severity.ERROR, text)
            return False
        self._shapes[name] = list(shape)
        self._output_shapes = None
        return True

    def _complain(self, call, open_inputs, missing):
        if open_inputs:
            text = _words.NO_SHAPE.format(name=open_inputs[0])
        else:
            text = _words.NO_ADDRESS.format(name=missing[0])
        self._logger.log(Severity.ERROR, f"IExecutionContext::{call}: Error Code 3: API Usage Error ({text})")


class _Session:
    """onnxruntime on the model of a plan."""

    def __init__(self, data):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.dtypes = {value.name: _ORT[value.type[7:-1]] for value in self._session.get_inputs()}

    def run(self, names, feed):
        """Values of the outputs of these names."""
        return self._session.run(names, feed)

    def output_shapes(self, shapes):
        """What comes out for inputs of these shapes, seen by running it on zeros."""
        import numpy as np

        feed = {name: np.zeros(shape, self.dtypes[name]) for name, shape in shapes.items()}
        names = [value.name for value in self._session.get_outputs()]
        return {name: list(value.shape) for name, value in zip(names, self._session.run(names, feed))}
