"""A whole made-up run with real statistics and verdicts: two boards, two models, every kind of end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.intervals import wilson
from reports.record import (
    Accuracy,
    Artifact,
    Attempt,
    Case,
    ConversionStep,
    CrossCheck,
    Energy,
    Engine,
    Failure,
    Fidelity,
    Memory,
    MemoryStage,
    OutputFidelity,
    PerformanceMode,
    Record,
    RepetitionSummary,
    Results,
    Run,
    Telemetry,
)
from reports.statistics import summarize
from reports.verdict import Evidence, judge

MIB = 1 << 20
Samples = dict[int, Mapping[str, Sequence[NDArray[np.int64]]]]

RUN = Run(
    id="20261121-220000-3f9c",
    started_at="2026-11-21T22:00:00Z",
    finished_at="2026-11-21T22:41:12Z",
    harness_version="0.1.0",
    command=("bench", "run", "--device", "pi-5,nano-01", "--model", "mobilenet_v2", "--model", "digits"),
)

#: Text as a hostile or broken board might send it.
HOSTILE = '</script><img src=x onerror="window.pwned=1">\x1b[31m\u202egnp.exe{{7*7}}%{x}\ud800'

PI_FACTS = {
    "board": "Raspberry Pi 5 Model B Rev 1.0",
    "cpu_model": "Cortex-A76",
    "cpu_count": 4,
    "cpu_max_mhz": 2400.0,
    "memory_bytes": 8 * 1024 * MIB,
    "os": "Debian GNU/Linux 12 (bookworm)",
    "kernel": "6.6.51+rpt-rpi-2712",
    "python": "3.11.2",
    "governor": "performance",
    "virtualization": None,
}
NANO_FACTS = {
    "board": "NVIDIA Jetson Nano Developer Kit",
    "cpu_model": "Cortex-A57",
    "cpu_count": 4,
    "cpu_max_mhz": 1479.0,
    "memory_bytes": 4 * 1024 * MIB,
    "os": "Ubuntu 18.04.6 LTS",
    "kernel": "4.9.337-tegra",
    "python": "3.6.9",
    "governor": "schedutil",
    "l4t_release": "R32.7.4",
}


def latencies(
    median_ms: float,
    *,
    seed: int,
    count: int = 400,
    repetitions: int = 3,
    noise: float = 0.015,
    drift: float = 0.0,
) -> tuple[NDArray[np.int64], ...]:
    """Right-skewed nanoseconds around a median, one array per repetition, with an optional linear drift."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(repetitions):
        trend = np.linspace(1.0, 1.0 + drift, count)
        skewed = rng.lognormal(0.0, noise, count) + noise * rng.exponential(0.4, count)
        made.append((median_ms * 1e6 * (1.0 + rng.normal(0, 0.002)) * trend * skewed).astype(np.int64))
    return tuple(made)


def case(
    device: str = "pi-5",
    model: str = "digits",
    runtime: str = "onnxruntime",
    precision: str = "fp32",
    **more: int,
) -> Case:
    return Case(device, model, runtime, precision, **more)


def measured(
    of: Case,
    latency_ns: Sequence[NDArray[np.int64]],
    *,
    correct: tuple[int, int] | None = None,
    size_bytes: int = 105_000,
    telemetry: Telemetry | None = None,
    fault: str | None = None,
    facts: Mapping[str, Any] | None = None,
    cosine: float = 0.9999,
    agreement: float = 1.0,
) -> Record:
    """A record as the harness makes it of these samples."""
    compute_ns = [np.maximum(1, (series * 0.97).astype(np.int64) - 2_000) for series in latency_ns]
    latency = summarize(latency_ns)
    stopped = tuple("precision" for _ in latency_ns)
    board = telemetry or Telemetry(
        temperature_before_c=47.2,
        temperature_max_c=61.5,
        temperature_after_c=60.1,
        cpu_mhz_min=2400.0,
        cpu_mhz_max=2400.0,
        throttled=False,
        under_voltage=False,
        other_cpu_share=0.02,
        steal_share=None,
        swapped_pages=0,
        samples=41,
    )
    verdict, doubts = judge(
        Evidence(tuple(latency_ns), fault, True, board, stopped, str((facts or PI_FACTS)["governor"]))
    )
    return Record(
        case=of,
        status="ok",
        verdict=verdict,
        reasons=tuple(dict.fromkeys(doubt.reason for doubt in doubts)),
        doubts=doubts,
        latency_ms=latency,
        compute_ms=summarize(compute_ns),
        import_ms=312.0,
        load_ms=41.5,
        build_s=612.4 if of.runtime == "tensorrt" else None,
        first_inference_ms=latency.p50 * 3.1,
        throughput_per_s=1000.0 / latency.mean * of.batch_size,
        memory=memory(size_bytes),
        accuracy=top1(*correct) if correct else None,
        fidelity=Fidelity(
            cosine, 0.0123, agreement, 8, (OutputFidelity("logits", cosine, 0.0123, 38.2, agreement),)
        ),
        energy=Energy(0.0123, 4.61, "VDD_IN") if of.device.startswith("nano") else None,
        artifact=artifact(of, size_bytes),
        facts={**(facts or PI_FACTS), "runtime_version": "1.23.2"},
        repetitions=tuple(
            RepetitionSummary(
                number, len(series), 20, float(np.median(series)) / 1e6, float(series.sum()) / 1e9, how
            )
            for number, (series, how) in enumerate(zip(latency_ns, stopped, strict=True), start=1)
        ),
        telemetry=board,
        started_at="2026-11-21T22:03:00Z",
        finished_at="2026-11-21T22:04:10Z",
        job_id="job-7f31",
    )


