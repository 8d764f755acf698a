"""What the page shows of engines built on boards, vendors' tools, power modes, and remarks."""

from __future__ import annotations

from dataclasses import dataclass

from reports.record import Case, CrossCheck, Engine, PerformanceMode, Record, Results
from reports.units import ABSENT, duration, percent, plural, seconds, size

#: Details of an engine that have a column, or are the case's own.
_SHOWN_ELSEWHERE = frozenset({"workspace_mib", "precision"})


@dataclass(frozen=True)
class EngineRow:
    """The engine of a case."""

    case: Case
    built: str
    size: str
    workspace: str
    layers: str
    tool: tuple[str, ...]
    details: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class PowerRow:
    """What was done to a board's clocks and power for a case, and what it drew."""

    case: Case
    mode: str
    changed: tuple[str, ...]
    problems: tuple[str, ...]
    gpu_clock: str
    memory_clock: str
    rails: tuple[str, ...]


@dataclass(frozen=True)
class RemarkRow:
    """What a reader should know of a case that is no doubt about it."""

    case: Case
    remarks: tuple[str, ...]


def engine_rows(results: Results) -> tuple[EngineRow, ...]:
    """One row per record with an engine."""
    return tuple(_engine(record, record.engine) for record in results.records if record.engine is not None)


def power_rows(results: Results) -> tuple[PowerRow, ...]:
    """One row per record of a board that has power modes, rails or a GPU clock to tell of."""
    rows = (_power(record) for record in results.records)
    return tuple(row for row in rows if row is not None)


def remark_rows(results: Results) -> tuple[RemarkRow, ...]:
    """One row per record with remarks."""
    return tuple(RemarkRow(record.case, record.remarks) for record in results.records if record.remarks)


def _engine(record: Record, engine: Engine) -> EngineRow:
    took = ABSENT if record.build_s is None else seconds(record.build_s)
    skipped = engine.skipped_tactics
    notes = [f"{plural(skipped, 'way')} to run a layer left out for lack of memory"] if skipped else []
    return EngineRow(
        case=record.case,
        built=f"{took}, earlier" if engine.reused else took,
        size=size(engine.bytes),
        workspace=ABSENT if engine.workspace_bytes is None else size(engine.workspace_bytes),
        layers=", ".join(f"{count} {name}" for name, count in engine.layer_precisions.items()) or ABSENT,
        tool=_tool(record.cross_check, record),
        details=tuple(
            f"{name.replace('_', ' ')}: {value}"
            for name, value in engine.details.items()
            if value and name not in _SHOWN_ELSEWHERE
        ),
        warnings=(*notes, *engine.failed_attempts, *engine.warnings),
    )


def _tool(check: CrossCheck | None, record: Record) -> tuple[str, ...]:
    if check is None:
        return (ABSENT,)
    if check.compute_p50_ms is None:
        return f"{check.tool}: no figure", *check.warnings[:1]
    own = record.compute_ms.p50 if record.compute_ms else None
    parts = [f"{check.tool} {check.version}", f"compute {duration(check.compute_p50_ms)}"]
    if own:
        apart = check.compute_p50_ms / own - 1
        parts.append(f"{percent(abs(apart), 0)} {'more' if apart > 0 else 'less'} than here")
    return tuple(parts)


def _power(record: Record) -> PowerRow | None:
    board, mode = record.telemetry, record.performance_mode
    gpu = memory = ABSENT
    rails: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    if board is not None:
        gpu = _clock(board.gpu_mhz_min, board.gpu_mhz_max)
        memory = _clock(board.memory_mhz_min, board.memory_mhz_max)
        rails = tuple(f"{name} {watts:.2f} W" for name, watts in board.rails_w.items())
        modes = board.power_modes
    if mode is None and not modes and not rails and gpu == ABSENT:
        return None
    return PowerRow(
        case=record.case,
        mode=_mode(mode, modes),
        changed=_changes(mode),
        problems=mode.problems if mode else (),
        gpu_clock=gpu,
        memory_clock=memory,
        rails=rails,
    )


def _mode(mode: PerformanceMode | None, seen: tuple[str, ...]) -> str:
    words = [" → ".join(seen)] if seen else []
    if mode is not None:
        words.append(f"performance mode {mode.mode}" + ("" if mode.reached else ", not reached"))
        words.append({True: "restored", False: "not restored", None: "end not heard of"}[mode.restored])
    return "; ".join(words) or "as found"


def _changes(mode: PerformanceMode | None) -> tuple[str, ...]:
    if mode is None:
        return ()
    return tuple(
        f"{name}: {mode.before.get(name, ABSENT)} → {value}"
        for name, value in mode.after.items()
        if mode.before.get(name) != value
    )


def _clock(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ABSENT
    return f"{high:.0f} MHz" if low == high else f"{low:.0f} to {high:.0f} MHz"
