"""Runs a TFLite file as older boards do, in tflite-runtime.

Runs in the tflite-runtime toolchain.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.data.arrays import load_arrays, save_arrays
from convert.errors import ConversionFailed

Arrays = dict[str, NDArray[np.generic]]
_PACKAGE = "tflite-runtime"


def check(request: dict[str, Any]) -> dict[str, Any]:
    """Outputs of request["model"] for request["inputs"], an .npz of request["names"] in the file's order.

    The arrays are (examples, *input shape) in the file's own types and layout. Outputs are written to
    request["outputs"] by the name they have in the only signature, else by their tensor's name; answers their
    names and the runtime's version. Raises ConversionFailed `runtime_refused` with what the runtime says.
    """
    model = Path(request["model"])
    inputs = load_arrays(Path(request["inputs"]), request["names"])
    try:
        outputs = _run(model, inputs)
    except Exception as error:  # ValueError, RuntimeError or worse, by what it refuses
        words = " ".join(str(error).split()) or type(error).__name__
        raise ConversionFailed(
            f"{_PACKAGE} {version(_PACKAGE)} does not run {model.name}: {words}", reason="runtime_refused"
        ) from error
    return {"names": save_arrays(Path(request["outputs"]), outputs), "version": version(_PACKAGE)}


def _run(model: Path, inputs: Arrays) -> Arrays:
    from tflite_runtime.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(model), num_threads=1)
    fed = list(zip(interpreter.get_input_details(), inputs.values(), strict=True))
    for detail, array in fed:
        if detail["shape"].tolist() != list(array.shape[1:]):
            interpreter.resize_tensor_input(detail["index"], array.shape[1:])
    interpreter.allocate_tensors()
    places = _outputs(interpreter)
    answers: dict[str, list[NDArray[np.generic]]] = {name: [] for name in places}
    for i in range(len(next(iter(inputs.values())))):
        # Every example is a first call: state a model keeps in itself must not leak into the next.
        interpreter.reset_all_variables()
        for detail, array in fed:
            interpreter.set_tensor(detail["index"], np.asarray(array[i]))
        interpreter.invoke()
        for name, index in places.items():
            answers[name].append(interpreter.get_tensor(index))
    return {name: np.stack(arrays) for name, arrays in answers.items()}


def _outputs(interpreter: Any) -> dict[str, int]:
    """Tensor index of each output by its name."""
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        details = interpreter.get_signature_runner(next(iter(signatures))).get_output_details()
        return {name: int(detail["index"]) for name, detail in details.items()}
    return {detail["name"]: int(detail["index"]) for detail in interpreter.get_output_details()}
