"""ONNX to OpenVINO IR, a .xml and the .bin with its weights.

Runs in the openvino toolchain, which leaves out openvino-telemetry.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.data.arrays import load_arrays, save_arrays
from convert.errors import ConversionFailed, ConvertError
from convert.steps import StepLog
from convert.tools.exchange import made, read_request

Arrays = dict[str, NDArray[np.generic]]
_PACKAGE = "openvino"
_PRECISIONS = ("fp32", "fp16")


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Writes the .xml at `output` and the .bin beside it; fp16 stores the weights in half."""
    import openvino

    wanted = read_request(request)
    assert wanted.source.path is not None
    if wanted.precision not in _PRECISIONS:
        raise ConversionFailed(
            f"{wanted.precision!r} is not a precision of openvino",
            reason="no_path",
            remedy=f"Choose one of {', '.join(_PRECISIONS)}",
        )
    log = StepLog()
    weights = "float16 weights" if wanted.precision == "fp16" else "float32"
    with log.step(_PACKAGE, f"convert_model and save_model: {weights}"):
        try:
            model = openvino.convert_model(str(wanted.source.path))
            openvino.save_model(model, str(wanted.output), compress_to_fp16=wanted.precision == "fp16")
        except Exception as error:  # its classes share no base with anything of ours
            raise _failed("does not convert", wanted.source.path, error, "conversion_failed") from error
    return made(log)


def reference(request: dict[str, Any]) -> dict[str, Any]:
    """Outputs of request["model"], an .xml, for request["inputs"], an .npz of request["names"].

    The arrays are (examples, *input shape) by input name; outputs are written to request["outputs"] by name.
    One thread of the CPU in full float32.
    """
    model = Path(request["model"])
    inputs = load_arrays(Path(request["inputs"]), request["names"])
    try:
        outputs = _run(model, inputs)
    except ConvertError:
        raise
    except Exception as error:  # its classes share no base with anything of ours
        raise _failed("does not run", model, error, "execution_failed") from error
    return {"names": save_arrays(Path(request["outputs"]), outputs), "version": version(_PACKAGE)}


def _run(model: Path, inputs: Arrays) -> Arrays:
    import openvino

    # Left to itself the CPU computes in whatever half type it has.
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled: Any = openvino.Core().compile_model(str(model), "CPU", options)
    fed = {port: _given(port, inputs, model) for port in compiled.inputs}
    answers: dict[str, list[NDArray[np.generic]]] = {}
    for i in range(len(next(iter(inputs.values())))):
        found = compiled({port: np.asarray(inputs[name][i]) for port, name in fed.items()})
        for port, array in found.items():
            answers.setdefault(_name(port), []).append(np.array(array))
    return {name: np.stack(arrays) for name, arrays in answers.items()}


def _given(port: Any, inputs: Arrays, model: Path) -> str:
    """Which of the given arrays is for this input."""
    names: list[str] = sorted(port.get_names())
    given = next((name for name in names if name in inputs), None)
    if given is None:
        raise ConvertError(
            f"{model.name} has the input {names[0]!r}, given were {', '.join(map(repr, inputs))}",
            reason="inputs_differ",
        )
    return given


def _name(port: Any) -> str:
    """The port's name; ONNX gives each exactly one, openvino adds numbered ones of its own."""
    names: list[str] = sorted(port.get_names())
    return next((name for name in names if not name.rpartition(":")[2].isdigit()), names[0])


def _failed(what: str, model: Path, error: Exception, reason: str) -> ConversionFailed:
    said = " ".join(str(error).split())
    return ConversionFailed(f"openvino {version(_PACKAGE)} {what} {model.name}: {said}", reason=reason)
