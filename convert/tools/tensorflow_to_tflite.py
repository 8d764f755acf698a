"""Keras files and SavedModels to TFLite by TensorFlow's own converter, at every precision.

In a tool's process of the tensorflow toolchain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import ConversionFailed
from convert.steps import StepLog
from convert.tools.exchange import Arrays, ToolRequest, made, read_request
from convert.tools.tensorflow_network import (
    Network,
    concrete_function,
    function_operators,
    load_network,
    tensorflow_package,
)
from convert.tools.tflite_batch import refuse_dynamic_batch

_SIGNATURE = "serving_default"
#: How the converter tells that an operator is TensorFlow's only, or nobody's.
_FOREIGN_OPERATORS = re.compile(r"(?:TF Select|Custom) ops: (.+)")
_NOT_LEGAL = re.compile(
    r"'(tf\.\w+)' op is neither a custom op nor a flex op|failed to legalize operation '(\S+)'"
)
_NOT_QUANTIZED = re.compile(r"Quantization not yet supported for op: '(\w+)'")


def by_tflite_converter(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: a .tflite of request["precision"] with request["io"] at its ends."""
    asked = read_request(request)
    refuse_dynamic_batch(asked)
    log, package = StepLog(), tensorflow_package()
    with log.step(package, "load and trace"):
        network = load_network(asked.source)
        function = concrete_function(network, {entry.name: entry.shape for entry in asked.inputs})
        folder = _saved(network, function, asked.work)
    with log.step(package, f"TFLite converter, {asked.precision}, {asked.io} in and out"):
        content = _converted(folder, function, asked)
        _check_interface(content, asked)
        asked.output.write_bytes(content)
    return made(log)


def _saved(network: Network, function: Any, work: Path) -> Path:
    """A SavedModel of the traced network, with its names in the only signature."""
    import tensorflow as tf

    module = tf.Module()
    module.network = network.owner
    # Reached through the Keras model alone, variables are not made constants: the converter leaves reads of
    # variables that nothing sets, and the file answers from memory that nobody wrote.
    module.weights = list(function.variables)
    folder = work / "saved_model"
    tf.saved_model.save(module, str(folder), signatures={_SIGNATURE: function})
    return folder


def _converted(folder: Path, function: Any, request: ToolRequest) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[_SIGNATURE])
    # No TensorFlow operators beside: a board's runtime does not have them.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    _set_precision(converter, request)
    try:
        return bytes(converter.convert())
    except MemoryError:
        raise
    except Exception as error:  # ConverterError, RuntimeError and ValueError by the stage that gave up
        raise _not_converted(str(error), function, request.source.name) from error


def _set_precision(converter: Any, request: ToolRequest) -> None:
    import tensorflow as tf

    if request.precision == "fp32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if request.precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    elif request.precision == "int8-dynamic":
        # tflite-runtime 2.14 does not have FULLY_CONNECTED with a scale for each channel.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001
    elif request.precision == "int8":
        if not request.calibration:
            raise ConversionFailed("int8 needs calibration data", reason="calibration_required")
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        calibration = request.calibration
        converter.representative_dataset = lambda: _samples(calibration, request)
        ends = {"float": tf.float32, "int8": tf.int8, "uint8": tf.uint8}[request.io]
        converter.inference_input_type = converter.inference_output_type = ends


def _samples(calibration: Arrays, request: ToolRequest) -> Iterator[dict[str, Any]]:
    """One complete input at a time, in the types of the model."""
    dtypes = {entry.name: np.dtype(entry.dtype) for entry in request.inputs}
    for i in range(len(next(iter(calibration.values())))):
        yield {name: np.asarray(array[i], dtype=dtypes[name]) for name, array in calibration.items()}


def _not_converted(message: str, function: Any, name: str) -> ConversionFailed:
    """What the converter could not do, from its many lines."""
    matches = [pattern.search(message) for pattern in (_FOREIGN_OPERATORS, _NOT_LEGAL, _NOT_QUANTIZED)]
    operator = next((found for match in matches if match for found in match.groups() if found), None)
    if operator is None:
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        telling = [line for line in lines if "error:" in line] or lines or ["it gave no reason"]
        return ConversionFailed(
            f"the TFLite converter failed: {telling[0][:400]}", reason="conversion_failed"
        )
    operators = [part.strip().removeprefix("tf.") for part in operator.split(",")]
    nodes = function_operators(function).get(operators[0], [])
    where = f" (node {', '.join(nodes[:3])})" if nodes else ""
    how = " in int8" if matches[2] else ""
    return ConversionFailed(
        f"{name} uses the operator {', '.join(operators)}{where}, which TFLite does not have{how}",
        reason="unsupported_operator",
        remedy="Write the model with other operators in its place, or leave them out of it",
    )


def _check_interface(content: bytes, request: ToolRequest) -> None:
    """Raises ConversionFailed where names or types at the ends are not those that were asked for."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=content)
    runner = interpreter.get_signature_runner(_SIGNATURE)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    wanted_inputs = {entry.name for entry in request.inputs}
    if set(inputs) != wanted_inputs or set(outputs) != set(request.outputs):
        raise ConversionFailed(
            f"the TFLite converter changed the interface to {', '.join(inputs)} -> {', '.join(outputs)}",
            reason="interface_changed",
        )
    if request.precision != "int8" or request.io == "float":
        return
    for name, detail in (*inputs.items(), *outputs.items()):
        dtype = np.dtype(detail["dtype"]).name
        if dtype != request.io and dtype in ("float32", "int8", "uint8"):
            raise ConversionFailed(
                f"{name!r} was to be {request.io} and is {dtype}", reason="interface_changed"
            )
