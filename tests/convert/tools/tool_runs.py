"""Asks tools of the toolchains as a conversion does, and runs what they made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.data.arrays import load_arrays, save_arrays
from convert.errors import ConversionFailed
from convert.proofs.execution import run_model
from convert.sources.inspection import ModelInfo, info_from_inspection
from convert.sources.model_file import inspect_file
from convert.sources.source import Source, find_source, source_to_json
from convert.workshop import Workshop

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Made:
    """A file that a tool wrote, and the tool's answer."""

    info: ModelInfo
    reply: dict[str, Any]

    @property
    def dtypes(self) -> dict[str, str]:
        """Types of inputs and outputs by name."""
        return {tensor.name: tensor.dtype for tensor in (*self.info.inputs, *self.info.outputs)}


@dataclass(frozen=True)
class Tool:
    """One task in its toolchain."""

    workshop: Workshop
    task: str
    toolchain: str
    #: Another interpreter than the toolchain's own.
    python: Path | None = None

    def make(
        self,
        source: Path | Source,
        inputs: Mapping[str, Sequence[int]],
        outputs: Sequence[str],
        output: Path,
        *,
        dtype: str = "float32",
        calibration: Arrays | None = None,
        **more: object,
    ) -> Made:
        """`inputs`: concrete shapes by name. Raises what the tool raises."""
        work = output.parent / f"{output.name}.work"
        work.mkdir(parents=True)
        asked = {
            "source": source_to_json(source if isinstance(source, Source) else find_source(str(source))),
            "inputs": [{"name": n, "shape": list(shape), "dtype": dtype} for n, shape in inputs.items()],
            "outputs": list(outputs),
            "output": str(output),
            "work": str(work),
            "opset": None,
            **more,
        }
        if calibration is not None:
            asked["calibration"] = [str(work / "samples.npz"), save_arrays(work / "samples.npz", calibration)]
        reply = self.workshop.run(self.task, asked, toolchain=self.toolchain, python=self.python)
        return Made(info_from_inspection(inspect_file(output), output), reply)


def tensorflow_answers(workshop: Workshop, source: Path, inputs: Arrays, folder: Path) -> Arrays:
    """The framework's own outputs, (examples, *shape) by name."""
    request = {
        "source": source_to_json(find_source(str(source))),
        "inputs": str(folder / "inputs.npz"),
        "names": save_arrays(folder / "inputs.npz", inputs),
        "outputs": str(folder / "outputs.npz"),
    }
    reply = workshop.run("tensorflow reference", request, toolchain="tensorflow", error=ConversionFailed)
    return load_arrays(folder / "outputs.npz", reply["names"])


def in_tflite_runtime(workshop: Workshop, info: ModelInfo, inputs: Arrays, folder: Path) -> Arrays:
    """Outputs in tflite-runtime 2.14 by name; `inputs` in the file's own types, in its order."""
    request = {
        "model": str(info.path),
        "inputs": str(folder / "fed.npz"),
        "names": save_arrays(folder / "fed.npz", inputs),
        "outputs": str(folder / "answers.npz"),
    }
    reply = workshop.run("tflite-runtime check", request, toolchain="tflite-runtime")
    return load_arrays(folder / "answers.npz", reply["names"])


def largest_difference(expected: Arrays, info: ModelInfo, inputs: Arrays) -> float:
    """Between outputs that are expected and those of a model here, over all of them."""
    answers = run_model(info, inputs)
    assert set(answers) == set(expected)
    return max(float(np.abs(answers[name] - expected[name]).max()) for name in expected)


def cosine(expected: NDArray[np.generic], found: NDArray[np.generic]) -> float:
    left, right = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
