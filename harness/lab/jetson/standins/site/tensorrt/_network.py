"""Networks and the parser that fills them from an .onnx file."""

from pathlib import Path

from tensorrt import _onnx, _settings, _words
from tensorrt._bound import Bound, attribute, enumeration, expect
from tensorrt._generation import SHAPE, since
from tensorrt._logging import ILogger, Severity

DataType = enumeration("DataType", SHAPE.enums["DataType"])
ErrorCode = enumeration("ErrorCode", SHAPE.enums["ErrorCode"])
TensorLocation = enumeration("TensorLocation", SHAPE.enums["TensorLocation"])
LayerType = enumeration("LayerType", SHAPE.enums["LayerType"])

DataType.itemsize = property(
    lambda self: {"HALF": 2, "INT8": 1, "BOOL": 1, "UINT8": 1, "INT64": 8}.get(self.name, 4)
)

#: ONNX's numbers of element types -> TensorRT's names.
_TYPES = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}

#: The highest opset each generation's parser was made for. The real parser takes any and fails at an operator
#: that has changed; the stand-in refuses at once, so that a test sees a wrong choice of opset.
MAX_OPSET = 13 if not since(8, 4) else 17 if not since(10) else 20 if not since(11) else 24


class Dims(Bound):
    """A shape; equal to a tuple of the same sizes."""

    def __init__(self, shape=()):
        self._sizes = [int(size) for size in shape]

    MAX_DIMS = 8

    def __len__(self):
        return len(self._sizes)

    def __getitem__(self, index):
        found = self._sizes[index]
        return tuple(found) if isinstance(index, slice) else found

    def __setitem__(self, index, size):
        self._sizes[index] = size

    def __eq__(self, other):
        return isinstance(other, (Dims, tuple, list)) and list(other) == self._sizes

    __hash__ = None

    def __repr__(self):
        return "(" + ", ".join(str(size) for size in self._sizes) + ")"


class ITensor(Bound):
    """An input or output of a network."""

    name = attribute("name", "", str)
    location = attribute("location", TensorLocation.DEVICE)
    dynamic_range = attribute("dynamic_range", None)

    def __init__(self, name, dtype, shape):
        self._name = name
        self._dtype = dtype
        self._shape = list(shape)

    @property
    def dtype(self):
        """Type of its elements."""
        return self._dtype

    @dtype.setter
    def dtype(self, value):
        expect(value, DataType, "dtype")
        self._dtype = value

    @property
    def shape(self):
        """Sizes, -1 where open."""
        return Dims(self._shape)

    @shape.setter
    def shape(self, value):
        self._shape = list(value)

    is_shape_tensor = property(lambda self: False)
    is_execution_tensor = property(lambda self: True)


class ILayer(Bound):
    """A node of the network."""

    name = attribute("name", "", str)

    def __init__(self, node):
        self._node = node
        self._name = node.name

    num_inputs = property(lambda self: len(self._node.inputs))
    num_outputs = property(lambda self: len(self._node.outputs))


class INetworkDefinition(Bound):
    """What the parser read, with what it was read from."""

    name = attribute("name", "Unnamed Network 0", str)

    def __init__(self, builder, explicit_batch, strongly_typed):
        self._builder = builder
        self._explicit_batch = explicit_batch
        self._strongly_typed = strongly_typed
        self._model = None
        self._data = b""
        self._inputs, self._outputs, self._layers = [], [], []

    builder = property(lambda self: self._builder)
    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))
    num_layers = property(lambda self: len(self._layers))
    has_implicit_batch_dimension = property(lambda self: not self._explicit_batch)

    def __len__(self):
        return len(self._layers)

    def __getitem__(self, index):
        return self._layers[index]

    def get_input(self, index):
        """The input at `index`; None, with a message, where there is none."""
        return self._at(self._inputs, index, "getInput")

    def get_output(self, index):
        """The output at `index`."""
        return self._at(self._outputs, index, "getOutput")

    def get_layer(self, index):
        """The layer at `index`."""
        return self._at(self._layers, index, "getLayer")

    def _at(self, found, index, word):
        if 0 <= index < len(found):
            return found[index]
        self._builder.logger.log(
            Severity.ERROR,
            f"INetworkDefinition::{word}: Error Code 3: API Usage Error (Parameter check failed, condition: "
            f"(0) <= (index) && (index) < {len(found)}.)",
        )
        return None


