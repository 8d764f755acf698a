"""From a job's events and result files to the record that is kept."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.arrays import UNREADABLE_NPZ, load_arrays
from convert.errors import ConvertError
from convert.verification import OutputAgreement, compare_outputs, find_fault
from device_agents.protocol import (
    BlobRef,
    DeviceFacts,
    Event,
    JobEnded,
    JobStarted,
    OutputsSaved,
    RuntimeLoaded,
    SamplesTaken,
    StageReached,
    TelemetrySample,
)
from harness.errors import AgentError, CaseError, ConversionFailed, ModelError
from harness.metrics import find_metric
from harness.preparation import Workload
from reports import record as kept
from reports.accuracy import MetricError
from reports.record import Case, Failure, Record
from reports.statistics import summarize
from reports.verdict import Evidence, judge

NS_PER_MS = 1e6
MS_PER_S = 1e3

#: Remedies for what can happen on a board, by the failure's reason.
_REMEDIES = {
    "out_of_memory": "try a smaller batch, int8, or a board with more memory; close other programs there",
    "killed": "try a smaller batch or int8; close other programs on the board; see `dmesg` there",
    "illegal_instruction": "install a version of the runtime that was built for this processor",
    "runtime_unavailable": "install the runtime in the Python the inventory names for this board",
    "deadline": "use a shorter measurement (--measurement quick), or look why the board hangs",
    "board_busy": "wait for the other job to end, or cancel it",
    "supervisor_died": "run again with --resume; see whether the board restarted (power supply, watchdog)",
    "disk_full": "free space on the board, or run `bench device clean`",
}

Array = NDArray[np.generic]


@dataclass
class Recording:
    """What is known of a case so far; events go in as they come, the record comes out at the end."""

    case: Case
    workload: Workload
    started_at: str = field(default_factory=lambda: now())
    facts: DeviceFacts | None = None
    loaded: RuntimeLoaded | None = None
    end: JobEnded | None = None
    stages: list[StageReached] = field(default_factory=list)
    samples: list[SamplesTaken] = field(default_factory=list)
    outputs: list[OutputsSaved] = field(default_factory=list)
    telemetry: list[TelemetrySample] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Note one event."""
        match event:
            case JobStarted():
                self.facts = event.facts
            case RuntimeLoaded():
                self.loaded = event
            case StageReached():
                self.stages.append(event)
            case SamplesTaken():
                self.samples.append(event)
            case OutputsSaved():
                self.outputs.append(event)
            case TelemetrySample():
                self.telemetry.append(event)
            case JobEnded():
                self.end = event
            case _:
                pass

    def files(self) -> list[BlobRef]:
        """The result files the record needs; equal outputs of several repetitions are fetched once."""
        wanted = [taken.file for taken in self.samples]
        wanted += list({(saved.purpose, saved.file.sha256): saved.file for saved in self.outputs}.values())
        for file in wanted:
            # The board says how its files are called; here they go into a folder of ours.
            if not re.fullmatch(r"\w[\w.-]*", file.name):
                raise AgentError(f"{self.case.device}: {file.name[:80]!r} is not the name of a result file")
        return wanted

    def failed(self) -> Record | None:
        """The record of a job that failed, or None if it went well."""
        if self.end is None or self.end.outcome == "ok":
            return None
        reason = self.end.reason or self.end.outcome
        failure = Failure(
            class_=self.end.failure_class or "infrastructure",
            reason=reason,
            message=self.end.message or "the job failed",
            remedy=_REMEDIES.get(reason),
        )
        return Record(
            case=self.case,
            status="failed",
            failure=failure,
            artifact=artifact_of(self.workload),
            facts=self._facts(),
            memory=self._memory(),
            telemetry=self._board(),
            started_at=self.started_at,
            finished_at=now(),
        )

    def measured(self, folder: Path) -> tuple[Record, dict[str, list[NDArray[np.int64]]]]:
        """The record and raw samples of a job that went well, its files being in `folder`."""
        series = self._series(folder)
        agreements = self._agreements(folder)
        board = self._board()
        verdict, doubts = judge(
            Evidence(
                latency_ns=tuple(series["latency"]),
                fault=self._fault(agreements),
                checked=bool(agreements) or self.case.runtime == "null",
                telemetry=board,
                stopped_by=tuple(taken.stopped_by for taken in self.samples),
                governor=self.facts.governor if self.facts else None,
            )
        )
        latency = summarize(series["latency"])
        record = Record(
            case=self.case,
            status="ok",
            verdict=verdict,
            reasons=tuple(dict.fromkeys(doubt.reason for doubt in doubts)),
            doubts=doubts,
            latency_ms=latency,
            compute_ms=summarize(series["compute"]),
            import_ms=self._median_stage_ms("runtime_imported"),
            load_ms=self._median_stage_ms("model_loaded"),
            first_inference_ms=self._median_stage_ms("first_inference"),
            throughput_per_s=self.case.batch_size * MS_PER_S / latency.mean if latency.mean > 0 else None,
            memory=self._memory(),
            accuracy=self._accuracy(folder),
            fidelity=_fidelity(agreements, self.workload),
            artifact=artifact_of(self.workload),
            facts=self._facts(),
            repetitions=tuple(
                _repetition(taken, own) for taken, own in zip(self.samples, series["latency"], strict=True)
            ),
            telemetry=board,
            started_at=self.started_at,
            finished_at=now(),
        )
        return record, series

    def _series(self, folder: Path) -> dict[str, list[NDArray[np.int64]]]:
        found: dict[str, list[NDArray[np.int64]]] = {"warmup": [], "latency": [], "compute": []}
        for taken in self.samples:
            content = (folder / taken.file.name).read_bytes()
            if len(content) != 8 * (taken.warmups + 2 * taken.iterations) or taken.iterations < 1:
                raise AgentError(f"{self.case.device}: {taken.file.name} does not hold what was announced")
            values = np.frombuffer(content, dtype="<i8").astype(np.int64)
            if values.min() < 0:
                raise AgentError(f"{self.case.device}: {taken.file.name} holds a negative time")
            warmup, latency, compute = np.split(values, [taken.warmups, taken.warmups + taken.iterations])
            for name, part in (("warmup", warmup), ("latency", latency), ("compute", compute)):
                found[name].append(part)
        if not found["latency"]:
            raise AgentError(f"{self.case.device}: the job ended well without a single sample")
        return found

    def _agreements(self, folder: Path) -> list[tuple[OutputAgreement, ...]]:
        """Agreement with the fp32 reference, once per repetition whose outputs differ from the others'."""
        if self.workload.reference is None:
            return []
        distinct = {s.file.sha256: s.file for s in self.outputs if s.purpose == "check"}
        try:
            return [
                compare_outputs(
                    self.workload.reference,
                    self._load(folder, file),
                    self.workload.aliases,
                    self.workload.quantization,
                )
                for file in distinct.values()
            ]
        except ConvertError as error:
            message = f"{self.case.label}: {error.message}"
            raise ConversionFailed(message, error.remedy, error.reason) from error

    def _fault(self, agreements: list[tuple[OutputAgreement, ...]]) -> str | None:
        faults = (find_fault(agreement, self.case.precision) for agreement in agreements)
        return next((fault for fault in faults if fault is not None), None)

    def _accuracy(self, folder: Path) -> kept.Accuracy | None:
        saved = next((s for s in self.outputs if s.purpose == "evaluation"), None)
        if saved is None or self.workload.labels is None or self.workload.metric is None:
            return None
        outputs = self._load(folder, saved.file)
        try:
            return find_metric(self.workload.metric)(outputs, self.workload.labels)
        except MetricError as error:
            raise ModelError(f"{self.case.label}: {error.message}", error.remedy, "metric_failed") from error

    def _load(self, folder: Path, file: BlobRef) -> dict[str, Array]:
        names = [spec.names[0] for spec in self.workload.outputs]
        try:
            return load_arrays(folder / file.name, names)
        except (*UNREADABLE_NPZ, KeyError) as error:
            raise AgentError(f"{self.case.device}: {file.name} cannot be read: {error}") from error

    def _median_stage_ms(self, stage: str) -> float | None:
        seconds = [reached.seconds for reached in self.stages if reached.stage == stage]
        return float(np.median(seconds)) * MS_PER_S if seconds else None

    def _memory(self) -> kept.Memory | None:
        """Stages of the repetition with the highest peak: the one that a board has to have room for."""
        if not self.stages:
            return None
        repetition = max(self.stages, key=lambda reached: reached.peak_rss_bytes or 0).repetition
        stages = [reached for reached in self.stages if reached.repetition == repetition]
        rss = {reached.stage: reached.rss_bytes for reached in stages}
        before, after = rss.get("runtime_imported"), rss.get("first_inference")
        return kept.Memory(
            peak_rss_bytes=_highest(reached.peak_rss_bytes for reached in stages),
            peak_pss_bytes=_highest(reached.pss_bytes for reached in stages),
            model_bytes=max(0, after - before) if before is not None and after is not None else None,
            stages=tuple(
                kept.MemoryStage(reached.stage, reached.rss_bytes, reached.peak_rss_bytes, reached.pss_bytes)
                for reached in stages
            ),
        )

    def _board(self) -> kept.Telemetry | None:
        if not self.telemetry:
            return None
        busy_s = [(s.other_cpu_s, s.steal_s, s.warmup_s + s.loop_s) for s in self.samples]
        clocks = [s.cpu_mhz for s in self.telemetry if s.cpu_mhz is not None and s.phase == "running"]
        before = next((s for s in self.telemetry if s.phase == "before"), None)
        return kept.Telemetry(
            temperature_before_c=before.temperature_c if before else None,
            temperature_max_c=_highest(s.temperature_c for s in self.telemetry),
            temperature_after_c=self.telemetry[-1].temperature_c,
            cpu_mhz_min=min(clocks, default=None),
            cpu_mhz_max=max(clocks, default=None),
            throttled=_throttled(self.telemetry),
            under_voltage=_any_true(s.under_voltage for s in self.telemetry),
            other_cpu_share=_highest(
                other / total for other, _, total in busy_s if other is not None and total > 0
            ),
            steal_share=_highest(
                steal / total for _, steal, total in busy_s if steal is not None and total > 0
            ),
            swapped_pages=_growth([s.swapped_pages for s in self.telemetry]),
            samples=len(self.telemetry),
        )

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = dict(self.facts._asdict()) if self.facts else {}
        if self.loaded is not None:
            facts["runtime_version"] = self.loaded.version
            facts |= {f"runtime_{name}": value for name, value in self.loaded.details.items()}
        return facts


