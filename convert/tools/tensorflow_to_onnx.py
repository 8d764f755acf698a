"""Keras files, SavedModels and TFLite files to ONNX by tf2onnx, with names and layout of the source.

In a tool's process of the tensorflow toolchain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from convert.errors import ConversionFailed, ConvertError
from convert.steps import StepLog
from convert.tools.exchange import ToolRequest, made, read_request
from convert.tools.onnx_names import nodes, rename_values
from convert.tools.tensorflow_network import Network, input_specs, load_network
from convert.tools.tflite_batch import refuse_dynamic_batch

_PACKAGE = "tf2onnx"
_DEFAULT_OPSET = 17
#: Tried in this order below the one that is wanted; tf2onnx knows none above 18.
_OPSETS = (18, 17, 15, 13)
_BATCH = "batch"


def by_tf2onnx(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: a Keras file or SavedModel as fp32 ONNX."""
    asked = read_request(request)
    log = StepLog()
    with log.step(_PACKAGE, "TensorFlow to ONNX"):
        network = load_network(asked.source)
        model = _by_ladder(lambda opset: _from_network(network, asked, opset), asked, log)
        _finish(model, asked)
    return made(log)


def tflite_by_tf2onnx(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: a TFLite file as fp32 ONNX."""
    asked = read_request(request)
    refuse_dynamic_batch(asked)
    log = StepLog()
    with log.step(_PACKAGE, "TFLite to ONNX"):
        model = _by_ladder(lambda opset: _from_tflite(asked, opset), asked, log)
        _finish(model, asked)
    return made(log)


def _by_ladder(convert: Callable[[int], Any], request: ToolRequest, log: StepLog) -> Any:
    """The model at the highest opset that works; raises ConversionFailed of the first if none does."""
    wanted = request.opset or _DEFAULT_OPSET
    failures: list[ConvertError] = []
    for opset in (wanted, *(lower for lower in _OPSETS if lower < wanted)):
        try:
            model = convert(opset)
            _check(model, request.source.name)
        except MemoryError:
            raise
        except ConvertError as error:
            if error.reason == "unsupported_operator":
                raise
            failures.append(error)
        except Exception as error:  # noqa: BLE001 - tf2onnx raises what its rewriters stumble over
            message = f"tf2onnx failed at opset {opset}: {type(error).__name__}: {_first_line(error)}"
            failures.append(ConversionFailed(message, reason="conversion_failed"))
        else:
            return model
        log.warnings.append(failures[-1].message)
    raise failures[0]


def _from_network(network: Network, request: ToolRequest, opset: int) -> Any:
    import tensorflow as tf
    import tf2onnx

    names = [tensor.name for tensor in network.inputs]
    shapes = {
        entry.name: (None, *entry.shape[1:]) if request.dynamic_batch else entry.shape
        for entry in request.inputs
    }
    specs = input_specs(network, shapes)

    def call(*tensors: Any) -> dict[str, Any]:
        return network.call(**dict(zip(names, tensors, strict=True)))

    function = tf.function(call, autograph=False)
    return tf2onnx.convert.from_function(function, input_signature=specs, opset=opset)[0]


def _from_tflite(request: ToolRequest, opset: int) -> Any:
    """The file's graph; values are named as its tensors, which the signature's names then replace."""
    import tf2onnx

    model = tf2onnx.convert.from_tflite(str(request.source.path), opset=opset)[0]
    tensor_names = _tensor_names(request)
    rename_values(model.graph, {tensor: name for name, tensor in tensor_names.items() if tensor != name})
    return model


def _tensor_names(request: ToolRequest) -> dict[str, str]:
    """Name of the tensor behind each name of the interface."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_path=str(request.source.path))
    wanted = {*(entry.name for entry in request.inputs), *request.outputs}
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        details = {**runner.get_input_details(), **runner.get_output_details()}
        if wanted <= set(details):
            return {name: details[name]["name"] for name in wanted}
    own = {detail["name"] for detail in (*interpreter.get_input_details(), *interpreter.get_output_details())}
    if wanted <= own:
        return {name: name for name in wanted}
    raise ConversionFailed(
        f"{request.source.name} has the tensors {', '.join(sorted(own))}, not {', '.join(sorted(wanted))}",
        reason="interface_changed",
    )


def _check(model: Any, name: str) -> None:
    """Raises ConversionFailed for operators that tf2onnx left as they were, and for a graph that is wrong."""
    import onnx

    versions = {entry.domain: entry.version for entry in model.opset_import}
    foreign: dict[str, list[str]] = {}
    for node in nodes(model.graph):
        version = versions.get(node.domain)
        if version is None or not onnx.defs.has(node.op_type, version, node.domain):
            foreign.setdefault(node.op_type, []).append(node.name)
    if foreign:
        described = "; ".join(f"{kind} (node {', '.join(found[:3])})" for kind, found in foreign.items())
        raise ConversionFailed(
            f"{name} uses operators that ONNX opset {versions.get('')} does not have: {described}",
            reason="unsupported_operator",
            remedy="Write the model with other operators in their place, or convert it to TFLite",
        )
    onnx.checker.check_model(model)


def _finish(model: Any, request: ToolRequest) -> None:
    """Writes the model with its outputs in the source's order and only the operator sets it uses."""
    import onnx

    found = {value.name: value for value in model.graph.output}
    inputs = {value.name for value in model.graph.input}
    if set(found) != set(request.outputs) or inputs != {entry.name for entry in request.inputs}:
        raise ConversionFailed(
            f"tf2onnx changed the interface to {', '.join(sorted(inputs))} -> {', '.join(found)}",
            reason="interface_changed",
        )
    outputs = [found[name] for name in request.outputs]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    if request.dynamic_batch:
        _name_batch([*model.graph.input, *model.graph.output])
    used = {node.domain for node in nodes(model.graph)}
    sets = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(sets)
    onnx.save(model, request.output)


def _name_batch(values: Sequence[Any]) -> None:
    """One name for the open first axis, which tf2onnx numbers anew for each tensor."""
    for value in values:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_param = _BATCH


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no reason given"
