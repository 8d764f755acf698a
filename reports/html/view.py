"""What the page's upper part shows: headlines, counts, pictures, doubts and failures."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reports.headlines import Headline, headlines
from reports.html.charts import (
    Figure,
    Samples,
    distribution_figure,
    memory_figure,
    mixed_threads,
    quality_name,
    tradeoff_figure,
)
from reports.html.look import MEMORY_STAGES, colour, glyph, stage_colour
from reports.record import Case, Doubt, Failure, Record, Results, Run
from reports.rows import Row, table_rows
from reports.sentences import Statement, statement
from reports.tradeoff import groups, is_ranked, pareto
from reports.units import duration, plural, seconds

#: Bars beside a headline: the fastest ones, and always the one its sentence compares with.
_MOST_BARS = 8

#: Words of the verdict strip, best first, and what each says.
OUTCOMES = {
    "valid": "nothing found against the figures",
    "suspect": "something speaks against them; see the doubts below",
    "invalid": "wrong outputs or a disturbed board: never ranked",
    "unsupported": "the board cannot do this, by design",
    "failed": "no figure; see the reason below",
}


@dataclass(frozen=True)
class Bar:
    """One case's median in a headline: share is the bar's length, 0 to 1."""

    case: Case
    text: str
    share: float
    is_pick: bool
    verdict: str | None


@dataclass(frozen=True)
class Card:
    """One headline as the page shows it."""

    headline: Headline
    statement: Statement
    bars: tuple[Bar, ...]
    #: The bars differ in threads, so each has to say how many.
    mixed: bool
    row: Row | None


@dataclass(frozen=True)
class Outcome:
    """How many cases ended with this word."""

    word: str
    meaning: str
    count: int


@dataclass(frozen=True)
class Picture:
    """A figure by its id in the page's data, with the words around it."""

    id: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class DoubtRow:
    """Every doubt of one case."""

    case: Case
    verdict: str
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True)
class FailureRow:
    """Why a case has no figures, or what went wrong before it had."""

    case: Case
    status: str
    failure: Failure


def title(results: Results) -> str:
    """Models on devices: 'mobilenet_v2 and digits on pi-5 and nano-01'; counts when they are many."""
    found = groups(results.records)
    models = list(dict.fromkeys(model for model, _ in found))
    devices = list(dict.fromkeys(device for _, device in found))
    if not found:
        return "No model measured" if results.records else "No cases"
    return f"{_listed(models, 'model')} on {_listed(devices, 'device')}"


def no_cards(results: Results) -> str:
    """What stands where the picks would be."""
    if not results.records:
        return "This run has no cases."
    return "No model was measured: the null runtime computes nothing, and shows what the harness itself adds."


def run_line(run: Run) -> str:
    """When the run was, how long it took, and by which version."""
    parts = [_when(run.started_at)]
    if run.finished_at and (spent := _span(run.started_at, run.finished_at)) is not None:
        parts.append(f"took {seconds(spent)}")
    if run.interrupted:
        parts.append("interrupted")
    return " · ".join([*parts, f"edgebench {run.harness_version}", f"run {run.id}"])


def command_line(run: Run) -> str:
    """The command as a shell would take it."""
    return shlex.join(run.command)


def cards(results: Results) -> tuple[Card, ...]:
    """One per model and device."""
    rows = {id(record): row for record, row in zip(results.records, table_rows(results), strict=True)}
    return tuple(
        Card(
            headline,
            statement(headline),
            _bars(headline),
            mixed_threads(headline.ranked),
            rows.get(id(headline.pick)),
        )
        for headline in headlines(results)
    )


def outcomes(results: Results) -> tuple[Outcome, ...]:
    """Counts by verdict or status, without the null runtime; words that do not occur are left out."""
    counted: Counter[str] = Counter()
    for records in groups(results.records).values():
        counted.update(
            (record.verdict or "suspect") if record.status == "ok" else record.status for record in records
        )
    return tuple(Outcome(word, OUTCOMES[word], counted[word]) for word in OUTCOMES if counted[word])


def tradeoff_pictures(results: Results) -> tuple[Picture, ...]:
    """Latency against accuracy (else fidelity) for every model, device and batch size."""
    pictures = []
    for number, found in enumerate(pareto(results.records)):
        figure = tradeoff_figure(found)
        if figure is None:
            continue
        heading = _heading(found.model, found.device, found.batch_size)
        apart = f" Without that figure: {plural(len(found.apart), 'case')}." if found.apart else ""
        if found.points[0].quality_ci95 is not None and not found.resolved:
            caption = "The differences up and down are within chance: choose by latency."
        elif len(found.line) > 1:
            caption = "The dotted line joins what nothing else beats in both."
        else:
            caption = (
                f"Nothing beats {found.line[0].record.case.precision} on {found.line[0].record.case.runtime}."
            )
        caption = f"{caption}{apart}"
        if found.quality in ("argmax_agreement", "cosine"):
            caption = f"No labelled data: {quality_name(found.quality)} instead of accuracy. {caption}"
        pictures.append(Picture(f"tradeoff-{number}", heading, caption, figure))
    return tuple(pictures)


