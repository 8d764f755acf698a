"""The results as a table file: one row a record, flat columns with their units."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.files import write_atomically
from reports.plain_text import plain
from reports.record import Record, Results, Summary

#: A spreadsheet runs a cell that starts with one of these (OWASP, "CSV Injection"); tab and carriage return,
#: also listed there, are gone by then.
_FORMULA_STARTS = ("=", "+", "-", "@")

_PERCENTILES = ("p90", "p95", "p99")


def write_csv(results: Results, path: Path) -> None:
    """Write the results to `path`, atomically; raises OSError when it cannot.

    Absent figures are empty cells. Text is made one plain line, and given a leading ' where a spreadsheet
    would take it for a formula.
    """
    import pandas as pd  # takes 0.2 s and only exports need it

    rows = [_row(results, record) for record in results.records]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    frame = pd.DataFrame(rows, columns=columns or list(_identity_columns()), dtype=object)
    write_atomically(path, frame.to_csv(index=False, lineterminator="\n"))


def safe_cell(value: object) -> object:
    """A value as a spreadsheet may hold it: numbers as they are, text in one line and never a formula."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = plain(value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True))
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _row(results: Results, record: Record) -> dict[str, object]:
    row = {
        **_identity(results, record),
        **_summary("latency", record.latency_ms),
        **_summary("compute", record.compute_ms),
        "import_ms": record.import_ms,
        "load_ms": record.load_ms,
        "build_s": record.build_s,
        "first_inference_ms": record.first_inference_ms,
        "throughput_per_s": record.throughput_per_s,
        **_quality(record),
        **_resources(record),
        **_facts(record.facts),
    }
    return {column: safe_cell(value) for column, value in row.items()}


def _identity_columns() -> tuple[str, ...]:
    return ("run_id", "device", "model", "runtime", "precision", "batch_size", "num_threads", "status")


def _identity(results: Results, record: Record) -> dict[str, object]:
    case, failure = record.case, record.failure
    return {
        "run_id": results.run.id,
        "device": case.device,
        "model": case.model,
        "runtime": case.runtime,
        "precision": case.precision,
        "batch_size": case.batch_size,
        "num_threads": case.num_threads,
        "status": record.status,
        "verdict": record.verdict,
        "reasons": "; ".join(record.reasons),
        "failure_class": failure and failure.class_,
        "failure_reason": failure and failure.reason,
        "failure_message": failure and failure.message,
        "failure_remedy": failure and failure.remedy,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    }


def _summary(series: str, summary: Summary | None) -> dict[str, object]:
    columns: dict[str, object] = {f"{series}_count": summary and summary.count}
    for figure in ("mean", "stdev", "min", "p50", *_PERCENTILES, "max"):
        columns[f"{series}_{figure}_ms"] = getattr(summary, figure, None)
    for figure in ("p50", *_PERCENTILES):
        low, high = getattr(summary, f"{figure}_ci95", None) or (None, None)
        columns[f"{series}_{figure}_ci95_low_ms"] = low
        columns[f"{series}_{figure}_ci95_high_ms"] = high
    return columns


def _quality(record: Record) -> dict[str, object]:
    accuracy, fidelity = record.accuracy, record.fidelity
    low, high = (accuracy.ci95 if accuracy else None) or (None, None)
    return {
        "accuracy_metric": accuracy and accuracy.metric,
        "accuracy": accuracy and accuracy.value,
        "accuracy_n": accuracy and accuracy.n,
        "accuracy_ci95_low": low,
        "accuracy_ci95_high": high,
        "fidelity_cosine": fidelity and fidelity.cosine,
        "fidelity_max_abs_error": fidelity and fidelity.max_abs_error,
        "fidelity_argmax_agreement": fidelity and fidelity.argmax_agreement,
        "fidelity_n": fidelity and fidelity.n,
    }


def _resources(record: Record) -> dict[str, object]:
    memory, artifact, board, energy = record.memory, record.artifact, record.telemetry, record.energy
    engine, mode, check = record.engine, record.performance_mode, record.cross_check
    return {
        "peak_rss_bytes": memory and memory.peak_rss_bytes,
        "peak_pss_bytes": memory and memory.peak_pss_bytes,
        "model_bytes": memory and memory.model_bytes,
        "gpu_bytes": memory and memory.gpu_bytes,
        "energy_joules_per_inference": energy and energy.joules_per_inference,
        "energy_mean_power_w": energy and energy.mean_power_w,
        "energy_rail": energy and energy.rail,
        "artifact_sha256": artifact and artifact.sha256,
        "artifact_bytes": artifact and artifact.bytes,
        "artifact_converter": artifact and artifact.converter,
        "temperature_before_c": board and board.temperature_before_c,
        "temperature_max_c": board and board.temperature_max_c,
        "cpu_mhz_min": board and board.cpu_mhz_min,
        "cpu_mhz_max": board and board.cpu_mhz_max,
        "throttled": board and board.throttled,
        "under_voltage": board and board.under_voltage,
        "other_cpu_share": board and board.other_cpu_share,
        "steal_share": board and board.steal_share,
        "gpu_mhz_min": board and board.gpu_mhz_min,
        "gpu_mhz_max": board and board.gpu_mhz_max,
        "power_mode": board and (" -> ".join(board.power_modes) or None),
        "build_s": record.build_s,
        "engine_reused": engine and engine.reused,
        "engine_bytes": engine and engine.bytes,
        "engine_layers": engine
        and ("; ".join(f"{n} {p}" for p, n in engine.layer_precisions.items()) or None),
        "performance_mode": mode and mode.mode,
        "performance_mode_reached": mode and mode.reached,
        "tool_compute_p50_ms": check and check.compute_p50_ms,
        "remarks": "; ".join(record.remarks) or None,
        "repetitions": len(record.repetitions) or None,
        "attempts_before": len(record.attempts),
    }


def _facts(facts: Mapping[str, Any]) -> dict[str, object]:
    """The board's facts under names that are safe as column names."""
    return {f"fact_{re.sub('[^a-z0-9]+', '_', str(key).lower())[:40]}": facts[key] for key in sorted(facts)}
