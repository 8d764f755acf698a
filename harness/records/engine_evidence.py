"""What a board said of its engine, its performance mode and its vendor's tool, in a record's words."""

from __future__ import annotations

from collections.abc import Sequence

from device_agents.protocol import (
    BuildAttemptFailed,
    EngineBuilt,
    PerformanceModeRestored,
    PerformanceModeSet,
    ToolTiming,
)
from reports import record as kept
from reports.units import size


def engine_of(built: EngineBuilt | None, failed: Sequence[BuildAttemptFailed]) -> kept.Engine | None:
    """The engine and the tries before it; None where none was built."""
    if built is None:
        return None
    return kept.Engine(
        reused=built.reused,
        bytes=built.bytes,
        workspace_bytes=built.workspace_bytes,
        peak_rss_bytes=built.peak_rss_bytes,
        layer_precisions=dict(built.layer_precisions),
        skipped_tactics=built.skipped_tactics,
        details=dict(built.details),
        warnings=tuple(built.warnings),
        failed_attempts=tuple(_attempt(attempt) for attempt in failed),
    )


def cross_check_of(timing: ToolTiming | None) -> kept.CrossCheck | None:
    """The tool's figures; without iterations it has none, only its reasons."""
    if timing is None:
        return None
    told = timing.iterations > 0
    return kept.CrossCheck(
        tool=timing.tool,
        version=timing.version,
        command=timing.command,
        iterations=timing.iterations,
        latency_p50_ms=timing.latency_p50_ms if told else None,
        compute_p50_ms=timing.compute_p50_ms if told else None,
        warnings=tuple(timing.warnings),
    )


def performance_mode_of(
    entered: PerformanceModeSet | None, left: PerformanceModeRestored | None
) -> kept.PerformanceMode | None:
    """The mode of a job; None where it asked for none."""
    if entered is None:
        return None
    return kept.PerformanceMode(
        mode=entered.mode,
        reached=entered.reached,
        before=dict(entered.before),
        after=dict(entered.after),
        restored=left.restored if left else None,
        problems=(*entered.problems, *(left.problems if left else ())),
    )


def _attempt(attempt: BuildAttemptFailed) -> str:
    room = f"with {size(attempt.workspace_bytes)} of workspace: " if attempt.workspace_bytes else ""
    return f"{room}{attempt.reason}: {attempt.message}"
