"""The pictures as Plotly figures in plain dicts: data and layout without colours of their own.

A string "var:--name" stands for a CSS variable, which the page's script fills in for the colour scheme. All
text is made plain and its markup escaped, because Plotly renders <a> and <b> in labels.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.html.axes import time_axis
from reports.html.look import MEMORY_STAGES, colour, marker, stage_colour
from reports.plain_text import plain
from reports.record import Case, Record
from reports.statistics import percentile
from reports.tradeoff import Point, Tradeoff
from reports.units import duration, percent, plural, size

Figure = dict[str, Any]
Samples = Mapping[int, Mapping[str, Sequence[NDArray[np.int64]]]]

#: Slowest iterations drawn one by one beyond the whiskers; more would only thicken the dots.
_MOST_OUTLIERS = 30

_ROW_PX = 40


def tradeoff_figure(picture: Tradeoff) -> Figure | None:
    """Median latency against quality, interval bars and the Pareto line; None for fewer than two points."""
    if len(picture.points) < 2:
        return None
    lows, highs = zip(*(point.latency_ci95 for point in picture.points), strict=True)
    positive = [low for low in lows if low > 0.0] or [picture.points[0].latency_ms]
    # A line between qualities that chance explains would promise a choice that is none.
    line = picture.line if picture.resolved or picture.points[0].quality_ci95 is None else ()
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [_round(point.latency_ms) for point in line],
            "y": [_round(point.quality * 100.0) for point in line],
            "line": {"shape": "hv", "color": "var:--line-strong", "width": 1.5, "dash": "dot"},
            "hoverinfo": "skip",
        }
    ]
    traces += [_point(point, picture) for point in picture.points]
    layout = _layout(300)
    layout["xaxis"] |= time_axis(min(positive), max(highs)) | {"title": {"text": "median latency (log)"}}
    layout["yaxis"] |= {"ticksuffix": " %"}
    layout["margin"] |= {"t": 30}
    layout["annotations"] = [_above_axis(quality_name(picture.quality))]
    layout["yaxis"]["range"] = _quality_range(picture.points)
    return {"data": traces, "layout": layout}


def distribution_figure(records: Sequence[tuple[int, Record]], samples: Samples) -> Figure | None:
    """One box per case over a logarithmic time axis; None when no samples were kept.

    Box: the middle half; line: the median; whiskers: 1 % to 99 %; dots: the slowest beyond them.
    """
    traces: list[dict[str, Any]] = []
    low, high = float("inf"), 0.0
    mixed = mixed_threads([record for _, record in records])
    for index, record in sorted(records, key=lambda item: _median(item[1]), reverse=True):
        series = [part for part in samples.get(index, {}).get("latency", ()) if len(part)]
        if not series:
            continue
        ordered = np.sort(np.concatenate(series))
        if ordered[0] <= 0:
            continue
        traces += _box(record, ordered, mixed)
        low, high = min(low, percentile(ordered, 0.01) / 1e6), max(high, float(ordered[-1]) / 1e6)
    if not traces:
        return None
    boxes = sum(trace["type"] == "box" for trace in traces)
    layout = _layout(70 + _ROW_PX * boxes)
    layout["xaxis"] |= time_axis(low, high) | {"title": {"text": "latency (log)"}}
    layout["yaxis"] |= {"automargin": True, "showgrid": False, "type": "category"}
    return {"data": traces, "layout": layout}


def memory_figure(records: Sequence[Record]) -> Figure | None:
    """What each stage added to the worker's resident memory, stacked; None when no stages are known."""
    known = [record for record in records if record.memory is not None and record.memory.stages]
    if not known:
        return None
    grown = [_growth(record) for record in known]
    mixed = mixed_threads(known)
    labels = [case_label(record.case, mixed) for record in known]
    stages = [stage for stage in MEMORY_STAGES if any(stage in growth for growth in grown)]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": MEMORY_STAGES[stage],
            "y": labels,
            "x": [_round(growth.get(stage, 0) / 2**20) for growth in grown],
            "text": [f"{MEMORY_STAGES[stage]}: +{size(growth.get(stage, 0))}" for growth in grown],
            "hovertemplate": "%{y}<br>%{text}<extra></extra>",
            "textposition": "none",
            "marker": {"color": f"var:{stage_colour(stage)}"},
        }
        for stage in stages
    ]
    layout = _layout(70 + _ROW_PX * len(known))
    layout |= {"barmode": "stack", "bargap": 0.35}
    layout["xaxis"] |= {"title": {"text": "resident memory, MiB"}, "rangemode": "tozero"}
    layout["yaxis"] |= {"automargin": True, "showgrid": False, "autorange": "reversed", "type": "category"}
    return {"data": traces, "layout": layout}


def case_label(case: Case, mixed_threads: bool = True) -> str:
    """A case within its model and device in two lines, safe for Plotly; threads where those differ."""
    parts: list[str] = [case.runtime]
    if case.batch_size != 1:
        parts.append(f"batch {case.batch_size}")
    if mixed_threads:
        parts.append(plural(case.num_threads, "thread"))
    return f"{_escaped(case.precision)}<br>{_escaped(' · '.join(parts))}"


def mixed_threads(records: Sequence[Record]) -> bool:
    """Whether the cases differ in their number of threads, so that each has to name it."""
    return len({record.case.num_threads for record in records}) > 1


