"""From events to the record: exact figures of hand-made jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agents.protocol import (
    BlobRef,
    BuildAttemptFailed,
    CooledDown,
    Dataset,
    EngineBuilt,
    JobEnded,
    OutputsSaved,
    PerformanceModeRestored,
    PerformanceModeSet,
    TensorSpec,
    ToolTiming,
)
from harness.board_options import BoardOptions
from harness.errors import AgentError, ConversionFailed, ModelError
from harness.preparation import Workload
from harness.records.case_records import failure_record, unsupported_record
from harness.records.recording import Recording, _square_side
from profiles.devices import device_profile
from reports.record import Case, Failure, Memory, MemoryStage
from tests.harness.events import MIB, QUIET, ResultFiles, beginning, loaded, stage, well

CASE = Case("pi", "net", "onnxruntime", "fp32", batch_size=4)
MS = 1_000_000
OUTPUT = TensorSpec(["y"], [-1, 3], "float32")
SCORES = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]], dtype="float32")


@pytest.fixture
def files(tmp_path: Path) -> ResultFiles:
    return ResultFiles(tmp_path)


def recorded(told: list[Any], workload: Workload | None = None, case: Case = CASE) -> Recording:
    recording = Recording(case, workload or Workload())
    for event in told:
        recording.take(event)
    return recording


def workload(**changes: Any) -> Workload:
    """One whose outputs can be judged."""
    file = BlobRef("c" * 64, 1, "check.npz")
    base = Workload(
        outputs=(OUTPUT,), check=Dataset(file, 2, stacked=False), reference={"y": SCORES}, metric="top1"
    )
    return replace(base, **changes)


def test_latency_compute_and_throughput_come_from_the_samples(files: ResultFiles) -> None:
    latency = [2 * MS] * 50 + [4 * MS] * 50
    taken = files.samples(0, [9 * MS], latency, [MS] * 100)
    record, series = recorded([*beginning(), loaded(), taken, *well()]).measured(files.folder)
    assert record.latency_ms is not None
    assert record.compute_ms is not None
    assert (record.latency_ms.count, record.latency_ms.mean, record.latency_ms.max) == (100, 3.0, 4.0)
    assert (record.compute_ms.p50, record.compute_ms.stdev) == (1.0, 0.0)
    assert record.throughput_per_s == 4 * 1000 / 3.0
    assert {name: [v.tolist() for v in arrays] for name, arrays in series.items()} == {
        "warmup": [[9 * MS]],
        "latency": [latency],
        "compute": [[MS] * 100],
    }


def test_stages_are_medians_over_the_repetitions(files: ResultFiles) -> None:
    told: list[Any] = [*beginning()]
    for repetition, seconds in enumerate((0.3, 0.1, 0.2)):
        told += [
            stage(repetition, "runtime_imported", seconds, 10),
            stage(repetition, "model_loaded", seconds / 10, 20),
            stage(repetition, "first_inference", seconds / 100, 30),
            files.samples(repetition, [], [MS], [MS]),
        ]
    record, _ = recorded([*told, *well()]).measured(files.folder)
    assert (record.import_ms, record.load_ms) == (200.0, 20.0)
    assert record.first_inference_ms == pytest.approx(2.0)
    assert record.build_s is None


def test_memory_is_that_of_the_repetition_with_the_highest_peak(files: ResultFiles) -> None:
    told = [
        *beginning(),
        stage(0, "runtime_imported", 0.1, 50),
        stage(0, "first_inference", 0.1, 80, 81),
        stage(1, "runtime_imported", 0.1, 50),
        stage(1, "first_inference", 0.1, 70, 99),
        files.samples(0, [], [MS], [MS]),
        *well(),
    ]
    record, _ = recorded(told).measured(files.folder)
    assert record.memory == Memory(
        peak_rss_bytes=99 * MIB,
        peak_pss_bytes=69 * MIB,
        model_bytes=20 * MIB,
        gpu_bytes=None,
        stages=(
            MemoryStage("runtime_imported", 50 * MIB, 50 * MIB, 49 * MIB),
            MemoryStage("first_inference", 70 * MIB, 99 * MIB, 69 * MIB),
        ),
    )


def test_memory_nobody_could_read_is_absent_and_not_zero(files: ResultFiles) -> None:
    told = [*beginning(), stage(0, "runtime_imported", 0.1, None), files.samples(0, [], [MS], [MS]), *well()]
    record, _ = recorded(told).measured(files.folder)
    assert record.memory is not None
    assert (record.memory.peak_rss_bytes, record.memory.model_bytes) == (None, None)


def test_the_board_is_summed_up_before_worst_and_after(files: ResultFiles) -> None:
    told = [
        QUIET._replace(temperature_c=40.0, throttle_count=5, swapped_pages=100, cpu_mhz=600.0),
        QUIET._replace(phase="running", temperature_c=71.5, cpu_mhz=1800.0, throttled=False),
        QUIET._replace(phase="running", temperature_c=70.0, cpu_mhz=1500.0, under_voltage=True),
        QUIET._replace(phase="after", temperature_c=65.0, throttle_count=7, swapped_pages=130),
        files.samples(0, [], [MS], [MS]),
        *well(),
    ]
    board = recorded(told).measured(files.folder)[0].telemetry
    assert board is not None
    assert (board.temperature_before_c, board.temperature_max_c, board.temperature_after_c) == (
        40.0,
        71.5,
        65.0,
    )
    assert (board.cpu_mhz_min, board.cpu_mhz_max) == (1500.0, 1800.0)
    assert (board.throttled, board.under_voltage, board.swapped_pages, board.samples) == (True, True, 30, 4)
    assert board.other_cpu_share == pytest.approx(0.1 / 2.0)
    assert board.steal_share is None


def test_a_board_without_sensors_is_absent_throughout(files: ResultFiles) -> None:
    board = recorded([QUIET, files.samples(0, [], [MS], [MS]), *well()]).measured(files.folder)[0].telemetry
    assert board is not None
    assert (board.temperature_max_c, board.cpu_mhz_min, board.throttled, board.swapped_pages) == (None,) * 4


def test_facts_keep_what_is_absent_as_null(files: ResultFiles) -> None:
    told = [*beginning(), loaded(), files.samples(0, [], [MS], [MS]), *well()]
    facts = recorded(told).measured(files.folder)[0].facts
    assert facts["board"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert facts["governor"] is None
    assert facts["runtime_version"] == "1.20.0"
    assert facts["runtime_affinity"] == "0,1"


# --- outputs --------------------------------------------------------------------------------------


def test_equal_outputs_agree_and_the_case_is_valid_in_that(files: ResultFiles) -> None:
    told = [
        *beginning(),
        files.samples(0, [], [MS] * 200, [MS] * 200),
        files.outputs(0, "check", SCORES),
        *well(),
    ]
    record, _ = recorded(told, workload()).measured(files.folder)
    assert record.fidelity is not None
    assert record.fidelity.cosine == pytest.approx(1.0)
    assert (record.fidelity.max_abs_error, record.fidelity.argmax_agreement, record.fidelity.n) == (
        0.0,
        1.0,
        2,
    )
    assert "wrong_output" not in record.reasons


def test_one_repetition_with_wrong_outputs_makes_the_case_invalid(files: ResultFiles) -> None:
    told = [
        *beginning(),
        files.samples(0, [], [MS] * 200, [MS] * 200),
        files.outputs(0, "check", SCORES),
        files.outputs(1, "check", SCORES[:, ::-1]),
        *well(),
    ]
    record, _ = recorded(told, workload()).measured(files.folder)
    assert (record.verdict, record.reasons[0]) == ("invalid", "wrong_output")


def test_a_reference_that_is_not_finite_proves_nothing(files: ResultFiles) -> None:
    nothing = np.full_like(SCORES, np.nan)
    told = [
        *beginning(),
        files.samples(0, [], [MS] * 200, [MS] * 200),
        files.outputs(0, "check", nothing),
        *well(),
    ]
    record, _ = recorded(told, workload(reference={"y": nothing})).measured(files.folder)
    assert (record.verdict, record.reasons) == ("suspect", ("unchecked_output",))


def test_accuracy_is_scored_from_the_timed_engines_outputs(files: ResultFiles) -> None:
    told = [
        *beginning(),
        files.samples(0, [], [MS], [MS]),
        files.outputs(0, "check", SCORES),
        files.outputs(0, "evaluation", np.repeat(SCORES, 5, axis=0)),
        *well(),
    ]
    labels = np.array([0] * 5 + [1] * 4 + [2])
    record, _ = recorded(told, workload(labels=labels)).measured(files.folder)
    assert record.accuracy is not None
    assert (record.accuracy.metric, record.accuracy.value, record.accuracy.n) == ("top1", 0.9, 10)


def test_check_and_evaluation_outputs_that_are_equal_are_both_fetched(files: ResultFiles) -> None:
    """A labelled dataset of a few complete inputs is its own check."""
    told = [
        files.samples(0, [], [MS], [MS]),
        files.outputs(0, "check", SCORES),
        files.outputs(0, "evaluation", SCORES),
        files.outputs(1, "check", SCORES),
        *well(),
    ]
    recording = recorded(told, workload(labels=np.array([0, 1])))
    fetched = [file.name for file in recording.files()]
    assert fetched == ["samples-0.i64", "check-1.npz", "evaluation-0.npz"]
    for path in files.folder.iterdir():
        if path.name not in fetched:
            path.unlink()
    record, _ = recording.measured(files.folder)
    assert record.accuracy is not None
    assert record.accuracy.value == 1.0


def own_metric(outputs: dict[str, Any], labels: Any) -> float:
    return float((outputs["y"].argmax(axis=1) == labels).sum()) / 8


def failing_metric(outputs: dict[str, Any], labels: Any) -> float:
    raise IndexError("list index out of range")


def test_a_metric_of_ones_own_is_called_with_outputs_and_labels(files: ResultFiles) -> None:
    told = [files.samples(0, [], [MS], [MS]), files.outputs(0, "evaluation", SCORES), *well()]
    name = f"{__name__}:own_metric"
    record, _ = recorded(told, workload(labels=np.array([0, 1]), metric=name)).measured(files.folder)
    assert record.accuracy is not None
    assert (record.accuracy.metric, record.accuracy.value, record.accuracy.ci95) == (name, 0.25, None)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (f"{__name__}:failing_metric", "failed: IndexError: list index out of range"),
        ("no_such_module:f", "cannot be imported: No module named 'no_such_module'"),
        (f"{__name__}:no_such_function", "cannot be imported"),
    ],
)
def test_a_metric_that_fails_fails_its_case_and_is_not_tried_again(
    files: ResultFiles, metric: str, words: str
) -> None:
    told = [files.samples(0, [], [MS], [MS]), files.outputs(0, "evaluation", SCORES), *well()]
    with pytest.raises(ModelError, match=words) as error:
        recorded(told, workload(labels=np.array([0, 1]), metric=metric)).measured(files.folder)
    assert (error.value.failure_class, error.value.reason) == ("model", "metric_failed")


def test_outputs_that_cannot_be_compared_are_the_conversions_fault(files: ResultFiles) -> None:
    told = [files.samples(0, [], [MS], [MS]), files.outputs(0, "check", SCORES[:, :2]), *well()]
    with pytest.raises(ConversionFailed) as error:
        recorded(told, workload()).measured(files.folder)
    assert error.value.reason == "outputs_differ"


# --- what a board may send ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ".", "", "x\0y", ".bashrc", "a\nb"])
def test_a_result_may_not_be_called_like_a_path(files: ResultFiles, name: str) -> None:
    taken = files.samples(0, [], [MS], [MS])
    recording = recorded([taken._replace(file=taken.file._replace(name=name))])
    with pytest.raises(AgentError, match="is not the name of a result file"):
        recording.files()


@pytest.mark.parametrize(
    ("changes", "content", "words"),
    [
        ({"iterations": 2}, None, "does not hold what was announced"),
        ({"warmups": 1}, None, "does not hold what was announced"),
        ({}, b"1234567", "does not hold what was announced"),
        ({"warmups": 2, "iterations": 0}, None, "does not hold what was announced"),
        ({}, b"\xff" * 16, "holds a negative time"),
    ],
)
def test_samples_that_cannot_be_are_an_error(
    files: ResultFiles, changes: dict[str, int], content: bytes | None, words: str
) -> None:
    taken = files.samples(0, [], [MS], [MS])._replace(**changes)
    if content is not None:
        (files.folder / taken.file.name).write_bytes(content)
    with pytest.raises(AgentError, match=words):
        recorded([taken, *well()]).measured(files.folder)


def test_a_job_that_ended_well_without_samples_is_an_error(files: ResultFiles) -> None:
    with pytest.raises(AgentError, match="without a single sample"):
        recorded([*beginning(), *well()]).measured(files.folder)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 40])
def test_outputs_that_cannot_be_read_are_an_error(files: ResultFiles, content: bytes) -> None:
    (files.folder / "check-0.npz").write_bytes(content)
    saved = OutputsSaved(0, "check", BlobRef("0" * 64, len(content), "check-0.npz"), 2)
    with pytest.raises(AgentError, match=r"check-0\.npz cannot be read"):
        recorded([files.samples(0, [], [MS], [MS]), saved, *well()], workload()).measured(files.folder)


# --- failures -------------------------------------------------------------------------------------


def test_a_failed_job_keeps_what_was_known_and_says_what_to_do() -> None:
    end = JobEnded(2.0, "failed", "runtime", "out_of_memory", "the kernel killed the worker")
    record = recorded([*beginning(), loaded(), stage(0, "runtime_imported", 0.1, 50), end]).failed()
    assert record is not None
    assert record.status == "failed"
    assert record.failure is not None
    assert (record.failure.class_, record.failure.reason) == ("runtime", "out_of_memory")
    assert "smaller batch" in (record.failure.remedy or "")
    assert record.memory is not None
    assert record.memory.peak_rss_bytes == 50 * MIB
    assert record.facts["runtime_version"] == "1.20.0"


def test_a_job_that_went_well_has_not_failed() -> None:
    assert recorded([*beginning(), *well()]).failed() is None


def test_a_cancelled_job_is_a_failed_one() -> None:
    record = recorded(
        [JobEnded(2.0, "cancelled", "infrastructure", "cancelled", "the job was cancelled")]
    ).failed()
    assert record is not None
    assert record.failure == Failure("infrastructure", "cancelled", "the job was cancelled")


def test_records_of_cases_that_never_ran_carry_class_reason_and_remedy() -> None:
    failed = failure_record(CASE, ModelError("net.onnx is truncated", "export it again"))
    assert (failed.status, failed.failure) == (
        "failed",
        Failure("model", "invalid_model", "net.onnx is truncated", "export it again"),
    )
    unsupported = unsupported_record(CASE, "calibration_required", "int8 needs data", None, "conversion")
    assert (unsupported.status, unsupported.verdict) == ("unsupported", None)


# --- engines, power modes, vendors' tools ---------------------------------------------------------

TENSORRT = Case("nano-01", "net", "tensorrt", "fp16")
BUILT = EngineBuilt(
    2.0,
    "k" * 64,
    False,
    61.5,
    9 * MIB,
    64 * MIB,
    700 * MIB,
    {"flags": "FP16"},
    {"fp16": 20, "fp32": 1},
    3,
    [],
)


def test_an_engine_is_kept_with_the_tries_before_it(files: ResultFiles) -> None:
    told = [
        *beginning(),
        BuildAttemptFailed(1.0, 0, 256 * MIB, "out_of_memory", "no implementation for node Conv_1"),
        BUILT,
        files.samples(0, [], [MS] * 80, [MS] * 80)._replace(gpu_bytes=31 * MIB),
        *well(),
    ]
    told.insert(1, stage(0, "runtime_imported", 0.1, 50))
    record, _ = recorded(told, case=TENSORRT).measured(files.folder)
    assert record.build_s == 61.5
    assert record.engine is not None
    assert record.engine.layer_precisions == {"fp16": 20, "fp32": 1}
    assert record.engine.failed_attempts == (
        "with 256 MiB of workspace: out_of_memory: no implementation for node Conv_1",
    )
    assert record.memory is not None
    assert record.memory.gpu_bytes == 31 * MIB


def test_an_engine_that_runs_nothing_at_its_precision_makes_the_figure_invalid(files: ResultFiles) -> None:
    told = [
        *beginning(),
        BUILT._replace(layer_precisions={"fp32": 21}),
        files.samples(0, [], [MS] * 80, [MS] * 80),
    ]
    record, _ = recorded([*told, *well()], case=TENSORRT).measured(files.folder)
    assert record.verdict == "invalid"
    assert "precision_not_executed" in record.reasons


def test_a_build_that_failed_keeps_its_class_and_message(files: ResultFiles) -> None:
    end = JobEnded(2.0, "failed", "build", "unsupported_operator", "In node 3 (NonZero): no importer")
    record = recorded([*beginning(), end], case=TENSORRT).failed()
    assert record is not None
    assert record.failure is not None
    assert (record.failure.class_, record.failure.reason) == ("build", "unsupported_operator")


def test_the_vendors_tool_stands_beside_our_figure(files: ResultFiles) -> None:
    timing = ToolTiming(4.0, "trtexec", "v8201", "trtexec --loadEngine=x", 300, 1.2, 1.0, ["unstable"])
    told = [*beginning(), files.samples(0, [], [MS] * 80, [MS] * 80), timing, *well()]
    record, _ = recorded(told, case=TENSORRT).measured(files.folder)
    assert record.cross_check is not None
    assert (record.cross_check.compute_p50_ms, record.cross_check.warnings) == (1.0, ("unstable",))
    assert "tool_disagrees" not in record.reasons
    refused = timing._replace(iterations=0, warnings=["not found on this board"])
    record, _ = recorded([*told, refused], case=TENSORRT).measured(files.folder)
    assert record.cross_check is not None
    assert (record.cross_check.compute_p50_ms, record.cross_check.latency_p50_ms) == (None, None)


def test_a_performance_mode_is_kept_with_its_end(files: ResultFiles) -> None:
    told = [
        *beginning(),
        PerformanceModeSet(1.0, "max", True, {"nvpmodel": "5W (1)"}, {"nvpmodel": "MAXN (0)"}, []),
        files.samples(0, [], [MS] * 80, [MS] * 80),
        PerformanceModeRestored(5.0, False, {}, ["nvpmodel: a reboot is needed"]),
        *well(),
    ]
    record, _ = recorded(told).measured(files.folder)
    assert record.performance_mode is not None
    assert (record.performance_mode.reached, record.performance_mode.restored) == (True, False)
    assert record.performance_mode.problems == ("nvpmodel: a reboot is needed",)


def test_the_governor_that_held_while_it_ran_counts(files: ResultFiles) -> None:
    """Performance mode sets it after the facts were read."""
    running = QUIET._replace(phase="running", governor="performance")
    told = [
        *beginning(),
        running._replace(cpu_mhz=1200.0),
        running._replace(cpu_mhz=1800.0),
        files.samples(0, [], [MS] * 80, [MS] * 80),
        *well(),
    ]
    record, _ = recorded(told).measured(files.folder)
    assert [d.detail for d in record.doubts if d.reason == "clock_changed"] == [
        "the CPU clock ranged from 1200 to 1800 MHz although the governor 'performance' should hold it"
    ]


def test_cooling_is_kept_and_settings_of_the_run_too(files: ResultFiles) -> None:
    recording = Recording(
        CASE, Workload(), BoardOptions(performance_mode="max", providers=("xnnpack", "cpu"))
    )
    for event in [
        *beginning(),
        CooledDown(1.0, 20.0, 49.0, True),
        files.samples(0, [], [MS] * 80, [MS] * 80),
        *well(),
    ]:
        recording.take(event)
    record, _ = recording.measured(files.folder)
    assert record.telemetry is not None
    assert record.telemetry.cooled_s == 20.0
    assert record.options == {"providers": "xnnpack,cpu", "performance_mode": "max"}


def test_what_only_one_kind_of_board_tells_stands_among_the_facts(files: ResultFiles) -> None:
    (started, *rest) = beginning()
    facts = started.facts._replace(details={"jetpack": "4.6.1", "board": "forged"})  # type: ignore[union-attr]
    told = [started._replace(facts=facts), *rest, files.samples(0, [], [MS], [MS]), *well()]  # type: ignore[union-attr]
    record, _ = recorded(told).measured(files.folder)
    assert record.facts["jetpack"] == "4.6.1"
    assert record.facts["board"] == "Raspberry Pi 4 Model B Rev 1.4"


def test_an_emulated_board_is_said_to_be_one(files: ResultFiles) -> None:
    (started, *rest) = beginning()
    facts = started.facts._replace(virtualization="emulated (QEMU)")  # type: ignore[union-attr]
    told = [started._replace(facts=facts), *rest, files.samples(0, [], [MS] * 80, [MS] * 80), *well()]  # type: ignore[union-attr]
    record, _ = recorded(told).measured(files.folder)
    assert "emulated" in record.reasons


@pytest.mark.parametrize(
    ("shape", "side"),
    [
        ([1, 3, 224, 224], 224),
        ([1, 224, 224, 3], 224),
        ([1, 3, 3, 8], None),
        ([1, 10], None),
        ([1, 3, 96, 128], None),
    ],
)
def test_a_latency_far_from_a_reference_is_remarked_for_its_input_size(
    shape: list[int], side: int | None
) -> None:
    assert _square_side([TensorSpec(["x"], shape, "float32")]) == side


def test_a_figure_far_from_what_others_measured_is_remarked_and_stays_valid(files: ResultFiles) -> None:
    case = Case("pi", "mobilenet_v3_small", "tflite", "fp16", num_threads=4)
    workload_ = Workload(inputs=(TensorSpec(["x"], [1, 224, 224, 3], "float32"),))
    recording = Recording(case, workload_, BoardOptions(), device_profile("raspberry-pi-5"))
    for event in [*beginning(), files.samples(0, [], [40 * MS] * 80, [40 * MS] * 80), *well()]:
        recording.take(event)
    record, _ = recording.measured(files.folder)
    (remark,) = record.remarks
    assert "4.08 ms" in remark
    assert "NetsPresso" in remark