class ParserError(Bound):
    """Why a node, or the whole file, was refused."""

    def __init__(self, code, desc, func, position=-1, node=None):
        self._code, self._desc, self._func, self._node = code, desc, func, position
        self._name, self._operator = (node.name, node.op) if node else ("", "")
        self._output = node.outputs[0] if node and node.outputs else ""

    def code(self):
        """What kind of fault."""
        return self._code

    def desc(self):
        """In words."""
        return self._desc

    def node(self):
        """The node's position, -1 where it is about the whole file."""
        return self._node

    def node_name(self):
        """The node's name."""
        return self._name

    def node_operator(self):
        """The node's operator."""
        return self._operator

    def func(self):
        """Function of the parser."""
        return self._func

    def file(self):
        """Source file of the parser."""
        return "ModelImporter.cpp"

    def line(self):
        """Line of that file."""
        return 773

    def __repr__(self):
        place = f"In node {self._node} " if self._node >= 0 else ""
        if self._node >= 0 and since(10):
            place += f"with name: {self._name} and operator: {self._operator} "
        return f"{place}({self._func}): {self._code.name}: {self._desc}"


class OnnxParser(Bound):
    """Reads an .onnx file into a network."""

    def __init__(self, network, logger):
        expect(network, INetworkDefinition, "OnnxParser")
        expect(logger, ILogger, "OnnxParser")
        self._network = network
        self._logger = logger
        self._errors = []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index):
        """The fault at `index`."""
        return self._errors[index]

    def clear_errors(self):
        """Forget them."""
        self._errors = []

    def parse(self, model, path=None):
        """Whether the bytes could be read into the network; else the errors say why."""
        self._errors = []
        data = memoryview(model).tobytes()
        try:
            read = _onnx.read(data)
        except _onnx.NotOnnx:
            return self._refuse(ParserError(ErrorCode.MODEL_DESERIALIZE_FAILED, _NOT_ONNX, func=_DESERIALIZE))
        fault = self._bad_ends(read)
        if fault is None:
            # As in the real one the inputs are there even where a node is refused.
            self._network._inputs = [self._tensor(value) for value in read.inputs]
            fault = self._bad_node(read)
        if fault is not None:
            return self._refuse(fault)
        network = self._network
        network._model, network._data = read, data
        network._outputs = [self._tensor(value) for value in read.outputs]
        network._layers = [ILayer(node) for node in read.nodes if node.op != "Constant"]
        return True

    def parse_from_file(self, model):
        """The same of a file's path."""
        path = Path(model)
        if not path.is_file():
            self._logger.log(Severity.ERROR, f"Could not open file {model}")
            return self._refuse(ParserError(ErrorCode.MODEL_DESERIALIZE_FAILED, _NOT_ONNX, func=_DESERIALIZE))
        return self.parse(path.read_bytes(), model)

    def supports_operator(self, op_name):
        """Whether it knows an operator."""
        return op_name not in _settings.names("UNSUPPORTED")

    def _bad_ends(self, model):
        if not self._network._explicit_batch:
            return ParserError(ErrorCode.INVALID_VALUE, _words.IMPLICIT_BATCH, func="importModel")
        for value in (*model.inputs, *model.outputs):
            if not _known_type(_TYPES.get(value.dtype)):
                return ParserError(ErrorCode.UNSUPPORTED_NODE, _words.BAD_TYPE, func="importInput")
        return None

    def _bad_node(self, model):
        refused = _settings.names("UNSUPPORTED")
        for position, node in enumerate(model.nodes):
            if node.op in refused or model.opset > MAX_OPSET:
                return _unsupported(position, node)
        return None

    def _refuse(self, error):
        self._errors.append(error)
        if error.node() >= 0:
            text = _words.AT_NODE.format(position=error.node(), op=error._operator, output=error._output)
            self._logger.log(Severity.ERROR, text)
        self._logger.log(Severity.ERROR, repr(error))
        return False

    def _tensor(self, value):
        name = _TYPES[value.dtype]
        if name == "INT64" and "INT64" not in DataType.__members__:
            name = "INT32"
            self._logger.log(Severity.WARNING, _words.INT64)
        return ITensor(value.name, DataType.__members__[name], value.shape or [])


def _known_type(name):
    return name == "INT64" or name in DataType.__members__


def _unsupported(position, node):
    """As the parser of this generation says it: 10 and 11 check nodes first (seen with TensorRT-RTX 1.7)."""
    if since(10):
        found = ErrorCode.INVALID_NODE, _words.NO_PLUGIN, "checkFallbackPluginImporter"
    elif since(8, 2):
        text = "Assertion failed: " + _words.NO_PLUGIN
        found = ErrorCode.UNSUPPORTED_NODE, text, "importFallbackPluginImporter"
    else:
        found = ErrorCode.UNSUPPORTED_NODE, _words.NO_IMPORTER.format(op=node.op), "importModel"
    return ParserError(*found, position=position, node=node)


_DESERIALIZE = "deserializeOnnxModel" if since(10) else "deserialize_onnx_model"
_NOT_ONNX = _words.NOT_ONNX if since(10) else _words.NOT_ONNX_8
