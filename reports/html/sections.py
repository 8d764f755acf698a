"""What the page's secondary tables show, one small row type each; all text goes to the template as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.html.sparkline import Sparkline, sparkline
from reports.record import Case, ConversionStep, Fidelity, Record, Results, Telemetry
from reports.rows import accuracy_detail
from reports.tradeoff import NULL_RUNTIME
from reports.units import ABSENT, duration, percent, seconds, significant, size

#: Facts worth the first lines, with their words; the others follow by name.
_FACT_WORDS = {
    "board": "board",
    "cpu_model": "processor",
    "cpu_count": "cores",
    "cpu_max_mhz": "highest clock",
    "memory_bytes": "memory",
    "swap_bytes": "swap",
    "os": "system",
    "kernel": "kernel",
    "python": "Python",
    "governor": "governor",
    "l4t_release": "L4T",
    "jetpack": "JetPack",
    "power_mode": "power mode",
    "virtualization": "virtualisation",
    "runtime_version": "runtime version",
}


@dataclass(frozen=True)
class QualityRow:
    """How right a case's outputs are."""

    case: Case
    accuracy: str
    accuracy_detail: str
    cosine: str
    max_abs_error: str
    agreement: str
    checks: str


@dataclass(frozen=True)
class ConversionRow:
    """How a case's artifact came about."""

    case: Case
    converter: str
    size: str
    sha256: str
    steps: tuple[str, ...]
    time: str
    peak_memory: str
    error: str
    calibration: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class RepetitionRow:
    """How a case ran: its processes, their drawing, and the board meanwhile."""

    case: Case
    medians: tuple[str, ...]
    iterations: str
    stopped_by: str
    spark: Sparkline | None
    start_up: tuple[str, ...]
    temperature: str
    clock: str
    others: str
    energy: str


@dataclass(frozen=True)
class FactsTable:
    """The boards' facts side by side: device names, and rows of (fact, value per device)."""

    devices: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def quality_rows(results: Results) -> tuple[QualityRow, ...]:
    """One row per record with an accuracy or a fidelity; the null runtime's outputs mean nothing."""
    return tuple(
        _quality(record)
        for record in results.records
        if record.case.runtime != NULL_RUNTIME and (record.accuracy or record.fidelity)
    )


def conversion_rows(results: Results) -> tuple[ConversionRow, ...]:
    """One row per record with an artifact, each artifact once."""
    rows: dict[str, ConversionRow] = {}
    for record in results.records:
        if record.artifact is not None and record.case.runtime != NULL_RUNTIME:
            rows.setdefault(record.artifact.sha256, _conversion(record))
    return tuple(rows.values())


def repetition_rows(
    results: Results, samples: Mapping[int, Mapping[str, Sequence[NDArray[np.int64]]]]
) -> tuple[RepetitionRow, ...]:
    """One row per measured record."""
    return tuple(
        _repetitions(record, samples.get(index, {}).get("latency", ()))
        for index, record in enumerate(results.records)
        if record.latency_ms is not None
    )


def sparklines(samples: Mapping[int, Mapping[str, Sequence[NDArray[np.int64]]]]) -> dict[int, Sparkline]:
    """The drawings of all records that have samples, by record index."""
    drawn = {index: sparkline(series.get("latency", ())) for index, series in samples.items()}
    return {index: drawing for index, drawing in drawn.items() if drawing is not None}


def facts_table(results: Results) -> FactsTable:
    """Every fact of every device; several values of one (runtime versions) are joined."""
    found: dict[str, dict[str, list[str]]] = {}
    for record in results.records:
        if record.facts:
            of_device = found.setdefault(record.case.device, {})
            for key, value in record.facts.items():
                text = _fact(str(key), value)
                if text is not None and text not in (values := of_device.setdefault(str(key), [])):
                    values.append(text)
    keys = [key for key in _FACT_WORDS if any(key in facts for facts in found.values())]
    keys += sorted({key for facts in found.values() for key in facts} - set(keys))
    rows = tuple(
        (
            _FACT_WORDS.get(key, key.replace("_", " ")),
            tuple(", ".join(facts.get(key, ())) or ABSENT for facts in found.values()),
        )
        for key in keys
    )
    return FactsTable(tuple(found), rows)


