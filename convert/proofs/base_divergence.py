"""Names the layer at which a base that was refused parts from its source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convert.data.arrays import load_arrays, save_arrays
from convert.errors import ConvertError
from convert.held_folders import held_folder, scratch_folder
from convert.sources.inspection import ModelInfo, info_to_json
from convert.sources.source import source_to_json

if TYPE_CHECKING:
    from convert.workshop import Workshop

#: The kinds whose framework tells what every layer answered.
_TRACED_BY_TORCH = ("pytorch", "pt2")


def explain_base(
    source: ModelInfo,
    made: Path,
    checks: Mapping[str, NDArray[np.generic]],
    reference: Mapping[str, NDArray[np.generic]],
    workshop: Workshop,
) -> str | None:
    """Where the model at `made` parts from `source`, as a sentence; None if that cannot be told.

    It explains a failure that is reported anyway, so failures of its own are none.
    """
    with held_folder(scratch_folder(), "edgebench-divergence-") as folder:
        given, answers, layers = (folder / f"{name}.npz" for name in ("given", "answers", "layers"))
        request: dict[str, Any] = {
            "source_kind": source.kind,
            "source_path": str(source.path),
            "made": str(made),
            "checks": [str(given), save_arrays(given, checks)],
            "reference": [str(answers), save_arrays(answers, reference)],
            "layers": None,
        }
        try:
            if source.kind in _TRACED_BY_TORCH and source.source is not None:
                asked = {
                    "source": source_to_json(source.source),
                    "info": info_to_json(source),
                    "inputs": str(given),
                    "names": list(checks),
                    "outputs": str(layers),
                }
                seen = workshop.run_framework("pytorch trace", asked, source.source, error=ConvertError)
                operators = {tensor["name"]: tensor["operator"] for tensor in seen["tensors"]}
                request["layers"] = [str(layers), seen["names"], operators]
            elif source.source is not None:
                return None
            found: str | None = workshop.run("base divergence", request)["sentence"]
        except ConvertError:
            return None
    return found


def find_divergence(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task of explain_base: {"sentence": ...}."""
    from convert.interface import to_artifact
    from convert.proofs.divergence import describe, explain, first_divergence
    from convert.proofs.layouts import best_reading
    from convert.proofs.traces import traced
    from convert.sources.inspection import info_from_inspection
    from convert.sources.model_file import inspect_file

    made = Path(request["made"])
    info = info_from_inspection(inspect_file(made), made)
    checks = load_arrays(Path(request["checks"][0]), request["checks"][1])
    reference = load_arrays(Path(request["reference"][0]), request["reference"][1])
    reading = best_reading(info, checks, reference)
    feed = {name: array[0] for name, array in to_artifact(checks, reading.inputs).items()}
    if request["layers"] is None:
        given = {name: array[0] for name, array in checks.items()}
        source = Path(request["source_path"])
        return {"sentence": explain(request["source_kind"], source, info.kind, made, given, feed, "fp32")}
    file, names, operators = request["layers"]
    if info.kind == "onnx":
        from convert.proofs.onnx_trace import trace_onnx as trace
    else:
        from convert.proofs.tflite_trace import trace_tflite as trace
    divergence = first_divergence(
        traced(load_arrays(Path(file), names), operators), trace(made, feed), "fp32"
    )
    return {"sentence": describe(divergence) if divergence else None}
