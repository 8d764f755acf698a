"""May a case's figures be believed? Evidence in, verdict and doubts out; every bound is a named constant.

invalid  the figure is wrong or belongs to a disturbed board: never ranked, never a baseline
suspect  the figure may be right, but something speaks against it
valid    nothing found against it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.record import CrossCheck, Doubt, Engine, PerformanceMode, Telemetry
from reports.series_doubts import series_doubts
from reports.units import percent

#: Every reason there is, and what it means, in the words of the report.
REASONS: dict[str, str] = {
    "wrong_output": "the outputs do not agree with the fp32 reference",
    "unchecked_output": "there was no reference to compare the outputs with",
    "throttled": "the board slowed itself down (heat or power)",
    "under_voltage": "the supply voltage dropped too low",
    "too_few_samples": "too few iterations to know the median to ±5 %",
    "drift": "latency rose or fell by over 5 % while it ran",
    "bimodal": "two speeds over 15 % apart within one process",
    "slow_outliers": "over 1 % of the iterations took twice the median, or outliers over 5 % of the time",
    "repetitions_disagree": "medians of fresh processes differ by over 5 %",
    "busy_board": "other programs or a hypervisor used the processor meanwhile",
    "clock_changed": "the processor clock changed by over 5 %",
    "too_hot_at_start": "the board had not cooled down before the start",
    "swapped": "memory was swapped while it ran",
    "power_mode_changed": "the board's power mode changed while it ran",
    "performance_mode_not_reached": "clocks could not be raised and held as asked for",
    "precision_not_executed": "no layer ran at the precision that was asked for",
    "tool_disagrees": "the vendor's own tool measured another time on the same engine",
    "emulated": "an emulated or virtual board: its times are not the real board's",
}

#: CPU time other programs may use, in cores: a tenth delays one iteration in ten by a scheduling slice.
MAX_OTHER_CPU = 0.10

#: CPU time a hypervisor may take, in cores. Half of that of others: stolen time hits the measured core.
MAX_STEAL = 0.05

#: The lowest clock during the run over the highest. Latency follows the clock, so 5 % like MIN_EFFECT.
MIN_CLOCK_SHARE = 0.95

#: Governors that hold one clock; under these any change is someone else's doing. Under the others (ondemand,
#: schedutil, intel_pstate's powersave, ...) idle moments between the loops lower the clock by design, so a
#: range alone says nothing and counts only when the latencies moved with it.
FIXED_GOVERNORS = frozenset({"performance", "userspace"})
SIGNS_OF_CLOCK = frozenset({"drift", "bimodal", "repetitions_disagree"})

#: Degrees Celsius; the lowest temperature at which a supported board slows down (Pi 3B+ `temp_soft_limit`).
TOO_HOT_C = 60.0

#: The vendor's tool and ours time the same engine; two runs of one tool differ by up to this.
MAX_TOOL_DIFFERENCE = 0.10

#: Below this the launch of the first kernel, which tools count differently, is a large part of the whole.
MIN_TOOL_COMPUTE_MS = 0.2

#: Pages swapped in or out while measuring: 1 MiB of 4 KiB pages. A few idle pages of others do not matter.
MAX_SWAPPED_PAGES = 256


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is known about how a case was measured.

    `latency_ns` holds one array per repetition; `fault` is the fidelity check's sentence (None: passed, or
    not checkable); `checked` is False when no reference existed; `stopped_by` has one word per repetition;
    `too_hot_c` is the board's own bound for a cool start, None for the general one.
    """

    latency_ns: tuple[NDArray[np.int64], ...]
    fault: str | None
    checked: bool
    telemetry: Telemetry | None
    stopped_by: tuple[str, ...]
    governor: str | None
    emulated: bool = False
    too_hot_c: float | None = None
    #: The case's precision and what its engine made of it.
    precision: str | None = None
    engine: Engine | None = None
    performance_mode: PerformanceMode | None = None
    #: Median compute of the case, to be compared with the vendor's tool's.
    compute_p50_ms: float | None = None
    cross_check: CrossCheck | None = None


def judge(evidence: Evidence) -> tuple[str, tuple[Doubt, ...]]:
    """The verdict (valid, suspect, invalid) and every doubt, the grave ones first."""
    of_series = series_doubts(evidence.latency_ns, evidence.stopped_by)
    found = [*_output_doubts(evidence), *_engine_doubts(evidence), *of_series]
    if evidence.telemetry is not None:
        signs = sorted({doubt.reason for doubt in of_series} & SIGNS_OF_CLOCK)
        found += _board_doubts(evidence.telemetry, evidence.too_hot_c or TOO_HOT_C)
        found += _clock_doubts(evidence.telemetry, evidence.governor, signs)
        found += _accelerator_doubts(evidence.telemetry, evidence.performance_mode)
    found += _mode_doubts(evidence.performance_mode)
    if evidence.emulated:
        found.append(Doubt("emulated", "the board is emulated; its times say nothing about the real one"))
    found.sort(key=lambda doubt: doubt.severity != "invalid")
    if not found:
        return "valid", ()
    return found[0].severity, tuple(found)


