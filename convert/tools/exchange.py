"""What a tool is asked and what it answers, the same for all of them.

A request that makes a file holds
    source       what the model is read from (source.source_to_json)
    inputs       [{"name", "shape", "dtype"}], concrete, in the source's order and layout
    outputs      names of the outputs, in the source's order
    output       the file to write
    work         an empty folder for what is made on the way
    opset        the wanted ONNX opset or None
    dynamic_batch  whether the first axis of every input is to stay open
and where it quantises, precision, io, and calibration: [.npz, names], arrays (samples, *shape).
The answer is Made. Errors are ConvertError; anything else counts as conversion_failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.data.arrays import load_arrays
from convert.sources.source import Source, source_from_json
from convert.steps import StepLog

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class InputShape:
    """One input as it is converted: shape in elements, dtype as numpy names it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class ToolRequest:
    """A request to make a file."""

    source: Source
    inputs: tuple[InputShape, ...]
    outputs: tuple[str, ...]
    output: Path
    work: Path
    opset: int | None
    dynamic_batch: bool
    precision: str
    io: str
    #: (samples, *shape) by input name; None if there are none.
    calibration: Arrays | None


def read_request(content: Mapping[str, Any]) -> ToolRequest:
    """The request as the worker got it."""
    calibration = content.get("calibration")
    return ToolRequest(
        source=source_from_json(content["source"]),
        inputs=tuple(
            InputShape(entry["name"], tuple(entry["shape"]), entry["dtype"]) for entry in content["inputs"]
        ),
        outputs=tuple(content["outputs"]),
        output=Path(content["output"]),
        work=Path(content["work"]),
        opset=content.get("opset"),
        dynamic_batch=bool(content.get("dynamic_batch")),
        precision=content.get("precision", "fp32"),
        io=content.get("io", "float"),
        calibration=load_arrays(Path(calibration[0]), calibration[1]) if calibration else None,
    )


def made(log: StepLog) -> dict[str, Any]:
    """The answer once the file is written."""
    return {"steps": [asdict(step) for step in log.steps], "warnings": list(log.warnings)}
