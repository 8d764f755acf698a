"""What to pick for a model on a device, and how sure that is: the decision behind the summary sentence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from reports.intervals import Interval, difference_interval, excludes, ratio_interval
from reports.record import Accuracy, Record, Results
from reports.tradeoff import groups, is_ranked

BASELINE_PRECISION = "fp32"


@dataclass(frozen=True)
class Comparison:
    """A case against the baseline.

    `speedup` is baseline median / case median with its interval; `faster` is None when the interval holds 1.
    `accuracy` is one of better, worse (beyond chance), same (within chance), unknown (not both measured).
    """

    record: Record
    speedup: float
    speedup_ci95: Interval
    faster: bool | None
    accuracy: str


@dataclass(frozen=True)
class Headline:
    """The pick for one model on one device at its smallest batch size.

    `ranked` are the usable cases, fastest first; `pick` is the fastest valid one that is not demonstrably
    less accurate than the baseline; `doubtful` says that only suspect cases were left to pick from.
    `baseline` is fp32 as the pick runs it: same runtime and threads where measured, else the fastest fp32.
    `tempting` is the fastest case that was passed over, for its accuracy or its doubts; `rival` the fastest
    other precision when the pick is fp32 itself; `best_fp32` an fp32 clearly faster than the baseline.
    """

    model: str
    device: str
    batch_size: int | None
    ranked: tuple[Record, ...]
    pick: Record | None
    doubtful: bool
    baseline: Record | None
    against_baseline: Comparison | None
    tempting: Comparison | None
    rival: Comparison | None
    best_fp32: Record | None
    batch_sizes: int
    others: Counter[str]


def headlines(results: Results) -> tuple[Headline, ...]:
    """One headline per (model, device), in the order of the records."""
    return tuple(_headline(key, members) for key, members in groups(results.records).items())


def compare(record: Record, baseline: Record) -> Comparison:
    """`record` against `baseline`, both measured."""
    new, old = record.latency_ms, baseline.latency_ms
    assert new is not None
    assert old is not None
    speedup, interval = _ratio(old.p50, old.p50_ci95, new.p50, new.p50_ci95)
    faster = interval[0] > 1.0 if excludes(interval, 1.0) else None
    return Comparison(record, speedup, interval, faster, compare_accuracy(record.accuracy, baseline.accuracy))


def compare_accuracy(new: Accuracy | None, old: Accuracy | None) -> str:
    """better, worse, same or unknown; a difference counts only when its 95 % interval rules out none."""
    if new is None or old is None or new.metric != old.metric or new.ci95 is None or old.ci95 is None:
        return "unknown"
    interval = difference_interval(new.value, new.ci95, old.value, old.ci95)
    if not excludes(interval, 0.0):
        return "same"
    return "better" if interval[0] > 0.0 else "worse"


def _headline(key: tuple[str, str], members: tuple[Record, ...]) -> Headline:
    usable = sorted((record for record in members if is_ranked(record)), key=_latency)
    others = Counter(_why_not(record) for record in members if not is_ranked(record))
    if not usable:
        return Headline(*key, None, (), None, False, None, None, None, None, None, 0, others)
    batch_size = min(record.case.batch_size for record in usable)
    ranked = tuple(record for record in usable if record.case.batch_size == batch_size)
    valid = [record for record in ranked if record.verdict == "valid"]
    candidates = valid or list(ranked)
    pick = _fastest_accurate(candidates)
    baseline = _baseline(pick, candidates) or _baseline(pick, list(ranked))
    tempting = ranked[0] if ranked[0] is not pick else None
    return Headline(
        *key,
        batch_size=batch_size,
        ranked=ranked,
        pick=pick,
        doubtful=not valid,
        baseline=baseline,
        against_baseline=compare(pick, baseline) if baseline and baseline is not pick else None,
        tempting=compare(tempting, pick) if tempting else None,
        rival=_rival(pick, ranked),
        best_fp32=_better_fp32(baseline, ranked),
        batch_sizes=len({record.case.batch_size for record in usable}),
        others=others,
    )


def _fastest_accurate(candidates: list[Record]) -> Record:
    """The fastest that is not demonstrably less accurate than fp32; the fastest of all without an fp32."""
    references = [record for record in candidates if record.case.precision == BASELINE_PRECISION]
    if not references:
        return candidates[0]
    reference = references[0]
    for record in candidates:
        if compare_accuracy(record.accuracy, reference.accuracy) != "worse":
            return record
    return reference


def _baseline(pick: Record, candidates: list[Record]) -> Record | None:
    fp32 = [record for record in candidates if record.case.precision == BASELINE_PRECISION]
    alike = [
        record
        for record in fp32
        if (record.case.runtime, record.case.num_threads) == (pick.case.runtime, pick.case.num_threads)
    ]
    return next(iter(alike or fp32), None)


def _rival(pick: Record, ranked: tuple[Record, ...]) -> Comparison | None:
    """The fastest other precision against a pick that is fp32; None when it is not, or was passed over."""
    if pick.case.precision != BASELINE_PRECISION:
        return None
    slower = ranked[[record is pick for record in ranked].index(True) + 1 :]
    for record in slower:
        if record.case.precision != BASELINE_PRECISION:
            return compare(record, pick)
    return None


def _better_fp32(baseline: Record | None, ranked: tuple[Record, ...]) -> Record | None:
    """An fp32 on another runtime that beats the baseline: leaving it out would flatter the pick."""
    fp32 = [record for record in ranked if record.case.precision == BASELINE_PRECISION]
    if baseline is None or fp32[0] is baseline or not compare(fp32[0], baseline).faster:
        return None
    return fp32[0]


def _why_not(record: Record) -> str:
    return record.status if record.status != "ok" else "invalid"


def _latency(record: Record) -> float:
    assert record.latency_ms is not None
    return record.latency_ms.p50


def _ratio(a: float, a_ci: Interval, b: float, b_ci: Interval) -> tuple[float, Interval]:
    """The quotient a / b with its interval; an interval that reaches 0 says nothing."""
    if min(a, b, a_ci[0], b_ci[0]) <= 0.0:
        return 1.0, (0.0, float("inf"))
    return a / b, ratio_interval(a, a_ci, b, b_ci)
