"""From a job's events and result files to the record that is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.errors import ConvertError
from convert.proofs.verification import OutputAgreement, compare_outputs, find_fault
from device_agents.protocol import (
    BlobRef,
    Event,
    Job,
    JobEnded,
    OutputsSaved,
    SamplesTaken,
    TensorSpec,
)
from harness.board_options import BoardOptions
from harness.errors import AgentError, BadResult, ConversionFailed, ModelError, reason_word
from harness.preparation import Workload
from harness.records.board_evidence import energy_of, memory_of, telemetry_of
from harness.records.board_expectations import remarks
from harness.records.case_records import artifact_of, fidelity_of, now
from harness.records.engine_evidence import cross_check_of, engine_of, performance_mode_of
from harness.records.job_events import JobEvents
from harness.records.metrics import find_metric
from harness.records.plausibility import implausible
from harness.records.result_files import DamagedResult, outputs_bound, read_outputs
from profiles.devices import DeviceProfile
from reports import record as kept
from reports.accuracy import MetricError
from reports.record import Case, Failure, Record
from reports.statistics import summarize
from reports.verdict import Evidence, judge

NS_PER_MS = 1e6
MS_PER_S = 1e3

#: How much of a board's words on its failure is kept, characters.
MAX_MESSAGE = 8000

#: Remedies for what can happen on a board, by the failure's reason.
_REMEDIES = {
    "out_of_memory": "try a smaller batch, int8, or a board with more memory; close other programs there",
    "killed": "try a smaller batch or int8; close other programs on the board; see `dmesg` there",
    "crashed": "try another version of the runtime, or another precision: it crashed in native code",
    "protocol": "try another version of the runtime: a library writes to a descriptor that is not its own",
    "terminated": "see who shut the board down or ended the job; run again with --resume",
    "io_failed": "see `dmesg` on the board: its disk or SD card may be failing",
    "illegal_instruction": "install a version of the runtime that was built for this processor",
    "runtime_unavailable": "install the runtime in the Python the inventory names for this board",
    "deadline": "use a shorter measurement (--measurement quick), or look why the board hangs",
    "board_busy": "wait for the other job to end, or end it: bench device release NAME --force",
    "supervisor_died": "run again with --resume; see whether the board restarted (power supply, watchdog)",
    "board_restarted": "see why it restarted (power supply, watchdog, heat); run again with --resume",
    "disk_full": "free space on the board, or run `bench device clean`",
}

Array = NDArray[np.generic]


@dataclass
class Recording:
    """What is known of a case so far; events go in as they come, the record comes out at the end.

    With `asked`, events that cannot be true of that job are refused.
    """

    case: Case
    workload: Workload
    options: BoardOptions = field(default_factory=BoardOptions)
    profile: DeviceProfile | None = None
    started_at: str = field(default_factory=now)
    heard: JobEvents = field(default_factory=JobEvents)
    asked: Job | None = None

    def take(self, event: Event) -> None:
        """Note one event; raises AgentError for one that cannot be true."""
        fault = implausible(event, self.asked, self.workload, self.heard) if self.asked else None
        if fault is not None:
            raise AgentError(f"{self.case.device}: {fault}", reason="implausible_event")
        self.heard.take(event)

    @property
    def end(self) -> JobEnded | None:
        """How the job ended; None while it goes on."""
        return self.heard.end

    def files(self) -> list[BlobRef]:
        """The result files the record needs; equal outputs of several repetitions are fetched once."""
        wanted = [taken.file for taken in self.heard.samples]
        outputs = self.heard.outputs
        wanted += list({(saved.purpose, saved.file.sha256): saved.file for saved in outputs}.values())
        names: dict[str, str] = {}
        for file in wanted:
            # The board says how its files are called; here they go into a folder of ours.
            if not re.fullmatch(r"\w[\w.-]{0,99}", file.name, re.ASCII):
                raise BadResult(f"{self.case.device}: {file.name[:80]!r} is not the name of a result file")
            if names.setdefault(file.name.lower(), file.sha256) != file.sha256:
                raise BadResult(f"{self.case.device}: it calls two result files {file.name!r}")
        return wanted

    def failed(self) -> Record | None:
        """The record of a job that failed, or None if it went well."""
        if self.end is None or self.end.outcome == "ok":
            return None
        reason = reason_word(self.end.reason or self.end.outcome, "failed")
        failure_class = self.end.failure_class
        failure = Failure(
            class_=failure_class if failure_class in kept.FAILURE_CLASSES else "infrastructure",
            reason=reason,
            message=(self.end.message or "").strip()[:MAX_MESSAGE] or "the job failed",
            remedy=_REMEDIES.get(reason),
        )
        return Record(
            case=self.case,
            status="failed",
            failure=failure,
            artifact=artifact_of(self.workload),
            facts=self._facts(),
            memory=memory_of(self.heard.stages),
            telemetry=telemetry_of(self.heard.telemetry, self.heard.samples, self.heard.cooling),
            engine=engine_of(self.heard.built, self.heard.failed_builds),
            performance_mode=performance_mode_of(self.heard.mode_set, self.heard.mode_restored),
            options=self._options(),
            started_at=self.started_at,
            finished_at=now(),
        )

    def measured(self, folder: Path) -> tuple[Record, dict[str, list[NDArray[np.int64]]]]:
        """The record and raw samples of a job that went well, its files being in `folder`."""
        series = self._series(folder)
        agreements = self._agreements(folder)
        board = telemetry_of(self.heard.telemetry, self.heard.samples, self.heard.cooling)
        latency, compute = summarize(series["latency"]), summarize(series["compute"])
        engine = engine_of(self.heard.built, self.heard.failed_builds)
        mode = performance_mode_of(self.heard.mode_set, self.heard.mode_restored)
        check = cross_check_of(self.heard.tool_timing)
        verdict, doubts = judge(
            Evidence(
                latency_ns=tuple(series["latency"]),
                fault=self._fault(agreements),
                checked=self._checked(agreements),
                telemetry=board,
                stopped_by=tuple(taken.stopped_by for taken in self.heard.samples),
                governor=self._governor(),
                emulated=self._is_emulated(),
                too_hot_c=self.profile.max_start_temperature_c if self.profile else None,
                precision=self.case.precision,
                engine=engine,
                performance_mode=mode,
                compute_p50_ms=compute.p50,
                cross_check=check,
            )
        )
        record = Record(
            case=self.case,
            status="ok",
            verdict=verdict,
            reasons=tuple(dict.fromkeys(doubt.reason for doubt in doubts)),
            doubts=doubts,
            latency_ms=latency,
            compute_ms=compute,
            import_ms=self._median_stage_ms("runtime_imported"),
            load_ms=self._median_stage_ms("model_loaded"),
            build_s=self.heard.built.seconds if self.heard.built else None,
            first_inference_ms=self._median_stage_ms("first_inference"),
            throughput_per_s=self.case.batch_size * MS_PER_S / latency.mean if latency.mean > 0 else None,
            memory=memory_of(self.heard.stages, self.heard.samples),
            energy=energy_of(self.heard.telemetry, self.heard.samples, latency.mean),
            accuracy=self._accuracy(folder),
            fidelity=fidelity_of(agreements, self.workload),
            artifact=artifact_of(self.workload),
            facts=self._facts(),
            repetitions=tuple(
                _repetition(*pair) for pair in zip(self.heard.samples, series["latency"], strict=True)
            ),
            telemetry=board,
            engine=engine,
            cross_check=check,
            performance_mode=mode,
            remarks=self._remarks(latency.p50),
            options=self._options(),
            started_at=self.started_at,
            finished_at=now(),
        )
        return record, series

    def _remarks(self, median_ms: float) -> tuple[str, ...]:
        if self.profile is None:
            return ()
        return remarks(self.profile, self.case, median_ms, _square_side(self.workload.inputs))

    def _is_emulated(self) -> bool:
        facts = self.heard.facts
        return facts is not None and (facts.virtualization or "").startswith("emulated")

    def _governor(self) -> str | None:
        """What held the clock while the loops ran: performance mode sets it after the facts were read."""
        running = [sample.governor for sample in self.heard.telemetry if sample.phase == "running"]
        return (running[0] if running else None) or (self.heard.facts.governor if self.heard.facts else None)

    def _options(self) -> dict[str, str]:
        """What the job was given beyond the case, for whoever compares runs."""
        given = self.options.for_runtime(self.case.runtime) | dict(self.workload.options)
        mode = self.options.performance_mode
        return given | ({} if mode == "keep" else {"performance_mode": mode})

    def _series(self, folder: Path) -> dict[str, list[NDArray[np.int64]]]:
        found: dict[str, list[NDArray[np.int64]]] = {"warmup": [], "latency": [], "compute": []}
        for taken in self.heard.samples:
            content = (folder / taken.file.name).read_bytes()
            if len(content) != 8 * (taken.warmups + 2 * taken.iterations) or taken.iterations < 1:
                raise BadResult(f"{self.case.device}: {taken.file.name} does not hold what was announced")
            values = np.frombuffer(content, dtype="<i8").astype(np.int64)
            if values.min() < 0:
                raise BadResult(f"{self.case.device}: {taken.file.name} holds a negative time")
            warmup, latency, compute = np.split(values, [taken.warmups, taken.warmups + taken.iterations])
            for name, part in (("warmup", warmup), ("latency", latency), ("compute", compute)):
                found[name].append(part)
        if not found["latency"]:
            raise BadResult(f"{self.case.device}: the job ended well without a single sample")
        return found

    def _agreements(self, folder: Path) -> list[tuple[OutputAgreement, ...]]:
        """Agreement with the fp32 reference, once per repetition whose outputs differ from the others'."""
        if self.workload.reference is None:
            return []
        distinct = {s.file.sha256: s for s in self.heard.outputs if s.purpose == "check"}
        try:
            return [
                compare_outputs(
                    self.workload.reference,
                    self._load(folder, saved, stacked=False),
                    self.workload.aliases,
                    self.workload.quantization,
                )
                for saved in distinct.values()
            ]
        except ConvertError as error:
            message = f"{self.case.label}: {error.message}"
            raise ConversionFailed(message, error.remedy, error.reason) from error

    def _checked(self, agreements: list[tuple[OutputAgreement, ...]]) -> bool:
        """Whether the outputs were compared with something; a reference of NaN alone proves nothing."""
        if self.case.runtime == "null":
            return True
        floats = [array for array in (self.workload.reference or {}).values() if array.dtype.kind == "f"]
        return bool(agreements) and all(np.isfinite(array).any() for array in floats)

    def _fault(self, agreements: list[tuple[OutputAgreement, ...]]) -> str | None:
        faults = (find_fault(agreement, self.case.precision) for agreement in agreements)
        return next((fault for fault in faults if fault is not None), None)

    def _accuracy(self, folder: Path) -> kept.Accuracy | None:
        saved = next((s for s in self.heard.outputs if s.purpose == "evaluation"), None)
        if saved is None or self.workload.labels is None or self.workload.metric is None:
            return None
        stacked = self.workload.evaluation is not None and self.workload.evaluation.stacked
        outputs = self._load(folder, saved, stacked=stacked)
        try:
            return find_metric(self.workload.metric)(outputs, self.workload.labels)
        except MetricError as error:
            raise ModelError(f"{self.case.label}: {error.message}", error.remedy, "metric_failed") from error

    def _load(self, folder: Path, saved: OutputsSaved, *, stacked: bool) -> Mapping[str, Array]:
        """Outputs that the board saved, in the terms of the model's source."""
        names, file = [spec.names[0] for spec in self.workload.outputs], saved.file
        try:
            bound = outputs_bound(self.workload, saved.purpose)
            outputs = read_outputs(folder / file.name, names, saved.examples, bound)
            return self.workload.in_source_terms(outputs, stacked=stacked)
        except (DamagedResult, ValueError, KeyError, IndexError) as error:
            raise BadResult(f"{self.case.device}: {file.name} cannot be read: {error}") from error

    def _median_stage_ms(self, stage: str) -> float | None:
        seconds = [reached.seconds for reached in self.heard.stages if reached.stage == stage]
        return float(np.median(seconds)) * MS_PER_S if seconds else None

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = dict(self.heard.facts._asdict()) if self.heard.facts else {}
        # What only one kind of board tells stands beside what all tell, and never in its place.
        facts = facts.pop("details", {}) | facts
        if self.heard.loaded is not None:
            facts["runtime_version"] = self.heard.loaded.version
            facts |= {f"runtime_{name}": value for name, value in self.heard.loaded.details.items()}
        return facts


def _square_side(inputs: Sequence[TensorSpec]) -> int | None:
    """The side of the one square image a model takes, channels first or last; None for any other input."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        return None
    _, *sizes = inputs[0].shape
    for height, width in (sizes[:2], sizes[1:]):
        if height == width and height > 4:  # no channels
            return height
    return None


def _repetition(taken: SamplesTaken, latency_ns: NDArray[np.int64]) -> kept.RepetitionSummary:
    return kept.RepetitionSummary(
        repetition=taken.repetition,
        count=taken.iterations,
        warmups=taken.warmups,
        p50_ms=float(np.median(latency_ns)) / NS_PER_MS,
        loop_s=taken.loop_s,
        stopped_by=taken.stopped_by,
    )