def _quality(record: Record) -> QualityRow:
    accuracy, fidelity = record.accuracy, record.fidelity
    cosine = None if fidelity is None else fidelity.cosine
    agreement = None if fidelity is None else fidelity.argmax_agreement
    return QualityRow(
        record.case,
        ABSENT if accuracy is None else percent(accuracy.value),
        "no labelled data were given" if accuracy is None else accuracy_detail(accuracy),
        ABSENT if cosine is None else f"{cosine:.5f}",
        _error(fidelity),
        ABSENT if agreement is None else percent(agreement),
        ABSENT if fidelity is None else str(fidelity.n),
    )


def _conversion(record: Record) -> ConversionRow:
    artifact = record.artifact
    assert artifact is not None
    peaks = [step.peak_memory_bytes for step in artifact.steps if step.peak_memory_bytes is not None]
    check = artifact.verification
    return ConversionRow(
        record.case,
        artifact.converter,
        size(artifact.bytes),
        artifact.sha256[:12],
        tuple(_step(step) for step in artifact.steps),
        seconds(sum(step.seconds for step in artifact.steps)) if artifact.steps else ABSENT,
        size(max(peaks)) if peaks else ABSENT,
        _error(check),
        artifact.calibration or ABSENT,
        artifact.warnings,
    )


def _step(step: ConversionStep) -> str:
    detail = f": {step.detail}" if step.detail else ""
    return f"{step.tool} {step.version}, {seconds(step.seconds)}{detail}"


def _error(fidelity: Fidelity | None) -> str:
    if fidelity is None:
        return ABSENT
    return "not finite" if fidelity.max_abs_error is None else significant(fidelity.max_abs_error)


def _repetitions(record: Record, series: Sequence[NDArray[np.int64]]) -> RepetitionRow:
    board = record.telemetry or Telemetry()
    words = dict.fromkeys(repetition.stopped_by.replace("_", " ") for repetition in record.repetitions)
    counts = [repetition.count for repetition in record.repetitions]
    return RepetitionRow(
        record.case,
        tuple(duration(repetition.p50_ms) for repetition in record.repetitions),
        " + ".join(str(count) for count in counts) or ABSENT,
        ", ".join(words) or ABSENT,
        sparkline(series),
        _start_up(record),
        _temperature(board),
        _clock(board),
        _others(board),
        ABSENT if record.energy is None else f"{significant(record.energy.joules_per_inference * 1e3)} mJ",
    )


def _start_up(record: Record) -> tuple[str, ...]:
    parts = [
        ("import", record.import_ms),
        ("load", record.load_ms),
        ("build", None if record.build_s is None else record.build_s * 1e3),
        ("first", record.first_inference_ms),
    ]
    return tuple(f"{word} {duration(value)}" for word, value in parts if value is not None)


def _temperature(board: Telemetry) -> str:
    before, highest = board.temperature_before_c, board.temperature_max_c
    if before is None and highest is None:
        return ABSENT
    ends = [ABSENT if value is None else f"{value:.0f}" for value in (before, highest)]
    return " → ".join(ends) + " °C" + (", throttled" if board.throttled else "")


def _clock(board: Telemetry) -> str:
    low, high = board.cpu_mhz_min, board.cpu_mhz_max
    if low is None or high is None:
        return ABSENT
    return f"{high:.0f} MHz" if low == high else f"{low:.0f} to {high:.0f} MHz"


def _others(board: Telemetry) -> str:
    parts = []
    if board.other_cpu_share is not None:
        parts.append(f"{percent(board.other_cpu_share, 0)} of a core")
    if board.steal_share is not None:
        parts.append(f"{percent(board.steal_share, 0)} stolen")
    if board.swapped_pages:
        parts.append(f"{board.swapped_pages} pages swapped")
    return ", ".join(parts) or ABSENT


def _fact(key: str, value: Any) -> str | None:
    if value is None or value in ("", [], {}):
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and key.endswith("_bytes"):
        return size(float(value))
    if number and key.endswith("_mhz"):
        return f"{float(value):.0f} MHz"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return json.dumps(value, default=str, sort_keys=True, ensure_ascii=False)