def distribution_pictures(results: Results, samples: Samples) -> tuple[Picture, ...]:
    """The spread of every case's iterations, per model and device."""
    return _per_group(results, "spread", lambda members: distribution_figure(members, samples))


def memory_pictures(results: Results) -> tuple[Picture, ...]:
    """Memory by stage, per model and device."""
    return _per_group(results, "memory", lambda members: memory_figure([record for _, record in members]))


def doubt_rows(results: Results) -> tuple[DoubtRow, ...]:
    """The cases with doubts, the invalid ones first."""
    rows = [
        DoubtRow(record.case, record.verdict or "suspect", record.doubts)
        for record in results.records
        if record.doubts
    ]
    return tuple(sorted(rows, key=lambda row: row.verdict != "invalid"))


def failure_rows(results: Results) -> tuple[FailureRow, ...]:
    """Failed cases, then unsupported ones, then earlier attempts of cases that were tried again."""
    rows = [
        FailureRow(record.case, record.status, record.failure)
        for status in ("failed", "unsupported")
        for record in results.records
        if record.status == status and record.failure is not None
    ]
    rows += [
        FailureRow(record.case, "tried again", attempt.failure)
        for record in results.records
        for attempt in record.attempts
    ]
    return tuple(rows)


def looks(results: Results) -> dict[str, list[tuple[str, str]]]:
    """The legend: precisions with their colours, runtimes with their markers, as far as they occur."""
    ranked = [record.case for record in results.records if is_ranked(record)]
    precisions = dict.fromkeys(case.precision for case in ranked)
    runtimes = dict.fromkeys(case.runtime for case in ranked)
    return {
        "precisions": [(precision, colour(precision)) for precision in precisions],
        "runtimes": [(runtime, glyph(runtime)) for runtime in runtimes],
    }


def stage_legend() -> list[tuple[str, str]]:
    """The memory picture's stages in words, with their colours."""
    return [(words, stage_colour(stage)) for stage, words in MEMORY_STAGES.items()]


def _per_group(results: Results, kind: str, draw: Any) -> tuple[Picture, ...]:
    places = {id(record): index for index, record in enumerate(results.records)}
    pictures = []
    for number, ((model, device), records) in enumerate(groups(results.records).items()):
        members: Sequence[tuple[int, Record]] = [
            (places[id(record)], record) for record in records if record.latency_ms is not None
        ]
        figure = draw(members)
        if figure is not None:
            pictures.append(Picture(f"{kind}-{number}", _heading(model, device, 1), "", figure))
    return tuple(pictures)


def _bars(headline: Headline) -> tuple[Bar, ...]:
    shown = tuple(
        record
        for place, record in enumerate(headline.ranked)
        if place < _MOST_BARS or record is headline.pick or record is headline.baseline
    )
    if not shown:
        return ()
    medians = [record.latency_ms.p50 for record in shown if record.latency_ms is not None]
    longest = max(*medians, 1e-9) if len(medians) > 1 else medians[0] or 1e-9
    return tuple(
        Bar(record.case, duration(median), median / longest, record is headline.pick, record.verdict)
        for record, median in zip(shown, medians, strict=True)
    )


def _heading(model: str, device: str, batch_size: int) -> str:
    return f"{model} on {device}" + (f", batch {batch_size}" if batch_size != 1 else "")


def _listed(names: list[str], noun: str) -> str:
    if len(names) > 2:
        return plural(len(names), noun)
    return " and ".join(names)


def _when(moment: str) -> str:
    parsed = _parsed(moment)
    return moment if parsed is None else f"{parsed.day} {parsed:%B %Y, %H:%M} {parsed.tzname() or ''}".strip()


def _span(start: str, end: str) -> float | None:
    begun, ended = _parsed(start), _parsed(end)
    if begun is None or ended is None or (begun.tzinfo is None) != (ended.tzinfo is None):
        return None
    spent = (ended - begun).total_seconds()
    return spent if spent >= 0 else None  # the clock went back meanwhile


def _parsed(moment: str) -> datetime | None:
    try:
        return datetime.fromisoformat(moment)
    except ValueError:
        return None


def figures(pictures: Sequence[Picture]) -> Mapping[str, Figure]:
    """The figures by id, as the page's script finds them."""
    return {picture.id: picture.figure for picture in pictures}
