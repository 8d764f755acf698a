"""What a board's stages and telemetry say of a case, in a record's words. Absent stays None."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from device_agents.protocol import CooledDown, SamplesTaken, StageReached, TelemetrySample
from reports import record as kept

Number = TypeVar("Number", int, float)

#: Raspberry Pi's get_throttled: what has occurred since boot (raspberrypi/documentation, get_throttled).
_UNDER_VOLTAGE_SINCE_BOOT = 1 << 16
_SLOWED_SINCE_BOOT = (1 << 17) | (1 << 18) | (1 << 19)

#: Fewer readings of power than this while the loops ran give no mean.
MIN_POWER_SAMPLES = 3

#: A share of a shorter time than this is none.
MIN_LOOP_S = 1e-6


def memory_of(
    reached_stages: Sequence[StageReached], samples: Sequence[SamplesTaken] = ()
) -> kept.Memory | None:
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
        gpu_bytes=_highest(taken.gpu_bytes for taken in samples),
        stages=tuple(
            kept.MemoryStage(reached.stage, reached.rss_bytes, reached.peak_rss_bytes, reached.pss_bytes)
            for reached in stages
        ),
    )


def telemetry_of(
    telemetry: Sequence[TelemetrySample],
    samples: Sequence[SamplesTaken],
    cooling: Sequence[CooledDown] = (),
) -> kept.Telemetry | None:
    """The board before, worst while running, and after; shares are of one processor core."""
    if not telemetry:
        return None
    running = [s for s in telemetry if s.phase == "running"]
    clocks = _known(s.cpu_mhz for s in running)
    gpu_clocks = _known(s.gpu_mhz for s in running)
    memory_clocks = _known(s.memory_mhz for s in running)
    before = next((s for s in telemetry if s.phase == "before"), None)
    return kept.Telemetry(
        temperature_before_c=before.temperature_c if before else None,
        temperature_max_c=_highest(s.temperature_c for s in telemetry),
        temperature_after_c=telemetry[-1].temperature_c,
        cpu_mhz_min=min(clocks, default=None),
        cpu_mhz_max=max(clocks, default=None),
        throttled=_throttled(telemetry),
        under_voltage=_under_voltage(telemetry),
        other_cpu_share=_highest(_share(s.other_cpu_s, s) for s in samples),
        steal_share=_highest(_share(s.steal_s, s) for s in samples),
        swapped_pages=_growth([s.swapped_pages for s in telemetry]),
        samples=len(telemetry),
        gpu_mhz_min=min(gpu_clocks, default=None),
        gpu_mhz_max=max(gpu_clocks, default=None),
        gpu_temperature_max_c=_highest(s.gpu_temperature_c for s in telemetry),
        memory_mhz_min=min(memory_clocks, default=None),
        memory_mhz_max=max(memory_clocks, default=None),
        power_modes=tuple(dict.fromkeys(s.power_mode for s in telemetry if s.power_mode)),
        rails_w=_mean_rails(_in_loops(telemetry, samples)),
        cooled_s=sum(cooled.seconds for cooled in cooling) if cooling else None,
    )


def energy_of(
    telemetry: Sequence[TelemetrySample], samples: Sequence[SamplesTaken], mean_latency_ms: float
) -> kept.Energy | None:
    """Mean power of the board's own rail while the timed loops ran, times an iteration's mean latency.

    It is the whole board's energy, idle share included: what a battery has to give for one inference.
    """
    measured = [s for s in _in_loops(telemetry, samples) if s.power_w is not None and s.power_rail]
    rails = {s.power_rail for s in measured}
    if len(measured) < MIN_POWER_SAMPLES or len(rails) != 1:
        return None
    watts = sum(s.power_w or 0.0 for s in measured) / len(measured)
    return kept.Energy(watts * mean_latency_ms / 1e3, watts, str(rails.pop()))


def _in_loops(telemetry: Sequence[TelemetrySample], samples: Sequence[SamplesTaken]) -> list[TelemetrySample]:
    """Samples taken while a timed loop ran: power during loading or proving is not the inference's."""
    loops = [(s.began_s, s.ended_s) for s in samples if s.began_s is not None and s.ended_s is not None]
    return [
        sample
        for sample in telemetry
        if sample.monotonic_s is not None
        and any(began <= sample.monotonic_s <= ended for began, ended in loops)
    ]


def _mean_rails(samples: Sequence[TelemetrySample]) -> dict[str, float]:
    if len(samples) < MIN_POWER_SAMPLES:
        return {}
    names = dict.fromkeys(name for sample in samples for name in sample.rails_w)
    found = {name: [s.rails_w[name] for s in samples if name in s.rails_w] for name in names}
    return {name: sum(watts) / len(watts) for name, watts in found.items()}


def _share(seconds: float | None, taken: SamplesTaken) -> float | None:
    total_s = taken.warmup_s + taken.loop_s
    return seconds / total_s if seconds is not None and total_s >= MIN_LOOP_S else None


def _throttled(samples: Sequence[TelemetrySample]) -> bool | None:
    counted = _growth([sample.throttle_count for sample in samples])
    seen = _any_true(sample.throttled for sample in samples)
    new_flags = _new_flags(samples)
    if counted is None and seen is None and new_flags is None:
        return None
    return bool(counted) or bool(seen) or bool((new_flags or 0) & _SLOWED_SINCE_BOOT)


def _under_voltage(samples: Sequence[TelemetrySample]) -> bool | None:
    seen = _any_true(sample.under_voltage for sample in samples)
    new_flags = _new_flags(samples)
    if seen is None and new_flags is None:
        return None
    return bool(seen) or bool((new_flags or 0) & _UNDER_VOLTAGE_SINCE_BOOT)


def _new_flags(samples: Sequence[TelemetrySample]) -> int | None:
    """Bits that were set between the first reading and the last: the sticky ones show what no sample saw."""
    flags = _known(sample.throttle_flags for sample in samples)
    if len(flags) < 2:
        return None
    return flags[-1] & ~flags[0]


def _growth(counts: Sequence[int | None]) -> int | None:
    known = _known(counts)
    return known[-1] - known[0] if known else None


def _any_true(flags: Iterable[bool | None]) -> bool | None:
    known = [flag for flag in flags if flag is not None]
    return any(known) if known else None


def _known(values: Iterable[Number | None]) -> list[Number]:
    return [value for value in values if value is not None]


def _highest(values: Iterable[Number | None]) -> Number | None:
    return max((value for value in values if value is not None), default=None)