def now() -> str:
    """UTC as records state times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def failure_record(case: Case, error: CaseError, workload: Workload | None = None) -> Record:
    """The record of a case that could not be measured."""
    return Record(
        case=case,
        status="failed",
        failure=Failure(error.failure_class, error.reason, error.message, error.remedy),
        artifact=artifact_of(workload) if workload else None,
        started_at=now(),
        finished_at=now(),
    )


def unsupported_record(
    case: Case, reason: str, message: str, remedy: str | None, failure_class: str
) -> Record:
    """The record of a case that cannot be, and that nobody asked for by name."""
    return Record(
        case=case,
        status="unsupported",
        failure=Failure(failure_class, reason, message, remedy),
        started_at=now(),
        finished_at=now(),
    )


def artifact_of(workload: Workload) -> kept.Artifact | None:
    """The artifact as the record keeps it."""
    artifact = workload.artifact
    if artifact is None:
        return None
    return kept.Artifact(
        sha256=artifact.sha256,
        bytes=artifact.bytes,
        converter=artifact.converter,
        steps=tuple(
            kept.ConversionStep(step.tool, step.version, step.seconds, step.peak_memory_bytes, step.detail)
            for step in artifact.steps
        ),
        verification=_fidelity([artifact.agreement], None) if artifact.agreement else None,
        calibration=artifact.calibration,
    )


def _fidelity(
    agreements: list[tuple[OutputAgreement, ...]], workload: Workload | None
) -> kept.Fidelity | None:
    """The worst over all outputs, and each output of the first distinct outcome."""
    everything = [agreement for outcome in agreements for agreement in outcome]
    if not everything:
        return None
    return kept.Fidelity(
        cosine=_lowest(agreement.cosine for agreement in everything),
        max_abs_error=_finite(max(agreement.max_abs_error for agreement in everything)),
        argmax_agreement=_lowest(agreement.argmax_agreement for agreement in everything),
        n=workload.check.examples if workload and workload.check else 0,
        outputs=tuple(
            kept.OutputFidelity(a.name, a.cosine, _finite(a.max_abs_error), a.sqnr_db, a.argmax_agreement)
            for a in agreements[0]
        ),
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity; an output that is not finite has no largest error."""
    return value if math.isfinite(value) else None


def _repetition(taken: SamplesTaken, latency_ns: NDArray[np.int64]) -> kept.RepetitionSummary:
    return kept.RepetitionSummary(
        repetition=taken.repetition,
        count=taken.iterations,
        warmups=taken.warmups,
        p50_ms=float(np.median(latency_ns)) / NS_PER_MS,
        loop_s=taken.loop_s,
        stopped_by=taken.stopped_by,
    )


def _throttled(samples: list[TelemetrySample]) -> bool | None:
    counted = _growth([sample.throttle_count for sample in samples])
    seen = _any_true(sample.throttled for sample in samples)
    if counted is None:
        return seen
    return counted > 0 or bool(seen)


def _growth(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return known[-1] - known[0] if known else None


def _any_true(flags: Any) -> bool | None:
    known = [flag for flag in flags if flag is not None]
    return any(known) if known else None


def _highest(values: Any) -> Any:
    return max((value for value in values if value is not None), default=None)


def _lowest(values: Any) -> Any:
    return min((value for value in values if value is not None), default=None)
