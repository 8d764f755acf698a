"""Asks the PyTorch tools as the rest of convert does: a child in the torch toolchain for every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from convert.data.arrays import load_arrays, save_arrays
from convert.errors import InvalidModel
from convert.sources.source import Source, SourceKind, source_to_json
from convert.workshop import Workshop

NETWORKS = Path(__file__).resolve().parents[1] / "networks"
TORCHSCRIPT = "pytorch to onnx (TorchScript)"
DYNAMO = "pytorch to onnx (dynamo)"
TFLITE = "pytorch to tflite"

Arrays = dict[str, NDArray[np.generic]]


def factory(name: str, path: Path | None = None, search: Path = NETWORKS) -> Source:
    """`module:function` of tests/convert/networks."""
    return Source("pytorch", path, name, search=search)


def file(path: Path, kind: SourceKind = "pytorch", *, trust_pickle: bool = False) -> Source:
    return Source(kind, path, trust_pickle=trust_pickle)


@dataclass(frozen=True)
class Made:
    """A converted file and what was told about it."""

    path: Path
    steps: list[dict[str, Any]]
    warnings: list[str]


@dataclass(frozen=True)
class Torch:
    """The torch toolchain, and a folder for what passes between it and the tests."""

    workshop: Workshop
    folder: Path

    def inspect(self, source: Source, shapes: Mapping[str, Sequence[int]] | None = None) -> dict[str, Any]:
        request = {"source": source_to_json(source), "shapes": dict(shapes or {})}
        return self.workshop.run("pytorch inspection", request, toolchain="torch", error=InvalidModel)

    def convert(
        self,
        source: Source,
        info: Mapping[str, Any],
        task: str,
        *,
        opset: int | None = None,
        dynamic_batch: bool = False,
    ) -> Made:
        work = self._new_folder()
        output = work / ("model.tflite" if task == TFLITE else "model.onnx")
        request = {
            "source": source_to_json(source),
            "inputs": [{key: tensor[key] for key in ("name", "shape", "dtype")} for tensor in info["inputs"]],
            "outputs": [tensor["name"] for tensor in info["outputs"]],
            "output": str(output),
            "work": str(work),
            "opset": opset,
            "dynamic_batch": dynamic_batch,
        }
        answer = self.workshop.run(task, request, toolchain="torch")
        return Made(output, answer["steps"], answer["warnings"])

    def reference(self, source: Source, info: Mapping[str, Any], inputs: Arrays) -> Arrays:
        return self._run("pytorch reference", source, info, inputs)[0]

    def trace(
        self, source: Source, info: Mapping[str, Any], inputs: Arrays
    ) -> tuple[Arrays, list[dict[str, str]]]:
        arrays, answer = self._run("pytorch trace", source, info, inputs)
        return arrays, answer["tensors"]

    def _run(
        self, task: str, source: Source, info: Mapping[str, Any], inputs: Arrays
    ) -> tuple[Arrays, dict[str, Any]]:
        work = self._new_folder()
        request = {
            "source": source_to_json(source),
            "info": dict(info),
            "inputs": str(work / "inputs.npz"),
            "names": save_arrays(work / "inputs.npz", inputs),
            "outputs": str(work / "outputs.npz"),
        }
        answer = self.workshop.run(task, request, toolchain="torch")
        return load_arrays(work / "outputs.npz", answer["names"]), answer

    def _new_folder(self) -> Path:
        folder = self.folder / str(len(list(self.folder.iterdir())))
        folder.mkdir()
        return folder


def noise(info: Mapping[str, Any], examples: int = 1, batch: int | None = None) -> Arrays:
    """(examples, *shape) standard normal within ±3 for every input."""
    random = np.random.RandomState(1)
    arrays: Arrays = {}
    for tensor in info["inputs"]:
        shape = [batch or tensor["shape"][0], *tensor["shape"][1:]]
        arrays[tensor["name"]] = (
            random.standard_normal((examples, *shape)).clip(-3, 3).astype(tensor["dtype"])
        )
    return arrays


def run_onnx(path: Path, inputs: Arrays) -> Arrays:
    """Outputs (examples, *shape) by the names in the file."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = [session.run(None, feed) for feed in _examples(inputs)]
    return {name: np.stack([answer[i] for answer in answers]) for i, name in enumerate(names)}


def run_tflite(path: Path, inputs: Arrays) -> Arrays:
    """Outputs (examples, *shape) by the names of the signature; inputs are NCHW, whatever the file takes."""
    runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()
    wanted = {name: tuple(detail["shape"]) for name, detail in runner.get_input_details().items()}
    answers = []
    for feed in _examples(inputs):
        placed = {
            name: array if array.shape == wanted[name] else np.ascontiguousarray(array.transpose(0, 2, 3, 1))
            for name, array in feed.items()
        }
        assert {name: array.shape for name, array in placed.items()} == wanted
        answers.append({name: array.copy() for name, array in runner(**placed).items()})
    return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}


def largest_difference(found: Arrays, wanted: Arrays) -> float:
    """Over all outputs, which must have the same names, shapes and types."""
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        name: (array.shape, array.dtype) for name, array in wanted.items()
    }
    return max(float(np.abs(np.subtract(found[name], wanted[name])).max()) for name in wanted)


def _examples(inputs: Arrays) -> list[dict[str, Any]]:
    count = len(next(iter(inputs.values())))
    return [{name: np.asarray(array[i]) for name, array in inputs.items()} for i in range(count)]
