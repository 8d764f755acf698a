"""Runs a model on this host, one thread, example by example.

Runs in the worker process only: it imports the runtimes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.data.arrays import load_arrays, save_arrays, stacked_outputs
from convert.errors import ConversionFailed, ConvertError
from convert.sources.inspection import ModelInfo, info_from_json

Arrays = dict[str, NDArray[np.generic]]


def run_model(info: ModelInfo, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Outputs (examples, *output shape) of complete inputs (examples, *input shape), by canonical name.

    Raises ConversionFailed `execution_failed` when the runtime refuses, InvalidModel `variable_output` when
    an output's shape depends on the values of the input.
    """
    feeds = _by_canonical_name(info, inputs)
    examples = len(next(iter(feeds.values())))
    try:
        infer = _tflite(info, feeds) if info.kind == "tflite" else _onnx(info)
        answers = [
            infer({name: np.asarray(array[i]) for name, array in feeds.items()}) for i in range(examples)
        ]
    except Exception as error:  # each runtime raises classes of its own, which share no base
        shapes = ", ".join(f"{name!r} {array.shape[1:]}" for name, array in feeds.items())
        raise ConversionFailed(
            f"{info.path.name} does not run on this computer with inputs {shapes}: {error}",
            reason="execution_failed",
            remedy="Check the shapes (--shape) and that the model runs at all",
        ) from error
    return {name: stacked_outputs(name, [answer[name] for answer in answers]) for name in answers[0]}


def _by_canonical_name(info: ModelInfo, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
    feeds = {}
    for tensor in info.inputs:
        given = next((name for name in (tensor.name, *tensor.aliases) if name in inputs), None)
        if given is None:
            raise ConvertError(
                f"{info.path.name} has the input {tensor.name!r}, given were {', '.join(map(repr, inputs))}",
                reason="inputs_differ",
            )
        # asarray drops nothing: datasets.py has checked that the values fit the type
        feeds[tensor.name] = np.asarray(inputs[given], dtype=np.dtype(tensor.dtype), order="C")
    return feeds


def _onnx(info: ModelInfo) -> Callable[[Arrays], Arrays]:
    from convert.proofs.onnx_session import precise_session

    session = precise_session(info.path)
    names = [output.name for output in session.get_outputs()]

    def infer(feed: Arrays) -> Arrays:
        return dict(zip(names, map(np.asarray, session.run(names, feed)), strict=True))

    return infer


def _tflite(info: ModelInfo, feeds: Arrays) -> Callable[[Arrays], Arrays]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(info.path), num_threads=1)
    # info was read from the same file, so its tensors come in the interpreter's order
    inputs = [
        (tensor.name, detail)
        for tensor, detail in zip(info.inputs, interpreter.get_input_details(), strict=True)
    ]
    for name, detail in inputs:
        shape = list(feeds[name].shape[1:])
        if shape != detail["shape"].tolist():
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    outputs = [
        (tensor.name, detail["index"])
        for tensor, detail in zip(info.outputs, interpreter.get_output_details(), strict=True)
    ]

    def infer(feed: Arrays) -> Arrays:
        # Every example is a first call: state a model keeps in itself must not leak into the next.
        interpreter.reset_all_variables()
        for name, detail in inputs:
            interpreter.set_tensor(detail["index"], feed[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in outputs}

    return infer


def reference(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: outputs of request["info"] at request["path"], written to request["outputs"]."""
    info = info_from_json(request["info"], Path(request["path"]))
    inputs = load_arrays(Path(request["inputs"]), request["names"])
    return {"names": save_arrays(Path(request["outputs"]), run_model(info, inputs))}