def _output_doubts(evidence: Evidence) -> Iterator[Doubt]:
    if evidence.fault is not None:
        yield Doubt("wrong_output", evidence.fault, "invalid")
    elif not evidence.checked:
        yield Doubt("unchecked_output", "no fp32 reference was there to compare the outputs with")


def _engine_doubts(evidence: Evidence) -> Iterator[Doubt]:
    engine, precision = evidence.engine, evidence.precision
    if engine is not None and precision in ("fp16", "int8") and engine.layer_precisions:
        layers = ", ".join(f"{count} at {name}" for name, count in engine.layer_precisions.items())
        if not engine.layer_precisions.get(precision):
            yield Doubt("precision_not_executed", f"no layer runs at {precision}: {layers}", "invalid")
    check, compute = evidence.cross_check, evidence.compute_p50_ms
    if check is None or check.compute_p50_ms is None or compute is None or compute <= 0:
        return
    apart = check.compute_p50_ms / compute - 1
    if max(compute, check.compute_p50_ms) >= MIN_TOOL_COMPUTE_MS and abs(apart) > MAX_TOOL_DIFFERENCE:
        yield Doubt(
            "tool_disagrees",
            f"{check.tool} measured a median compute of {check.compute_p50_ms:.3g} ms, "
            f"{percent(abs(apart), 0)} {'more' if apart > 0 else 'less'} than here ({compute:.3g} ms)",
        )


def _mode_doubts(mode: PerformanceMode | None) -> Iterator[Doubt]:
    if mode is not None and not mode.reached:
        why = mode.problems[0] if mode.problems else "the board gives no reason"
        yield Doubt("performance_mode_not_reached", f"performance mode {mode.mode} was not reached: {why}")


def _accelerator_doubts(board: Telemetry, mode: PerformanceMode | None) -> Iterator[Doubt]:
    if len(board.power_modes) > 1:
        yield Doubt(
            "power_mode_changed", f"the power mode changed: {' -> '.join(board.power_modes)}", "invalid"
        )
    slowest, fastest = board.gpu_mhz_min, board.gpu_mhz_max
    held = mode is not None and mode.reached
    if held and slowest is not None and fastest is not None and slowest < MIN_CLOCK_SHARE * fastest:
        yield Doubt(
            "clock_changed",
            f"the GPU clock ranged from {slowest:.0f} to {fastest:.0f} MHz although it should be held",
        )


def _board_doubts(board: Telemetry, too_hot_c: float) -> Iterator[Doubt]:
    if board.throttled:
        hottest = "" if board.temperature_max_c is None else f", at up to {board.temperature_max_c:.0f} °C"
        yield Doubt("throttled", f"the board throttled itself while measuring{hottest}", "invalid")
    if board.under_voltage:
        yield Doubt("under_voltage", "the board reported under-voltage; check supply and cable", "invalid")
    if board.temperature_before_c is not None and board.temperature_before_c > too_hot_c:
        yield Doubt(
            "too_hot_at_start",
            f"the board started at {board.temperature_before_c:.0f} °C, above {too_hot_c:.0f} °C",
        )
    if board.other_cpu_share is not None and board.other_cpu_share > MAX_OTHER_CPU:
        yield Doubt(
            "busy_board",
            f"other programs used {percent(board.other_cpu_share, 0)} of a core, "
            f"more than {percent(MAX_OTHER_CPU, 0)}",
        )
    if board.steal_share is not None and board.steal_share > MAX_STEAL:
        yield Doubt(
            "busy_board",
            f"the hypervisor took {percent(board.steal_share, 0)} of a core away, "
            f"more than {percent(MAX_STEAL, 0)}",
        )
    if board.swapped_pages is not None and board.swapped_pages > MAX_SWAPPED_PAGES:
        yield Doubt("swapped", f"{board.swapped_pages} pages of memory were swapped while measuring")


def _clock_doubts(board: Telemetry, governor: str | None, signs: list[str]) -> Iterator[Doubt]:
    slowest, fastest = board.cpu_mhz_min, board.cpu_mhz_max
    if slowest is None or fastest is None or slowest >= MIN_CLOCK_SHARE * fastest:
        return
    ranged = f"the CPU clock ranged from {slowest:.0f} to {fastest:.0f} MHz"
    if governor in FIXED_GOVERNORS:
        yield Doubt("clock_changed", f"{ranged} although the governor '{governor}' should hold it")
    elif signs:
        under = f"under the governor '{governor}'" if governor else "under an unknown governor"
        yield Doubt("clock_changed", f"{ranged} {under}, and the latencies moved ({', '.join(signs)})")
