"""The results in sentences: one per model and device, each saying no more than the figures bear."""

from __future__ import annotations

from dataclasses import dataclass

from reports.headlines import Comparison, Headline, headlines
from reports.plain_text import plain
from reports.record import Accuracy, Record, Results
from reports.rows import Row, table_rows
from reports.tradeoff import NULL_RUNTIME
from reports.units import duration, factor, percent, plural, significant

__all__ = ["Row", "overhead_sentences", "summary_sentences", "table_rows"]


@dataclass(frozen=True)
class Statement:
    """A headline in words: the claim, the figures that continue its sentence, further sentences."""

    claim: str
    figures: str
    notes: tuple[str, ...]


def summary_sentences(results: Results) -> tuple[str, ...]:
    """One sentence (or a few) per model and device, in the order of the records.

    Never picks an invalid record, never ranks on accuracy differences within their intervals, and says when
    a latency difference is within the noise or rests on suspect measurements.
    """
    return tuple(
        f"{plain(headline.model)} on {plain(headline.device)}: {sentence(headline)}"
        for headline in headlines(results)
    )


def sentence(headline: Headline) -> str:
    """The headline in words, without the names of model and device."""
    said = statement(headline)
    return " ".join([said.claim + said.figures + ".", *said.notes])


def statement(headline: Headline) -> Statement:
    """The headline in words, taken apart: what to pick, its figures, and what else has to be known."""
    if headline.pick is None:
        return Statement(f"Nothing to recommend: {_left_out(headline)}", "", ())
    claim, figures = _pick(headline)
    notes = [*_other_fp32(headline), *_tempting(headline)]
    if headline.batch_sizes > 1:
        notes.append(f"Compared at batch size {headline.batch_size}.")
    if headline.doubtful:
        reasons = _reasons(headline.pick)
        notes.append(f"Every usable figure is suspect ({reasons}): measure again before deciding.")
    if headline.others:
        notes.append(f"Not ranked: {_left_out(headline)}.")
    return Statement(claim, figures, tuple(notes))


def overhead_sentences(results: Results) -> tuple[str, ...]:
    """What the harness itself adds to a latency, per device where the null runtime was measured."""
    return tuple(
        f"On {plain(record.case.device)} the harness itself adds {duration(record.latency_ms.p50)} to each "
        f"latency (median over {record.latency_ms.count} iterations of a runtime that computes nothing)."
        for record in results.records
        if record.case.runtime == NULL_RUNTIME and record.latency_ms is not None
    )


def name(record: Record, beside: Record | None = None) -> str:
    """A case in a sentence: 'int8 on onnxruntime', with threads where `beside` has another number."""
    case = record.case
    text = plain(f"{case.precision} on {case.runtime}")
    if beside is not None and beside.case.num_threads != case.num_threads:
        text += f" with {plural(case.num_threads, 'thread')}"
    return text


def accuracy_text(accuracy: Accuracy) -> str:
    """A metric's value for a sentence or a cell: 99.6 %."""
    return percent(accuracy.value)


def _pick(headline: Headline) -> tuple[str, str]:
    """What to take, and the figures that follow it in the same sentence."""
    pick, comparison = headline.pick, headline.against_baseline
    assert pick is not None
    assert pick.latency_ms is not None
    median = duration(pick.latency_ms.p50)
    if comparison is not None and headline.baseline is not None:
        return _against(pick, comparison, headline.baseline, median)
    alone = _alone_accuracy(pick)
    if headline.baseline is None:
        return f"{name(pick)} takes {median}", f"; no usable fp32 to compare it with{alone}"
    if headline.rival is not None:
        return f"{name(pick)} is the one to take with {median}", f"{alone}; {_slower(headline.rival)}"
    if any(record.case.precision != pick.case.precision for record in headline.ranked):
        return f"{name(pick)} is the one to take with {median}", alone
    return f"{name(pick)} takes {median}", f"{alone}; no other precision has a usable figure"


def _slower(rival: Comparison) -> str:
    """How far the next precision is behind the pick."""
    if rival.faster is None:
        return f"{name(rival.record)} is equally fast within the noise"
    return f"{name(rival.record)} is {factor(1.0 / rival.speedup)} slower"