def on_a_gpu(record: Record, layers: dict[str, int]) -> Record:
    """As a Jetson measures: an engine built there, clocks raised for the case, power by rail."""
    assert record.telemetry is not None
    return replace(
        record,
        telemetry=replace(
            record.telemetry,
            gpu_mhz_min=921.6,
            gpu_mhz_max=921.6,
            memory_mhz_min=1600.0,
            memory_mhz_max=1600.0,
            gpu_temperature_max_c=58.5,
            power_modes=("MAXN (0)",),
            rails_w={"POM_5V_IN": 6.21, "POM_5V_GPU": 2.9, "POM_5V_CPU": 1.1},
        ),
        engine=Engine(
            reused="fp16" not in layers,
            bytes=9 * MIB,
            workspace_bytes=256 * MIB,
            peak_rss_bytes=1100 * MIB,
            layer_precisions=layers,
            skipped_tactics=2,
            details={"flags": "FP16", "timing_cache": "new", "workspace_mib": "256", "dla_core": ""},
            failed_attempts=("with 1.0 GiB of workspace: out_of_memory: no implementation for node Conv_41",),
        ),
        cross_check=CrossCheck("trtexec", "v8201", "trtexec --loadEngine=engine.plan", 312, 25.1, 24.1),
        performance_mode=PerformanceMode(
            "max", True, {"nvpmodel": "5W (1)", "GPU": "76.8 to 921.6 MHz"}, {"nvpmodel": "MAXN (0)"}, True
        ),
        remarks=("0.3 of what torch2trt measured for it (29.8 ms, JetPack 4.6): check the input size",),
    )