def quality_name(quality: str) -> str:
    """The name of the second axis."""
    names = {"argmax_agreement": "same top class as fp32", "cosine": "cosine with fp32"}
    return names.get(quality, _escaped(quality))


def _escaped(text: str) -> str:
    """Text of ours or a stranger's that Plotly shows letter by letter."""
    return html.escape(plain(text, 48), quote=False)


def _point(point: Point, picture: Tradeoff) -> dict[str, Any]:
    case = point.record.case
    low, high = point.latency_ci95
    hover = f"{case_label(case)}<br>{duration(point.latency_ms)} ({duration(low)} to {duration(high)})"
    hover += f"<br>{quality_name(picture.quality)} {percent(point.quality)}"
    if point.quality_ci95 is not None:
        hover += f" ({percent(point.quality_ci95[0])} to {percent(point.quality_ci95[1])})"
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": [_round(point.latency_ms)],
        "y": [_round(point.quality * 100.0)],
        "text": [hover],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "symbol": marker(case.runtime) + ("" if point.record.verdict == "valid" else "-open"),
            "color": f"var:{colour(case.precision)}",
            "size": 13 if point.on_line else 10,
            "line": {"width": 1.5, "color": "var:--card"},
        },
        "error_x": _bar(point.latency_ms, point.latency_ci95, 1.0, case.precision),
    }
    if point.record.verdict != "valid":
        trace["marker"]["line"] = {"width": 2}
    if point.quality_ci95 is not None:
        trace["error_y"] = _bar(point.quality, point.quality_ci95, 100.0, case.precision)
    return trace


def _above_axis(text: str) -> dict[str, Any]:
    """A vertical axis's name, upright above it where it is read without turning the head."""
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "yshift": 8, "font": {"size": 12}, **place}


def _bar(value: float, interval: tuple[float, float], scale: float, precision: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [_round((interval[1] - value) * scale)],
        "arrayminus": [_round((value - interval[0]) * scale)],
        "color": f"var:{colour(precision)}",
        "thickness": 1,
        "width": 3,
    }


def _quality_range(points: Sequence[Point]) -> list[float]:
    """Percent from a little below the lowest interval to a little above the highest."""
    low = min(point.quality_ci95[0] if point.quality_ci95 else point.quality for point in points)
    high = max(point.quality_ci95[1] if point.quality_ci95 else point.quality for point in points)
    margin = max(0.06 * (high - low), 0.002)
    return [_round((low - margin) * 100.0), _round((high + margin) * 100.0)]


def _box(record: Record, ordered: NDArray[np.int64], mixed: bool) -> list[dict[str, Any]]:
    label = case_label(record.case, mixed) + ("" if record.verdict == "valid" else f" ({record.verdict})")
    first, lower, middle, upper, last = (
        _round(percentile(ordered, q) / 1e6) for q in (0.01, 0.25, 0.50, 0.75, 0.99)
    )
    tone = f"var:{colour(record.case.precision)}"
    box = {
        "type": "box",
        "orientation": "h",
        "y": [label],
        "q1": [lower],
        "median": [middle],
        "q3": [upper],
        "lowerfence": [first],
        "upperfence": [last],
        "line": {"color": tone, "width": 1.5},
        "fillcolor": f"{tone}-soft",
        "width": 0.55,
        "hoverinfo": "x",
    }
    slowest = ordered[ordered > percentile(ordered, 0.99)][-_MOST_OUTLIERS:] / 1e6
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": [_round(float(value)) for value in slowest],
        "y": [label] * len(slowest),
        "marker": {"size": 4, "color": tone, "opacity": 0.45, "symbol": marker(record.case.runtime)},
        "hovertemplate": "%{x:.4g} ms<extra></extra>",
    }
    return [box, dots] if len(slowest) else [box]


def _growth(record: Record) -> dict[str, int]:
    """Bytes of resident memory each known stage added; a stage that gave memory back counts 0."""
    assert record.memory is not None
    added, before = {}, 0
    for stage in record.memory.stages:
        if stage.rss_bytes is not None and stage.stage in MEMORY_STAGES:
            added[stage.stage] = max(0, stage.rss_bytes - before)
            before = max(before, stage.rss_bytes)
    return added


def _layout(height: int) -> dict[str, Any]:
    """What all pictures share: no frame, thin grid, the page's own type."""
    axis = {
        "gridcolor": "var:--grid",
        "linecolor": "var:--grid",
        "zeroline": False,
        "tickfont": {"size": 12},
        "tickangle": 0,
        "title": {"font": {"size": 12}},
        "fixedrange": True,
    }
    return {
        "height": height,
        "margin": {"l": 56, "r": 14, "t": 12, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "var:--sans", "size": 12, "color": "var:--muted"},
        "showlegend": False,
        "hoverlabel": {"font": {"family": "var:--sans", "size": 12}, "align": "left"},
        "xaxis": dict(axis),
        "yaxis": dict(axis),
    }


def _median(record: Record) -> float:
    return float("inf") if record.latency_ms is None else record.latency_ms.p50


def _round(value: float) -> float:
    """Five significant digits: finer than a pixel, and a third of the bytes."""
    return float(f"{value:.5g}")