def _other_fp32(headline: Headline) -> list[str]:
    """What the comparison with the baseline would hide: a faster fp32 elsewhere, or doubts about fp32."""
    parts = []
    best, baseline = headline.best_fp32, headline.baseline
    if best is not None and best is not headline.pick and best.latency_ms is not None:
        parts.append(
            f"The fastest fp32 runs on {plain(best.case.runtime)} ({duration(best.latency_ms.p50)})."
        )
    if baseline and baseline is not headline.pick and baseline.verdict == "suspect" and not headline.doubtful:
        parts.append(f"The fp32 it is compared with is suspect ({_reasons(baseline)}).")
    return parts


def _against(pick: Record, comparison: Comparison, baseline: Record, median: str) -> tuple[str, str]:
    low, high = comparison.speedup_ci95
    interval = f"interval {significant(low)} to {factor(high)}"
    old = name(baseline, pick) if baseline.case.runtime != pick.case.runtime else _short(baseline, pick)
    accuracies = _accuracies(pick, baseline, comparison.accuracy)
    if comparison.faster is None:
        claim = f"{name(pick, baseline)} and {old} are equally fast within the noise"
        return claim, f" ({median}, ratio {significant(comparison.speedup)}, {interval}), {accuracies}"
    claim = f"{name(pick, baseline)} is {factor(comparison.speedup)} faster than {old}"
    return claim, f" ({median}, {interval}), {accuracies}"


def _short(baseline: Record, pick: Record) -> str:
    """The baseline when it runs on the pick's own runtime."""
    if baseline.case.num_threads != pick.case.num_threads:
        return f"{plain(baseline.case.precision)} with {plural(baseline.case.num_threads, 'thread')}"
    return plain(baseline.case.precision)


def _accuracies(new: Record, old: Record, relation: str) -> str:
    """The two accuracies, and whether their difference means anything."""
    if new.accuracy is not None and old.accuracy is not None and new.accuracy.metric == old.accuracy.metric:
        both = f"accuracy {accuracy_text(new.accuracy)} vs {accuracy_text(old.accuracy)}"
        if relation == "same":
            if new.accuracy.value == old.accuracy.value:
                return f"{both} (n = {new.accuracy.n})"
            return f"{both} (no difference that n = {new.accuracy.n} could show)"
        if relation == "unknown":
            return f"{both} (no interval known, n = {new.accuracy.n})"
        points = significant(abs(new.accuracy.value - old.accuracy.value) * 100.0)
        return f"{both} ({points} points {relation}, n = {new.accuracy.n})"
    if new.fidelity is not None and new.fidelity.argmax_agreement is not None:
        agreement = percent(new.fidelity.argmax_agreement)
        return f"accuracy not measured; same top class as fp32 in {agreement} of {new.fidelity.n} checks"
    if new.fidelity is not None and new.fidelity.cosine is not None:
        return f"accuracy not measured; cosine with fp32 {new.fidelity.cosine:.4f}"
    return "accuracy not measured"


def _alone_accuracy(record: Record) -> str:
    if record.accuracy is None:
        return ""
    return f", accuracy {accuracy_text(record.accuracy)} (n = {record.accuracy.n})"


def _tempting(headline: Headline) -> list[str]:
    """Why the fastest case of all was not taken."""
    case = headline.tempting
    if case is None or headline.pick is None or not case.faster:
        return []
    start = f"{name(case.record, headline.pick)} is {factor(case.speedup)} faster than that"
    if case.record.verdict == "suspect" and not headline.doubtful:
        return [f"{start}, but suspect ({_reasons(case.record)})."]
    if case.record.accuracy is not None and headline.baseline and headline.baseline.accuracy is not None:
        lost = headline.baseline.accuracy.value - case.record.accuracy.value
        return [
            f"{start}, but loses {significant(lost * 100.0)} points of accuracy "
            f"({accuracy_text(case.record.accuracy)}, n = {case.record.accuracy.n})."
        ]
    return []


def _reasons(record: Record) -> str:
    words = list(record.reasons) or [doubt.reason for doubt in record.doubts]
    return plain(", ".join(word.replace("_", " ") for word in words)) or "no reason given"


def _left_out(headline: Headline) -> str:
    words = {"failed": "failed", "unsupported": "unsupported", "invalid": "invalid", "ok": "without a figure"}
    return ", ".join(
        f"{headline.others[key]} {word}" for key, word in words.items() if headline.others.get(key)
    )
