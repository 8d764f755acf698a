"""What is kept of a case and of a run, and its JSON form (results.json).

Format history
1  first version

Keys may be added within a version; the ones that are there stay. Absent is null, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

FORMAT_VERSION = 1

T = TypeVar("T")

STATUSES = ("ok", "failed", "unsupported")
VERDICTS = ("valid", "suspect", "invalid")
FAILURE_CLASSES = ("infrastructure", "conversion", "build", "runtime", "model", "timeout")


class RecordError(ValueError):
    """A results file that is not one, with the place and the reason."""


@dataclass(frozen=True)
class Case:
    """One configuration: device x model x runtime x precision x batch size x threads."""

    device: str
    model: str
    runtime: str
    precision: str
    batch_size: int = 1
    num_threads: int = 1

    @property
    def label(self) -> str:
        """The case in one line, as tables and messages name it."""
        return (
            f"{self.model} · {self.runtime} · {self.precision} · batch {self.batch_size} · "
            f"{self.num_threads} thread{'s' if self.num_threads != 1 else ''} · {self.device}"
        )


@dataclass(frozen=True)
class Failure:
    """Why a case has no figures. `class_` is one of FAILURE_CLASSES, `reason` a stable word."""

    class_: str
    reason: str
    message: str
    remedy: str | None = None


@dataclass(frozen=True)
class Doubt:
    """One reason of a verdict, in words with its figures."""

    reason: str
    detail: str
    #: What it makes of the verdict: suspect or invalid.
    severity: str = "suspect"


@dataclass(frozen=True)
class Summary:
    """One series in milliseconds. A percentile the sample cannot bound is None (reports/statistics.py)."""

    count: int
    mean: float
    stdev: float
    min: float
    p50: float
    p90: float | None
    p95: float | None
    p99: float | None
    max: float
    p50_ci95: tuple[float, float]
    p90_ci95: tuple[float, float] | None = None
    p95_ci95: tuple[float, float] | None = None
    p99_ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class RepetitionSummary:
    """One worker process: its own median and how its loop ended."""

    repetition: int
    count: int
    warmups: int
    p50_ms: float
    loop_s: float
    stopped_by: str


@dataclass(frozen=True)
class MemoryStage:
    """Memory of the worker at the end of a stage, bytes."""

    stage: str
    rss_bytes: int | None
    peak_rss_bytes: int | None
    pss_bytes: int | None


@dataclass(frozen=True)
class Memory:
    """Memory of the fresh worker; `model_bytes` is what loading and the first inference added to RSS."""

    peak_rss_bytes: int | None
    peak_pss_bytes: int | None
    model_bytes: int | None
    gpu_bytes: int | None = None
    stages: tuple[MemoryStage, ...] = ()


@dataclass(frozen=True)
class Accuracy:
    """A task metric on labelled data, computed on the host from the timed engine's outputs."""

    metric: str
    value: float
    n: int
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class OutputFidelity:
    """Agreement of one output with the fp32 reference."""

    name: str
    cosine: float | None
    #: None when the output is not finite: JSON has no infinity.
    max_abs_error: float | None
    sqnr_db: float | None
    argmax_agreement: float | None


@dataclass(frozen=True)
class Fidelity:
    """Agreement with the fp32 reference: the worst over all outputs, and each of them."""

    cosine: float | None
    max_abs_error: float | None
    argmax_agreement: float | None
    n: int
    outputs: tuple[OutputFidelity, ...] = ()


@dataclass(frozen=True)
class Energy:
    """Energy per inference from a power rail."""

    joules_per_inference: float
    mean_power_w: float
    rail: str


@dataclass(frozen=True)
class Engine:
    """What a runtime built on the board from the artifact."""

    #: Whether it was there from an earlier job; `build_s` of the record is then what it took that time.
    reused: bool
    bytes: int
    workspace_bytes: int | None = None
    peak_rss_bytes: int | None = None
    #: Layers by the precision they really got; empty where the runtime cannot say.
    layer_precisions: dict[str, int] = field(default_factory=dict)
    #: Ways to run a layer that were left out for lack of memory.
    skipped_tactics: int = 0
    details: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    #: Tries with more workspace that failed before this one, in words.
    failed_attempts: tuple[str, ...] = ()


@dataclass(frozen=True)
class CrossCheck:
    """What the vendor's own tool measured on the same engine; None where it gave no figure."""

    tool: str
    version: str
    command: str
    iterations: int
    latency_p50_ms: float | None
    compute_p50_ms: float | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class PerformanceMode:
    """Clocks and power raised for the case, and whether they were put back."""

    mode: str
    reached: bool
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    #: None when the end of the job was not heard of.
    restored: bool | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConversionStep:
    """One tool's work on the way to the artifact."""

    tool: str
    version: str
    seconds: float
    peak_memory_bytes: int | None
    detail: str | None = None


