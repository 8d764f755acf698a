#!/usr/bin/env python3
"""TensorRT on a real GPU, the whole way: convert, build in the agent, measure, compare with onnxruntime.

    python benchmarks/tensorrt_gpu.py --out capture.json [--python PYTHON] [--model MORE.onnx]...

PYTHON is the interpreter that has tensorrt or tensorrt_rtx and numpy; this one has onnx and onnxruntime.
Each model is converted to fp32, fp16 and int8 by `convert`, built and measured by the agent's own processes
on this machine, and its outputs are compared with onnxruntime's of the fp32 model. Where the machine has
trtexec, that measures the same engine again. Writes a JSON capture that names its machine and versions, and
prints a line a case. Ends with 0 when every case agrees, 1 when one does not, 2 where no GPU works.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import platform
import statistics
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from convert.converters.to_tensorrt import ONNX_TO_TENSORRT
from convert.errors import ConvertError
from convert.job import Arrays
from convert.job import Job as Conversion
from convert.proofs.verification import compare_outputs, figures, find_fault
from convert.sources.inspection import info_from_inspection
from convert.sources.model_file import inspect_file
from convert.steps import StepLog
from device_agents.protocol import (
    PROTOCOL_VERSION,
    BlobRef,
    BuildAttemptFailed,
    Dataset,
    EngineBuilt,
    Event,
    Job,
    JobEnded,
    Measurement,
    OutputsSaved,
    RuntimeLoaded,
    RuntimeStatus,
    SamplesTaken,
    TensorSpec,
    ToolTiming,
)
from harness.link.deployment import Blob
from harness.link.device_session import DeviceSession
from harness.link.local import LocalTransport

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "profiles" / "models" / "digits" / "digits.onnx"
PRECISIONS = ("fp32", "fp16", "int8")
EXAMPLES = 16
MEASUREMENT = Measurement(
    repetitions=2,
    warmup_min_s=0.2,
    warmup_max_s=2.0,
    min_iterations=100,
    max_iterations=20_000,
    min_time_s=1.0,
    max_time_s=5.0,
    median_ci_width=0.01,
)


def residual_network(path: Path) -> Path:
    """Eight residual blocks of 64 channels on 56x56, open batch: enough work to tell precisions apart."""
    random = np.random.RandomState(0)
    nodes, weights, found = [], [], "x"

    def constant(name: str, *shape: int) -> str:
        values = random.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
        weights.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def convolution(given: str, name: str, channels: int) -> str:
        nodes.append(
            onnx.helper.make_node(
                "Conv", [given, constant("w" + name, 64, channels, 3, 3)], [name], pads=[1] * 4
            )
        )
        return name

    found = convolution("x", "stem", 3)
    for block in range(8):
        nodes.append(onnx.helper.make_node("Relu", [found], [f"r{block}"]))
        inner = convolution(f"r{block}", f"c{block}", 64)
        nodes.append(onnx.helper.make_node("Relu", [inner], [f"s{block}"]))
        outer = convolution(f"s{block}", f"d{block}", 64)
        nodes.append(onnx.helper.make_node("Add", [found, outer], [f"a{block}"]))
        found = f"a{block}"
    nodes.append(onnx.helper.make_node("GlobalAveragePool", [found], ["pooled"]))
    nodes.append(onnx.helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(onnx.helper.make_node("MatMul", ["flat", constant("w", 64, 10)], ["scores"]))
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "residual",
        [value("x", onnx.TensorProto.FLOAT, ["N", 3, 56, 56])],
        [value("scores", onnx.TensorProto.FLOAT, ["N", 10])],
        weights,
    )
    opset = onnx.helper.make_opsetid("", 13)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def examples(model: Path) -> Arrays:
    """Complete inputs of batch 1, (examples, *shape): the digits' own, else noise of a fixed seed."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    random = np.random.RandomState(1)
    found: Arrays = {}
    for tensor in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in tensor.shape]
        if tensor.type != "tensor(float)":
            raise SystemExit(f"{model}: input {tensor.name} is {tensor.type}; this script feeds floats only")
        found[tensor.name] = random.standard_normal((EXAMPLES, *shape)).astype(np.float32)
    if model == DIGITS:
        with np.load(DIGITS.with_name("evaluation.npz")) as archive:
            images = next(archive[name] for name in archive.files if archive[name].ndim > 1)
        (name,) = found
        found[name] = images[:EXAMPLES].reshape(found[name].shape).astype(np.float32)
    return found