def memory(size_bytes: int) -> Memory:
    stages, rss = [], 11 * MIB
    for stage, grown in (
        ("started", 0),
        ("runtime_imported", 38 * MIB),
        ("model_loaded", int(size_bytes * 1.4)),
        ("first_inference", int(size_bytes * 0.8) + 2 * MIB),
        ("steady", MIB // 2),
    ):
        rss += grown
        stages.append(MemoryStage(stage, rss, rss + MIB, rss - 2 * MIB))
    return Memory(rss + MIB, rss - 2 * MIB, int(size_bytes * 2.2) + 2 * MIB, None, tuple(stages))


def artifact(of: Case, size_bytes: int) -> Artifact:
    steps = [ConversionStep("onnxslim", "0.1.98", 1.9, 412 * MIB)]
    if of.precision.startswith("int8"):
        steps.append(
            ConversionStep("quantize_static", "1.23.2", 14.2, 903 * MIB, "QDQ, per channel, 17 images")
        )
    check = Fidelity(0.9998, 0.011, 1.0, 8)
    calibration = "17 images, entropy" if of.precision == "int8" else None
    warnings = ("calibrated on 17 images; below 100 is left to chance",) if calibration else ()
    return Artifact(
        f"{abs(hash(of.label)):064x}"[:64],
        size_bytes,
        steps[-1].tool,
        tuple(steps),
        check,
        calibration,
        warnings,
    )


def top1(correct: int, n: int) -> Accuracy:
    return Accuracy("top1", correct / n, n, wilson(correct, n))


def failed(of: Case, status: str, failure: Failure, facts: Mapping[str, Any] | None = None) -> Record:
    return Record(case=of, status=status, failure=failure, facts=dict(facts or {}))


def results_of(*records: Record, run: Run = RUN) -> Results:
    return Results(run, tuple(records))


def whole_run() -> tuple[Results, Samples]:
    """Two boards, two models, all runtimes and precisions, and the samples of most measured cases."""
    records: list[Record] = []
    samples: Samples = {}

    def add(record: Record, series: Sequence[NDArray[np.int64]] = ()) -> None:
        if len(series):
            samples[len(records)] = {"latency": series, "compute": [s - s // 33 for s in series]}
        records.append(record)

    for number, (runtime, precision, median, correct, megabytes) in enumerate(_PI_MOBILENET):
        series = latencies(median, seed=number, count=260)
        of = case("pi-5", "mobilenet_v2", runtime, precision, num_threads=4)
        add(measured(of, series, correct=(correct, 20), size_bytes=int(megabytes * MIB)), series)
    for number, (runtime, precision, median, correct, kilobytes) in enumerate(_PI_DIGITS):
        series = latencies(median, seed=40 + number, count=2000, noise=0.03)
        of = case("pi-5", "digits", runtime, precision)
        add(measured(of, series, correct=(correct, 450), size_bytes=int(kilobytes * 1024)), series)
    _add_nano(add)
    null = (np.random.default_rng(5).choice([55, 74, 93], 2000),)
    add(measured(case("pi-5", "digits", "null", "fp32"), null), null)
    add(
        failed(
            case("pi-5", HOSTILE, "tflite", "fp32"), "failed", Failure("model", "bad_model", HOSTILE, HOSTILE)
        )
    )
    return results_of(*records), samples


def _add_nano(add: Any) -> None:
    """The Jetson Nano's part: a drift, a throttled board, few samples, failures and what it cannot do."""
    nano = {"facts": NANO_FACTS}
    for number, (precision, median) in enumerate((("fp32", 41.2), ("fp16", 24.9))):
        of = case("nano-01", "mobilenet_v2", "tensorrt", precision)
        series = latencies(median, seed=60 + number, count=300)
        made = measured(of, series, correct=(18, 20), size_bytes=14 * MIB // (number + 1), **nano)
        add(on_a_gpu(made, {"fp16": 51, "fp32": 3} if number else {"fp32": 54}), series)
    slow = latencies(118.0, seed=70, count=20)
    add(
        measured(case("nano-01", "mobilenet_v2", "onnxruntime", "fp32"), slow, correct=(18, 20), **nano), slow
    )
    drifting = latencies(92.0, seed=71, count=200, drift=0.18)
    ramped = Telemetry(52.0, 78.5, 77.0, 921.0, 1479.0, False, False, 0.04, None, 0, 60)
    of = case("nano-01", "mobilenet_v2", "onnxruntime", "int8-dynamic", num_threads=4)
    add(measured(of, drifting, correct=(16, 20), telemetry=ramped, **nano), drifting)
    hot = Telemetry(63.0, 97.0, 95.5, 614.0, 1479.0, True, True, 0.31, None, 900, 60)
    throttled = latencies(140.0, seed=72, count=120, noise=0.2)
    of = case("nano-01", "mobilenet_v2", "tflite", "fp32", num_threads=4)
    add(measured(of, throttled, telemetry=hot, **nano), throttled)
    garbage = latencies(31.0, seed=73, count=200)
    of = case("nano-01", "mobilenet_v2", "tflite", "int8", num_threads=4)
    wrong = "output 'logits' has cosine 0.31 with the fp32 reference, below 0.95, on 8 inputs"
    add(measured(of, garbage, fault=wrong, cosine=0.31, agreement=0.125, **nano), garbage)
    no_int8 = Failure(
        "build",
        "precision_unsupported",
        "the GPU (compute capability 5.3) has no int8 instructions",
        "use fp16, or int8 on the CPU with --runtime tflite",
    )
    add(failed(case("nano-01", "mobilenet_v2", "tensorrt", "int8"), "unsupported", no_int8, NANO_FACTS))
    oom = Failure(
        "build",
        "out_of_memory",
        "the engine builder was killed by the kernel after 412 s (4.0 of 3.9 GiB used)",
        "add swap, or lower the workspace with --option workspace_mib=256",
    )
    killed = failed(case("nano-01", "digits", "tensorrt", "fp32"), "failed", oom, NANO_FACTS)
    lost = Failure("infrastructure", "link_lost", "the SSH link broke at byte 81920")
    add(replace(killed, attempts=(Attempt(lost, "2026-11-21T22:20:00Z"),)))
    batch = latencies(3.9, seed=74, count=600)
    add(
        measured(
            case("nano-01", "digits", "onnxruntime", "fp32", batch_size=8), batch, correct=(448, 450), **nano
        )
    )
    alone = latencies(0.62, seed=75, count=900)
    add(measured(case("nano-01", "digits", "onnxruntime", "fp32"), alone, correct=(448, 450), **nano), alone)


#: runtime, precision, median ms, correct of 20, MiB
_PI_MOBILENET = (
    ("tflite", "fp32", 24.8, 18, 13.3),
    ("tflite", "fp16", 25.1, 18, 6.7),
    ("tflite", "int8", 8.9, 17, 3.6),
    ("tflite", "int8-dynamic", 15.2, 18, 3.5),
    ("onnxruntime", "fp32", 21.6, 18, 13.3),
    ("onnxruntime", "fp16", 38.4, 18, 6.7),
    ("onnxruntime", "int8", 11.4, 17, 3.7),
    ("onnxruntime", "int8-dynamic", 30.9, 16, 3.6),
)
#: runtime, precision, median ms, correct of 450, KiB
_PI_DIGITS = (
    ("tflite", "fp32", 0.094, 448, 106),
    ("tflite", "int8", 0.061, 448, 37),
    ("onnxruntime", "fp32", 0.121, 448, 105),
    ("onnxruntime", "int8", 0.088, 391, 35),
    ("onnxruntime", "int8-dynamic", 0.139, 447, 36),
)