@dataclass(frozen=True)
class Artifact:
    """The converted file that ran. `sha256` covers all its files, external data included."""

    sha256: str
    bytes: int
    converter: str
    steps: tuple[ConversionStep, ...] = ()
    #: Whether the host's own check of the artifact passed, and its figures.
    verification: Fidelity | None = None
    calibration: str | None = None
    #: What a person should know: ways that failed before one worked, doubts about calibration.
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Telemetry:
    """The board over the case: before, worst while running, after."""

    temperature_before_c: float | None = None
    temperature_max_c: float | None = None
    temperature_after_c: float | None = None
    cpu_mhz_min: float | None = None
    cpu_mhz_max: float | None = None
    throttled: bool | None = None
    under_voltage: bool | None = None
    other_cpu_share: float | None = None
    steal_share: float | None = None
    swapped_pages: int | None = None
    samples: int = 0
    gpu_mhz_min: float | None = None
    gpu_mhz_max: float | None = None
    gpu_temperature_max_c: float | None = None
    memory_mhz_min: float | None = None
    memory_mhz_max: float | None = None
    #: Power modes seen, in order; more than one means that it changed.
    power_modes: tuple[str, ...] = ()
    #: Mean watts of every rail while the timed loops ran.
    rails_w: dict[str, float] = field(default_factory=dict)
    #: Seconds the board was given to cool before its repetitions.
    cooled_s: float | None = None


@dataclass(frozen=True)
class Attempt:
    """An earlier try at the same case that ended in an infrastructure failure."""

    failure: Failure
    at: str


@dataclass(frozen=True)
class Record:
    """The saved outcome of a case."""

    case: Case
    status: str
    failure: Failure | None = None
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    latency_ms: Summary | None = None
    compute_ms: Summary | None = None
    import_ms: float | None = None
    load_ms: float | None = None
    build_s: float | None = None
    first_inference_ms: float | None = None
    throughput_per_s: float | None = None
    memory: Memory | None = None
    accuracy: Accuracy | None = None
    fidelity: Fidelity | None = None
    energy: Energy | None = None
    artifact: Artifact | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()
    repetitions: tuple[RepetitionSummary, ...] = ()
    telemetry: Telemetry | None = None
    attempts: tuple[Attempt, ...] = ()
    engine: Engine | None = None
    cross_check: CrossCheck | None = None
    performance_mode: PerformanceMode | None = None
    #: What a reader should know that is no doubt about the figures.
    remarks: tuple[str, ...] = ()
    #: Settings the job was given beyond the case.
    options: dict[str, str] = field(default_factory=dict)
    started_at: str | None = None
    finished_at: str | None = None
    job_id: str | None = None


@dataclass(frozen=True)
class Run:
    """One command's identity."""

    id: str
    started_at: str
    harness_version: str
    command: tuple[str, ...]
    finished_at: str | None = None
    interrupted: bool = False


@dataclass(frozen=True)
class Results:
    """A run and its records: the content of results.json."""

    run: Run
    records: tuple[Record, ...]
    format_version: int = FORMAT_VERSION


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=False)
    named = override(rename="class")
    converter.register_unstructure_hook(Failure, make_dict_unstructure_fn(Failure, converter, class_=named))
    converter.register_structure_hook(Failure, make_dict_structure_fn(Failure, converter, class_=named))
    return converter


_CONVERTER = _converter()


def to_json(value: Record | Results | Run) -> dict[str, Any]:
    """Plain JSON values of a record, run or results."""
    plain: dict[str, Any] = _CONVERTER.unstructure(value)
    return plain


def record_from_json(value: object) -> Record:
    """The record of plain JSON values; raises RecordError naming the field."""
    return _structured(value, Record)


def results_from_json(value: object) -> Results:
    """The results of plain JSON values; raises RecordError naming the field or the unknown version."""
    version = value.get("format_version") if isinstance(value, dict) else None
    if version != FORMAT_VERSION:
        raise RecordError(f"results of format version {version!r}; this edgebench reads {FORMAT_VERSION}")
    return _structured(value, Results)


def _structured(value: object, kind: type[T]) -> T:
    try:
        return _CONVERTER.structure(value, kind)
    except cattrs.BaseValidationError as error:
        raise RecordError("; ".join(cattrs.transform_error(error))) from error
    except (TypeError, ValueError, KeyError) as error:
        raise RecordError(str(error)) from error
