"""Which cases nothing else beats: the Pareto line of latency against accuracy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.intervals import Interval, difference_interval, excludes
from reports.record import Record

#: The runtime that computes nothing: it measures the harness itself and takes no part in any ranking.
NULL_RUNTIME = "null"


@dataclass(frozen=True)
class Point:
    """One case in the picture: median latency in ms and quality (0 to 1), each with its interval."""

    record: Record
    latency_ms: float
    latency_ci95: Interval
    quality: float
    quality_ci95: Interval | None
    #: Nothing comparable is both at least as fast and at least as good.
    on_line: bool


@dataclass(frozen=True)
class Tradeoff:
    """The cases of one model on one device at one batch size, fastest first.

    `quality` says what the second axis is: the metric's name, `argmax_agreement` or `cosine` with fp32.
    `resolved` is False when no two points differ in quality by more than their intervals allow, so that
    only the latencies tell them apart. `apart` are usable cases without that quality.
    """

    model: str
    device: str
    batch_size: int
    quality: str
    points: tuple[Point, ...]
    apart: tuple[Record, ...]
    resolved: bool

    @property
    def line(self) -> tuple[Point, ...]:
        """The points nothing beats, fastest first."""
        return tuple(point for point in self.points if point.on_line)


def is_ranked(record: Record) -> bool:
    """Whether a record may be compared at all: measured, not found invalid, and not the empty runtime."""
    return (
        record.status == "ok"
        and record.latency_ms is not None
        and record.verdict != "invalid"
        and record.case.runtime != NULL_RUNTIME
    )


def groups(records: Iterable[Record]) -> dict[tuple[str, str], tuple[Record, ...]]:
    """Records by (model, device), in order of first appearance, without those of the null runtime."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.case.runtime != NULL_RUNTIME:
            found.setdefault((record.case.model, record.case.device), []).append(record)
    return {key: tuple(members) for key, members in found.items()}


def pareto(records: Iterable[Record]) -> tuple[Tradeoff, ...]:
    """One picture per model, device and batch size that has a usable record."""
    pictures = []
    for (model, device), members in groups(records).items():
        usable = [record for record in members if is_ranked(record)]
        for batch_size in sorted({record.case.batch_size for record in usable}):
            same_batch = [record for record in usable if record.case.batch_size == batch_size]
            pictures.append(_tradeoff(model, device, batch_size, same_batch))
    return tuple(pictures)


def _tradeoff(model: str, device: str, batch_size: int, usable: list[Record]) -> Tradeoff:
    quality = _common_quality(usable)
    measured = [(record, found) for record in usable if (found := _quality(record, quality)) is not None]
    points = [_point(record, found, measured) for record, found in measured]
    points.sort(key=lambda point: point.latency_ms)
    apart = tuple(record for record in usable if _quality(record, quality) is None)
    return Tradeoff(model, device, batch_size, quality, tuple(points), apart, _resolved(points))


def _common_quality(usable: list[Record]) -> str:
    """The quality most cases have: a task metric (the first of equals), else agreement, else cosine."""
    metrics = [record.accuracy.metric for record in usable if record.accuracy is not None]
    if metrics:
        return max(dict.fromkeys(metrics), key=metrics.count)
    classify = any(record.fidelity and record.fidelity.argmax_agreement is not None for record in usable)
    return "argmax_agreement" if classify else "cosine"


def _quality(record: Record, quality: str) -> tuple[float, Interval | None] | None:
    if quality in ("argmax_agreement", "cosine"):
        value = getattr(record.fidelity, quality, None)
        return None if value is None else (float(value), None)
    if record.accuracy is None or record.accuracy.metric != quality:
        return None
    return record.accuracy.value, record.accuracy.ci95


def _point(
    record: Record,
    found: tuple[float, Interval | None],
    measured: list[tuple[Record, tuple[float, Interval | None]]],
) -> Point:
    latency = _latency(record)
    beaten = any(
        _latency(other) <= latency
        and other_found[0] >= found[0]
        and (_latency(other), other_found[0]) != (latency, found[0])
        for other, other_found in measured
    )
    assert record.latency_ms is not None
    return Point(record, latency, record.latency_ms.p50_ci95, found[0], found[1], not beaten)


def _latency(record: Record) -> float:
    assert record.latency_ms is not None
    return record.latency_ms.p50


def _resolved(points: list[Point]) -> bool:
    """Whether any two qualities differ by more than chance; without intervals nobody can say, so no."""
    known = [(point.quality, point.quality_ci95) for point in points if point.quality_ci95 is not None]
    return any(
        excludes(difference_interval(a, a_ci, b, b_ci), 0.0)
        for index, (a, a_ci) in enumerate(known)
        for b, b_ci in known[index + 1 :]
        if a_ci is not None and b_ci is not None
    )
