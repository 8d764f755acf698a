"""Which layers an engine has and in which precision each runs."""

from collections import namedtuple

from tensorrt import _settings

Layer = namedtuple("Layer", "name kind precision inputs outputs weights")

#: Operators that fold into what comes before them.
_FOLDED = ("Relu", "Clip", "BatchNormalization")
_MULTIPLIERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_KINDS = {
    "Conv": "CaskConvolution",
    "ConvTranspose": "CaskDeconvolution",
    "Gemm": "CaskGemm",
    "MatMul": "MatrixMultiply",
    "MaxPool": "CaskPooling",
    "AveragePool": "CaskPooling",
    "GlobalAveragePool": "CaskPooling",
    "Softmax": "SoftMax",
}
_HALF = 10


def layers(model, fp16, int8, calibrated):
    """Layers in order. The builder may use `fp16`, `int8`; `calibrated`: it has ranges of all tensors."""
    kept = _settings.names("KEEPS_FP32")
    types = _types(model)
    quantised = {node.outputs[0] for node in model.nodes if node.op == "DequantizeLinear"}
    found = []
    for node in model.nodes:
        if node.op in ("Constant", "QuantizeLinear", "DequantizeLinear"):
            continue
        if node.op in _FOLDED and found and found[-1].outputs == node.inputs[:1]:
            before = found[-1]
            found[-1] = before._replace(name=before.name + " + " + node.name, outputs=node.outputs)
            continue
        typed = "FP16" if _HALF in [types.get(name) for name in (*node.inputs, *node.outputs)] else "FP32"
        precision = "FP16" if fp16 else typed
        if int8 and node.op in _MULTIPLIERS and (calibrated or quantised & set(node.inputs)):
            precision = "INT8"
        if node.name in kept:
            precision = "FP32"
        weights = [model.initializers[name].count for name in node.inputs if name in model.initializers]
        kind = _KINDS.get(node.op, "Myelin" if node.op == "Attention" else node.op)
        found.append(Layer(node.name, kind, precision, node.inputs[:1], node.outputs, sum(weights)))
    return found


def has_quantised_nodes(model):
    """Whether Q/DQ nodes say the precision."""
    return any(node.op in ("QuantizeLinear", "DequantizeLinear") for node in model.nodes)


def _types(model):
    """ONNX's element type by tensor, as far as inputs, weights and casts tell."""
    types = {value.name: value.dtype for value in model.inputs}
    types.update({name: found.dtype for name, found in model.initializers.items()})
    for node in model.nodes:
        first = next((types[name] for name in node.inputs if name in types), None)
        for name in node.outputs:
            types[name] = node.to if node.op == "Cast" else first
    return types
