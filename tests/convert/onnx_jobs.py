"""Walks single ways of the ONNX tables in this process, on small networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from convert.job import Arrays, Job, Way
from convert.sources.inspection import info_from_inspection
from convert.sources.model_file import inspect_file
from convert.steps import StepLog
from tests.convert.models import save, value

#: 24 samples of batch 1 for `network`.
SAMPLES: Arrays = {"x": np.random.RandomState(1).standard_normal((24, 1, 3, 8, 8)).astype(np.float32)}


def network(path: Path, opset: int = 17, batch: int | str = "N") -> Path:
    """A residual network: x (batch, 3, 8, 8) -> scores (batch, 10)."""
    random = np.random.RandomState(0)

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((random.standard_normal(shape) / 3).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["r1", "c2"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["scores"]),
    ]
    weights = [
        constant("w1", 16, 3, 3, 3),
        constant("b1", 16),
        constant("w2", 16, 16, 3, 3),
        constant("b2", 16),
        constant("w3", 16, 10),
        constant("b3", 10),
    ]
    return save(
        path, nodes, [value("x", [batch, 3, 8, 8])], [value("scores", [batch, 10])], weights, opset=opset
    )


def made(
    way: Way, source: Path, folder: Path, calibration: Arrays | None = None, opset: int | None = None
) -> Job:
    """The job after the way has been gone; its artifact lies in `folder`/result."""
    work, result = folder / "work", folder / "result"
    for place in (work, result):
        place.mkdir(parents=True)
    info = info_from_inspection(inspect_file(source), source)
    job = Job(info, work, result / "model.onnx", calibration, StepLog(), opset=opset)
    way.make(job)
    return job


def outputs(model: Path, samples: Arrays) -> dict[str, NDArray[np.float64]]:
    """Outputs of the file in onnxruntime, (samples, *shape) by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    count = len(next(iter(samples.values())))
    answers = [session.run(None, {name: a[i] for name, a in samples.items()}) for i in range(count)]
    names = [output.name for output in session.get_outputs()]
    return {name: np.stack([answer[i] for answer in answers]) for i, name in enumerate(names)}


def noise_db(reference: Path, artifact: Path, samples: Arrays) -> float:
    """Signal to noise of the artifact's outputs, the worst of them."""
    expected, actual = outputs(reference, samples), outputs(artifact, samples)
    noise = {name: float(np.square(expected[name] - actual[name]).sum()) for name in expected}
    return min(
        10 * np.log10(float(np.square(expected[name]).sum()) / noise[name]) if noise[name] else np.inf
        for name in expected
    )
