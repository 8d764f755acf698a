#!/usr/bin/env python3
"""What the harness adds to a measurement: its own loop against a bare one, in paired fresh processes.

For each runtime and precision of the demo model, one pair is
  A  a job of the agent (one repetition), whose `compute` median is taken
  B  a fresh process with nothing but the runtime, a list and the clock around the same call
in alternating order. Printed are the medians and the median of the ratios A/B; the goal is within 2 %.
The null runtime shows what is left when there is nothing to call: compute p50 at most 0.2 us, latency p50 at
most 1 us.

    python benchmarks/overhead.py [--pairs 15]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from convert.workshop import Workshop
from harness.benchmark import CaseOutcome, CaseRequest, run_case
from harness.link.device_session import DeviceSession
from harness.link.local import LocalTransport
from harness.models import find_models
from harness.negotiation import ArtifactForm
from harness.places import toolchains_home
from harness.preparation import Preparation, Workload
from harness.progress import Observer
from profiles.measurement import MeasurementProfile
from reports.record import Case

ITERATIONS_S = 1.0

MEASUREMENT = MeasurementProfile(
    description="one fresh process, one second",
    repetitions=1,
    warmup_min_s=0.3,
    warmup_max_s=0.5,
    min_iterations=100,
    min_time_s=ITERATIONS_S,
    median_ci_width=0.5,
    max_iterations=200_000,
    max_time_s=ITERATIONS_S,
)

BARE = """
import json, os, sys, time
import numpy as np
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
runtime, model, inputs = sys.argv[1:4]
warm_s, loop_s = map(float, sys.argv[4:6])
with np.load(inputs) as archive:
    array = archive["array_0"][0]
if runtime == "onnxruntime":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: array}
    call = lambda: session.run(None, feed)
else:
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], array)
    call = interpreter.invoke
clock = time.perf_counter_ns
end = clock() + int(warm_s * 1e9)
while clock() < end:
    call()
samples = []
end = clock() + int(loop_s * 1e9)
while True:
    started = clock()
    call()
    ended = clock()
    samples.append(ended - started)
    if ended > end:
        break
samples.sort()
print(json.dumps(samples[len(samples) // 2]))
"""


class Silent:
    """An Observer that is not interested."""

    def __getattr__(self, _name: str):
        return lambda *_: None


def agent_medians(session: DeviceSession, case: Case, workload: Workload) -> tuple[float, float]:
    """Medians of compute and latency of one job, nanoseconds."""
    job_id = f"overhead-{time.time_ns()}"
    observer: Observer = Silent()  # type: ignore[assignment]
    measured = run_case(
        session, CaseRequest(case, workload, MEASUREMENT, job_id, 600.0), observer, lambda: False
    )
    if isinstance(measured, CaseOutcome):
        raise SystemExit(f"{case.label}: {measured.record.failure}")
    samples = measured.outcome().samples
    return float(np.median(samples["compute"][0])), float(np.median(samples["latency"][0]))


def bare_median(runtime: str, model: Path, inputs: Path) -> float:
    """Median of the bare loop in a fresh process, nanoseconds."""
    command = [sys.executable, "-c", BARE, runtime, str(model), str(inputs), "0.3", str(ITERATIONS_S)]
    return float(json.loads(subprocess.run(command, capture_output=True, check=True).stdout.splitlines()[-1]))


def compare(session: DeviceSession, case: Case, workload: Workload, pairs: int) -> None:
    """Print one line for a case."""
    assert workload.artifact is not None
    assert workload.check is not None
    model = workload.artifact.files[0].path
    inputs = workload.blobs[workload.check.file.sha256].path
    ours, bare = [], []
    for number in range(pairs):
        for turn in ("AB", "BA")[number % 2]:
            if turn == "A":
                ours.append(agent_medians(session, case, workload)[0])
            else:
                bare.append(bare_median(case.runtime, model, inputs))
    ratios = sorted(a / b for a, b in zip(ours, bare, strict=True))
    ratio = statistics.median(ratios)
    words = "ok" if abs(ratio - 1) <= 0.02 else "NOT within 2 %"
    print(
        f"{case.runtime:12} {case.precision:13} harness {statistics.median(ours) / 1e3:8.2f} us   "
        f"bare {statistics.median(bare) / 1e3:8.2f} us   ratio {ratio:.4f} "
        f"(pairs from {ratios[0]:.3f} to {ratios[-1]:.3f})   {words}"
    )


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    pairs = parser.parse_args().pairs
    model = find_models(["digits"])[0]
    with tempfile.TemporaryDirectory() as folder:
        session = DeviceSession(LocalTransport(), python=sys.executable, workspace=f"{folder}/board")
        session.open(["null", "onnxruntime", "tflite"])
        null = [
            agent_medians(session, Case("local", "null", "null", "fp32"), Workload()) for _ in range(pairs)
        ]
        compute, latency = (statistics.median(values) for values in zip(*null, strict=True))
        print(
            f"null         compute p50 {compute:.0f} ns (goal 200)   latency p50 {latency:.0f} ns (goal 1000)"
        )
        preparation = Preparation(Workshop(Path(folder) / "host", toolchains_home()))
        for runtime in ("onnxruntime", "tflite"):
            for precision in ("fp32", "int8"):
                case = Case("local", model.name, runtime, precision)
                workload = preparation.workload(model, runtime, ArtifactForm(precision), 1)
                compare(session, case, workload, pairs)


if __name__ == "__main__":
    main()
