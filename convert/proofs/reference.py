"""The outputs every artifact is compared with: the fp32 source, run on this host by what it is made for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.cache import cache_key, kept, read_entry
from convert.data.arrays import UNREADABLE_NPZ, arrays_sha256, load_arrays, save_arrays
from convert.errors import ConversionFailed, DataError, InvalidModel
from convert.processes.toolchain import toolchain_key
from convert.sources.inspection import ModelInfo, info_to_json
from convert.sources.source import TOOLCHAIN_OF, source_to_json
from convert.workshop import Workshop

#: Raised when the way references are made or kept changes.
_REFERENCE_VERSION = 1
_RUNTIME_PACKAGE = {"onnx": "onnxruntime", "tflite": "ai-edge-litert"}


def reference_outputs(
    info: ModelInfo, inputs: Mapping[str, NDArray[np.generic]], workshop: Workshop
) -> dict[str, NDArray[np.generic]]:
    """Outputs (examples, *output shape) of the source for complete inputs (examples, *shape).

    Runs in a child process, one thread; kept in the cache under the content of model and inputs. Raises
    ConversionFailed `execution_failed` when the runtime refuses the inputs, InvalidModel `no_inputs`,
    DataError `no_examples`.
    """
    if not inputs:
        raise InvalidModel(
            f"{info.path.name} has no inputs, so there is nothing to feed it and nothing to compare",
            reason="no_inputs",
            remedy="Export the model with what it computes from as its input",
        )
    if min(len(array) for array in inputs.values()) == 0:
        raise DataError(
            f"{info.path.name} cannot be run: there is no example to run it on", reason="no_examples"
        )
    content = {"version": _REFERENCE_VERSION, "model": info.sha256, **_tools(info)}
    key = cache_key({**content, "inputs": arrays_sha256(inputs)})
    return kept(workshop.cache, "references", key, _read, lambda folder: _run(info, inputs, workshop, folder))


def _tools(info: ModelInfo) -> dict[str, str]:
    """What runs the source, in its version."""
    if info.source is None:
        package = _RUNTIME_PACKAGE[info.kind]
        return {package: version(package)}
    return {"toolchain": str(info.source.python or toolchain_key(TOOLCHAIN_OF[info.kind]))}


def _run(
    info: ModelInfo, inputs: Mapping[str, NDArray[np.generic]], workshop: Workshop, folder: Path
) -> dict[str, Any]:
    given = folder / "inputs.npz"
    names = save_arrays(given, inputs)
    request = {
        "path": str(info.path),
        "info": info_to_json(info),
        "names": names,
        "inputs": str(given),
        "outputs": str(folder / "outputs.npz"),
    }
    if info.source is None:
        reply = workshop.run("reference", request)
    else:
        family = "pytorch" if TOOLCHAIN_OF[info.kind] == "torch" else "tensorflow"
        request["source"] = source_to_json(info.source)
        reply = workshop.run_framework(f"{family} reference", request, info.source, error=ConversionFailed)
    given.unlink()
    return reply


def _read(entry: Path) -> dict[str, NDArray[np.generic]] | None:
    content = read_entry(entry)
    try:
        return load_arrays(entry / "outputs.npz", content["names"]) if content else None
    except (*UNREADABLE_NPZ, KeyError):
        return None
