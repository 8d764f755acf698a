"""What a board's stages and telemetry say of a case, in a record's words. Absent stays None."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from device_agents.protocol import SamplesTaken, StageReached, TelemetrySample
from reports import record as kept

Number = TypeVar("Number", int, float)


def memory_of(reached_stages: Sequence[StageReached]) -> kept.Memory | None:
    """Stages of the repetition with the highest peak: the one that a board has to have room for."""
    if not reached_stages:
        return None
    repetition = max(reached_stages, key=lambda reached: reached.peak_rss_bytes or 0).repetition
    stages = [reached for reached in reached_stages if reached.repetition == repetition]
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


def telemetry_of(
    telemetry: Sequence[TelemetrySample], samples: Sequence[SamplesTaken]
) -> kept.Telemetry | None:
    """The board before, worst while running, and after; shares are of one processor core."""
    if not telemetry:
        return None
    clocks = [s.cpu_mhz for s in telemetry if s.cpu_mhz is not None and s.phase == "running"]
    before = next((s for s in telemetry if s.phase == "before"), None)
    return kept.Telemetry(
        temperature_before_c=before.temperature_c if before else None,
        temperature_max_c=_highest(s.temperature_c for s in telemetry),
        temperature_after_c=telemetry[-1].temperature_c,
        cpu_mhz_min=min(clocks, default=None),
        cpu_mhz_max=max(clocks, default=None),
        throttled=_throttled(telemetry),
        under_voltage=_any_true(s.under_voltage for s in telemetry),
        other_cpu_share=_highest(_share(s.other_cpu_s, s) for s in samples),
        steal_share=_highest(_share(s.steal_s, s) for s in samples),
        swapped_pages=_growth([s.swapped_pages for s in telemetry]),
        samples=len(telemetry),
    )


def _share(seconds: float | None, taken: SamplesTaken) -> float | None:
    total_s = taken.warmup_s + taken.loop_s
    return seconds / total_s if seconds is not None and total_s > 0 else None


def _throttled(samples: Sequence[TelemetrySample]) -> bool | None:
    counted = _growth([sample.throttle_count for sample in samples])
    seen = _any_true(sample.throttled for sample in samples)
    if counted is None:
        return seen
    return counted > 0 or bool(seen)


def _growth(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return known[-1] - known[0] if known else None


def _any_true(flags: Iterable[bool | None]) -> bool | None:
    known = [flag for flag in flags if flag is not None]
    return any(known) if known else None


def _highest(values: Iterable[Number | None]) -> Number | None:
    return max((value for value in values if value is not None), default=None)
