"""The engine inspector: layers and the precision of each, in the words of real engines."""

import json

from tensorrt._bound import Bound, attribute, enumeration, expect
from tensorrt._configuration import ProfilingVerbosity
from tensorrt._context import IExecutionContext
from tensorrt._generation import SHAPE, since
from tensorrt._precision import Layer

LayerInformationFormat = enumeration("LayerInformationFormat", SHAPE.enums.get("LayerInformationFormat", {}))


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
