"""The HTML report: one file that needs no network, no server and, but for its pictures, no script."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.files import write_atomically
from reports.html import engines, look, sections, view
from reports.html.charts import Samples
from reports.plain_text import plain
from reports.record import Results
from reports.rows import table_rows
from reports.sentences import overhead_sentences
from reports.statistics import PERCENTILE_RULE
from reports.units import ABSENT
from reports.verdict import REASONS

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(results: Results, samples: Samples, path: Path) -> None:
    """Write the report of a run to `path`, atomically; raises OSError when it cannot.

    `samples[index of the record]["latency"]` holds the nanoseconds of each repetition; records without any
    have no distribution and no drawing over time, all else is there.
    """
    write_atomically(path, render(results, samples))


def render(results: Results, samples: Samples) -> str:
    """The page as text."""
    from plotly.offline import get_plotlyjs  # 5 MB of script; only a report needs it

    library: str = get_plotlyjs()
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    tradeoffs = view.tradeoff_pictures(results)
    spreads = view.distribution_pictures(results, samples)
    memories = view.memory_pictures(results)
    pictures = (*tradeoffs, *spreads, *memories)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=view.title(results),
            no_cards=view.no_cards(results),
            run_line=view.run_line(results.run),
            command=view.command_line(results.run),
            run=results.run,
            cards=view.cards(results),
            outcomes=view.outcomes(results),
            rows=table_rows(results),
            doubts=view.doubt_rows(results),
            looks=view.looks(results),
            stages=view.stage_legend(),
            sparks=sections.sparklines(samples),
            tradeoffs=tradeoffs,
            spreads=spreads,
            memories=memories,
            qualities=sections.quality_rows(results),
            conversions=sections.conversion_rows(results),
            repetitions=sections.repetition_rows(results, samples),
            engines=engines.engine_rows(results),
            powers=engines.power_rows(results),
            remarks=engines.remark_rows(results),
            facts=sections.facts_table(results),
            failures=view.failure_rows(results),
            overheads=overhead_sentences(results),
            percentile_rule=PERCENTILE_RULE,
            reasons=REASONS,
            verdicts=view.OUTCOMES,
            style=_trusted((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
            script=_trusted(script) if pictures or results.records else _trusted(""),
            library=_trusted(library) if pictures else None,
            figures=_trusted(embedded_json(view.figures(pictures))),
            policy=content_policy([script, *([library] if pictures else [])]),
        )
    )


def embedded_json(value: object) -> str:
    """JSON that may stand inside a script element: no <, > or & that could end it, nothing but ASCII."""
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def content_policy(scripts: list[str]) -> str:
    """A Content-Security-Policy under which only these very scripts run and nothing is fetched.

    Styles stay open: Plotly sets them by script, and a style cannot fetch anything either.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever a device or file said becomes one plain line; escaping follows.
        finalize=lambda value: plain(value) if type(value) is str else value,
    )
    environment.globals.update(ABSENT=ABSENT, colour=look.colour, glyph=look.glyph)
    environment.filters["words"] = lambda reason: str(reason).replace("_", " ")
    return environment


def _trusted(text: str) -> Any:
    """Text of our own (script, style, data) that is not to be escaped."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - the report's own files, and JSON made safe by embedded_json


def _finite(value: object) -> object:
    """The value with every infinite or undefined number as None, which JSON has a word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