def converted(model: Path, precision: str, calibration: Arrays, folder: Path) -> Path:
    """The artifact by the first way that works here; simplifying needs onnxslim, which may be missing."""
    info = info_from_inspection(inspect_file(model), model)
    problems = []
    for number, way in enumerate(ONNX_TO_TENSORRT[precision]):
        place = folder / f"{precision}-{number}"
        (place / "work").mkdir(parents=True)
        job = Conversion(info, place / "work", place / "model.onnx", calibration, StepLog())
        try:
            with contextlib.redirect_stdout(sys.stderr):  # the quantiser tells its progress
                way.make(job)
        except (ConvertError, ImportError) as error:
            problems.append(str(error))
            continue
        return job.output
    raise SystemExit(f"{model.name} does not convert to {precision}: {'; '.join(problems)}")


def reference(model: Path, inputs: Arrays) -> Arrays:
    """Outputs of onnxruntime, (examples, *shape)."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = [session.run(None, {name: a[i] for name, a in inputs.items()}) for i in range(EXAMPLES)]
    return {name: np.stack([answer[i] for answer in answers]) for i, name in enumerate(names)}


def blob(path: Path) -> tuple[BlobRef, Blob]:
    """A file for the agent."""
    content = path.read_bytes()
    ref = BlobRef(hashlib.sha256(content).hexdigest(), len(content), path.name)
    return ref, Blob(ref.sha256, ref.bytes, path, path.name)


def case_job(
    status: RuntimeStatus, model: Path, precision: str, inputs: Arrays, expected: Arrays, folder: Path
) -> tuple[Job, dict[str, Blob]]:
    """The job of one case, in the form that this TensorRT takes the precision in."""
    by_flag = precision == "fp16" and status.details["precision_by"] == "flag"
    artifact = converted(model, "fp32" if by_flag else precision, inputs, folder)
    np.savez(folder / "checks.npz", **{f"array_{i}": a for i, a in enumerate(inputs.values())})
    (ref, sent), (checks_ref, checks) = blob(artifact), blob(folder / "checks.npz")
    options = {"batch_profile": "1,1,4"}  # of no effect where the model's batch is fixed
    if precision == "fp16":
        options["precision_by"] = "flag" if by_flag else "graph"
    job = Job(
        protocol=PROTOCOL_VERSION,
        job_id=f"{model.stem}-{precision}",
        runtime="tensorrt",
        precision=precision,
        batch_size=1,
        num_threads=1,
        artifact=[ref],
        inputs=[TensorSpec([name], list(a.shape[1:]), "float32") for name, a in inputs.items()],
        outputs=[TensorSpec([name], list(a.shape[1:]), "float32") for name, a in expected.items()],
        check_inputs=Dataset(checks_ref, EXAMPLES, stacked=False),
        evaluation=None,
        measurement=MEASUREMENT,
        deadline_s=1800.0,
        lock_wait_s=0.0,
        options=dict(options, via="trtexec"),
    )
    return job, {ref.sha256: sent, checks_ref.sha256: checks}


def measured(session: DeviceSession, job: Job, blobs: dict[str, Blob], expected: Arrays, folder: Path) -> Any:
    """Run the job; its figures, and how its outputs agree with `expected`."""
    session.submit(job, blobs, lambda _blob: lambda _done, _total: None)
    events: list[Event] = list(session.follow(job.job_id))
    ended = next(event for event in events if isinstance(event, JobEnded))
    found: dict[str, Any] = {
        "case": job.job_id,
        "outcome": ended.outcome,
        "failure": None if ended.reason is None else {"reason": ended.reason, "message": ended.message},
        "engines": [event._asdict() for event in events if isinstance(event, EngineBuilt)],
        "failed_attempts": [event._asdict() for event in events if isinstance(event, BuildAttemptFailed)],
        "loaded": [event.details for event in events if isinstance(event, RuntimeLoaded)][:1],
        "trtexec": [event._asdict() for event in events if isinstance(event, ToolTiming)],
        "repetitions": [
            _timings(session, job, event, folder) for event in events if isinstance(event, SamplesTaken)
        ],
    }
    saved = [event for event in events if isinstance(event, OutputsSaved)]
    found["fault"] = "it gave no outputs" if not saved else None
    for event in saved:
        target = folder / event.file.name
        session.fetch(job.job_id, [event.file], folder)
        with np.load(target) as archive:
            arrays = {name: archive[f"array_{i}"] for i, name in enumerate(expected)}
        agreements = compare_outputs(expected, arrays)
        found["agreement"] = [figures(agreement) for agreement in agreements]
        found["fault"] = found["fault"] or find_fault(agreements, job.precision)
    return found


def _timings(session: DeviceSession, job: Job, taken: SamplesTaken, folder: Path) -> dict[str, Any]:
    target = folder / taken.file.name
    session.fetch(job.job_id, [taken.file], folder)
    samples = array("q", target.read_bytes())
    latency = samples[taken.warmups : taken.warmups + taken.iterations]
    compute = samples[taken.warmups + taken.iterations :]
    return {
        "iterations": taken.iterations,
        "latency_p50_ms": statistics.median(latency) / 1e6,
        "compute_p50_ms": statistics.median(compute) / 1e6,
        "gpu_bytes": taken.gpu_bytes,
    }


def line(found: dict[str, Any]) -> str:
    """One case for a person."""
    if found["failure"]:
        return f"{found['case']}: failed, {found['failure']['reason']}: {found['failure']['message']}"
    times = found["repetitions"][0]
    layers = ", ".join(f"{count} {name}" for name, count in found["engines"][0]["layer_precisions"].items())
    told = [t for t in found["trtexec"] if t["iterations"]]
    tool = f", trtexec {told[0]['compute_p50_ms']:.3f} ms" if told else ""
    latency, compute = times["latency_p50_ms"], times["compute_p50_ms"]
    return (
        f"{found['case']}: latency {latency:.3f} ms, compute {compute:.3f} ms{tool}; "
        f"{'; '.join(found['agreement'])}; layers {layers or 'not told'}"
        + (f"; WRONG: {found['fault']}" if found["fault"] else "")
    )


def main() -> int:
    """Every model in every precision."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has TensorRT")
    parser.add_argument(
        "--model", type=Path, action="append", default=[], help="an .onnx file besides the two"
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON capture")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        session = DeviceSession(
            LocalTransport(), python=arguments.python, workspace=str(folder / "workspace")
        )
        reply = session.open(["tensorrt"])
        (status,) = reply.runtimes
        if not status.available:
            sys.stderr.write(f"no GPU that TensorRT works on here: {status.reason}\n")
            return 2
        cases = []
        for model in (DIGITS, residual_network(folder / "residual.onnx"), *arguments.model):
            inputs = examples(model)
            expected = reference(model, inputs)
            for precision in PRECISIONS:
                place = folder / f"{model.stem}-{precision}"
                place.mkdir()
                job, blobs = case_job(status, model, precision, inputs, expected, place)
                cases.append(measured(session, job, blobs, expected, place))
                sys.stdout.write(line(cases[-1]) + "\n")
        capture = {
            "origin": "benchmarks/tensorrt_gpu.py",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": {"platform": platform.platform(), "facts": reply.facts._asdict()},
            "tensorrt": status._asdict(),
            "reference": f"onnxruntime {onnxruntime.__version__}, CPU, fp32",
            "cases": cases,
        }
        arguments.out.write_text(json.dumps(capture, indent=1, sort_keys=True) + "\n")
    return 1 if any(case["fault"] or case["failure"] for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main())
