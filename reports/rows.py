"""The results as rows of text cells, which the terminal table and the HTML report share."""

from __future__ import annotations

from dataclasses import dataclass

from reports.order_statistics import minimum_count
from reports.plain_text import plain
from reports.record import Accuracy, Record, Results, Summary
from reports.tradeoff import NULL_RUNTIME
from reports.units import ABSENT, percent, significant, size


@dataclass(frozen=True)
class Cell:
    """One figure: its text, the number to sort by (None: none), and why it is missing or what it means."""

    text: str
    value: float | None = None
    why: str | None = None


@dataclass(frozen=True)
class Row:
    """One record. `index` is its place in the results; times are in milliseconds.

    `interval` is the half width of the median's 95 % interval as ± percent; `note` is the failure in words
    for a case without figures. `is_overhead` marks the null runtime, which takes part in no ranking.
    """

    index: int
    device: str
    model: str
    runtime: str
    precision: str
    batch_size: int
    num_threads: int
    status: str
    latency: Cell
    interval: Cell
    p90: Cell
    p99: Cell
    compute: Cell
    memory: Cell
    size: Cell
    accuracy: Cell
    accuracy_n: Cell
    verdict: str | None
    reasons: tuple[str, ...]
    note: str | None
    is_overhead: bool


def table_rows(results: Results) -> tuple[Row, ...]:
    """One row per record, failures included, in the order of the records."""
    return tuple(_row(index, record) for index, record in enumerate(results.records))


def milliseconds(value: float | None) -> str:
    """A time for a column headed ms: three significant digits, two below a microsecond."""
    if value is None:
        return ABSENT
    return significant(value, 2 if value < 1e-3 else 3)


def withheld(summary: Summary, q: float) -> str:
    """Why a percentile is not shown."""
    needed = minimum_count(q)
    return f"withheld: {summary.count} iterations cannot bound it at 99 % confidence, {needed} are needed"


def half_width(summary: Summary) -> float | None:
    """The larger distance of the interval's ends from the median, as a share of it."""
    if summary.p50 <= 0.0:
        return None
    low, high = summary.p50_ci95
    return max(summary.p50 - low, high - summary.p50) / summary.p50


def _row(index: int, record: Record) -> Row:
    case, latency = record.case, record.latency_ms
    return Row(
        index=index,
        device=plain(case.device),
        model=plain(case.model),
        runtime=plain(case.runtime),
        precision=plain(case.precision),
        batch_size=case.batch_size,
        num_threads=case.num_threads,
        status=record.status,
        latency=_absent(record) if latency is None else Cell(milliseconds(latency.p50), latency.p50),
        interval=_interval(record),
        p90=_percentile(record, 0.90),
        p99=_percentile(record, 0.99),
        compute=_compute(record),
        memory=_memory(record),
        size=_absent(record)
        if record.artifact is None
        else Cell(size(record.artifact.bytes), float(record.artifact.bytes)),
        accuracy=_accuracy(record),
        accuracy_n=_accuracy_n(record),
        verdict=record.verdict,
        reasons=tuple(plain(reason) for reason in record.reasons or _doubted(record)),
        note=None if record.failure is None else plain(record.failure.message),
        is_overhead=case.runtime == NULL_RUNTIME,
    )


def _doubted(record: Record) -> tuple[str, ...]:
    """Reasons in order, each once: two doubts may share one."""
    return tuple(dict.fromkeys(doubt.reason for doubt in record.doubts))


def _absent(record: Record, why: str = "not recorded") -> Cell:
    return Cell(ABSENT, None, why if record.status == "ok" else record.status)


def _interval(record: Record) -> Cell:
    if record.latency_ms is None:
        return _absent(record)
    share = half_width(record.latency_ms)
    if share is None:
        return _absent(record, "the median is 0")
    low, high = record.latency_ms.p50_ci95
    why = f"95 % interval of the median: {milliseconds(low)} to {milliseconds(high)} ms"
    return Cell(f"±{percent(share, 0 if share >= 0.0995 else 1)}", share, why)


def _percentile(record: Record, q: float) -> Cell:
    summary = record.latency_ms
    if summary is None:
        return _absent(record)
    value, interval = (summary.p90, summary.p90_ci95) if q == 0.90 else (summary.p99, summary.p99_ci95)
    if value is None:
        return Cell(ABSENT, None, withheld(summary, q))
    if interval is None:
        return Cell(milliseconds(value), value)
    why = f"95 % interval: {milliseconds(interval[0])} to {milliseconds(interval[1])} ms"
    return Cell(milliseconds(value), value, why)


def _compute(record: Record) -> Cell:
    if record.compute_ms is None:
        return _absent(record, "the runtime gives no time of its own")
    return Cell(milliseconds(record.compute_ms.p50), record.compute_ms.p50)


def _memory(record: Record) -> Cell:
    peak = None if record.memory is None else record.memory.peak_rss_bytes
    return _absent(record) if peak is None else Cell(size(peak), float(peak))


def _accuracy(record: Record) -> Cell:
    if record.accuracy is None:
        return _absent(record, "no labelled data were given")
    return Cell(percent(record.accuracy.value), record.accuracy.value, accuracy_detail(record.accuracy))


def _accuracy_n(record: Record) -> Cell:
    if record.accuracy is None:
        return _absent(record)
    return Cell(f"n = {record.accuracy.n}", float(record.accuracy.n), accuracy_detail(record.accuracy))


def accuracy_detail(accuracy: Accuracy) -> str:
    """Metric, sample size and interval: top1, n = 450, 95 % interval 98.4 to 99.9 %."""
    text = f"{plain(accuracy.metric)}, n = {accuracy.n}"
    if accuracy.ci95 is None:
        return text
    low, high = accuracy.ci95
    return f"{text}, 95 % interval {low * 100.0:.1f} to {percent(high)}"
