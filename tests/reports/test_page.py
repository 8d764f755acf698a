import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from reports.html.axes import log_ticks
from reports.html.page import embedded_json, render, write_report
from reports.html.sparkline import sparkline
from reports.record import Case, Failure
from tests.reports.report_builders import (
    HOSTILE,
    RUN,
    Samples,
    case,
    failed,
    latencies,
    measured,
    results_of,
    whole_run,
)


class Elements(HTMLParser):
    """Every element with its attributes, and the text of each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def page() -> str:
    return render(*whole_run())


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    return Elements(page)


def own(page: str) -> str:
    """The page without the chart library."""
    return page.replace(get_plotlyjs(), "")


def figures(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_is_one_file_that_names_no_address(page: str, elements: Elements) -> None:
    assert "http://" not in own(page)
    assert "https://" not in own(page)
    for tag, attributes in elements.tags:
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith(("#", "data:")), tag


def test_only_the_pages_own_scripts_may_run_and_nothing_be_fetched(elements: Elements) -> None:
    (policy,) = [a["content"] for t, a in elements.tags if t == "meta" and a.get("http-equiv")]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    data, *scripts = elements.scripts
    assert json.loads(data)
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_hostile_text_is_shown_and_never_run(page: str, elements: Elements) -> None:
    assert "<img" not in own(page)
    assert not {"\x1b", "\u202e"} & set(own(page))
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    assert "&lt;/script&gt;&lt;img src=x onerror=" in page
    assert "gnp.exe{{7*7}}%{x}" in page
    assert [tag for tag, _ in elements.tags].count("script") == 3


def test_hostile_text_in_every_field_leaves_the_page_whole() -> None:
    nasty = Case(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    series = latencies(5.0, seed=1)
    record = measured(nasty, series, correct=(3, 4), facts={"governor": HOSTILE, HOSTILE: HOSTILE})
    record = replace(record, reasons=(HOSTILE,))
    other = failed(nasty, "failed", Failure(HOSTILE, HOSTILE, HOSTILE, HOSTILE))
    run = replace(RUN, id=HOSTILE, started_at=HOSTILE, command=(HOSTILE,), harness_version=HOSTILE)
    page = render(results_of(record, record, other, run=run), {0: {"latency": series}})
    found = Elements(page)
    assert [tag for tag, _ in found.tags].count("script") == 3
    assert "img" not in [tag for tag, _ in found.tags]
    for figure in figures(page).values():
        assert "<img" not in json.dumps(figure)


def test_embedded_json_cannot_end_its_script_and_knows_no_infinity() -> None:
    text = embedded_json({"a": "</script><!--&", "b": float("inf"), "c": [float("nan"), 1.5]})
    assert not {"<", ">", "&"} & set(text)
    assert json.loads(text) == {"a": "</script><!--&", "b": None, "c": [None, 1.5]}


def test_a_run_of_thirty_records_stays_under_300_kilobytes_beside_the_chart_library() -> None:
    results, samples = whole_run()
    more = [
        replace(record, case=replace(record.case, device=f"pi-{n}"))
        for n, record in enumerate(results.records[:5])
    ]
    many = replace(results, records=(*results.records, *more))
    samples |= {len(results.records) + n: samples[n] for n in range(5)}
    assert len(many.records) >= 30
    assert len(own(render(many, samples)).encode()) < 300_000


def test_withheld_percentiles_say_why(page: str) -> None:
    assert "withheld: 60 iterations cannot bound it at 99 % confidence, 64 are needed" in page


def test_the_null_runtime_is_told_apart_and_not_in_the_table(page: str) -> None:
    table = page.split('id="cases"')[1].split("</table>")[0]
    assert ">null<" not in table
    assert "On pi-5 the harness itself adds 74 ns to each latency" in page


def test_every_measured_group_has_its_pictures(page: str) -> None:
    found = figures(page)
    assert sum(name.startswith("tradeoff") for name in found) == 3
    assert sum(name.startswith("spread") for name in found) == 4
    assert sum(name.startswith("memory") for name in found) == 4
    for name in found:
        assert f'data-figure="{name}"' in page


def test_invalid_cases_are_not_in_the_tradeoff(page: str) -> None:
    nano = figures(page)["tradeoff-2"]
    words = " ".join(text for trace in nano["data"] for text in trace.get("text", []))
    assert "fp16" in words
    assert "tflite" not in words


def test_failures_carry_their_remedies_and_attempts_are_told(page: str) -> None:
    assert "add swap, or lower the workspace" in page
    assert "the SSH link broke at byte 81920" in page


def test_doubts_about_a_conversion_stand_with_its_steps(page: str) -> None:
    assert "calibrated on 17 images; below 100 is left to chance" in page


def test_the_verdicts_are_counted_without_the_null_runtime(page: str) -> None:
    counts = dict(re.findall(r'<span class="badge [a-z]+">([a-z]+)</span> <b>(\d+)</b>', page))
    assert counts == {"valid": "18", "suspect": "1", "invalid": "2", "unsupported": "1", "failed": "2"}


def test_without_samples_all_tables_are_there_and_no_distribution() -> None:
    results, _ = whole_run()
    page = render(results, {})
    assert not any(name.startswith("spread") for name in figures(page))
    assert "over time</th>" not in page.split('id="cases"')[1].split("</table>")[0]
    assert page.count("<tr>") > 60


def test_an_empty_and_an_interrupted_run_say_so() -> None:
    page = render(results_of(run=replace(RUN, interrupted=True)), {})
    assert "This run has no cases." in page
    assert "The run was interrupted" in page
    assert figures(page) == {}
    assert len(page) < 60_000


def test_a_run_of_the_harness_alone_is_not_called_empty() -> None:
    samples = latencies(0.001, seed=1)
    page = render(results_of(measured(case("pi-5", "null", "null", "fp32"), samples)), {})
    assert "This run has no cases." not in page
    assert "No model was measured: the null runtime computes nothing" in page
    assert "<h1>No model measured</h1>" in page


def test_a_clock_that_read_zero_does_not_break_the_logarithmic_axis() -> None:
    zeros = (latencies(1.0, seed=1)[0] * 0,)
    record = measured(case(), latencies(1.0, seed=1))
    samples: Samples = {0: {"latency": zeros}}
    assert render(results_of(record), samples)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.9, 1100.0, [1.0, 10.0, 100.0, 1000.0]),
        (8.0, 45.0, [10.0, 15.0, 20.0, 30.0]),
        (0.55, 0.72, [0.55, 0.6, 0.65, 0.7]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_few_and_round(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == ticks


def test_a_sparkline_has_a_line_per_repetition_and_shows_a_drift() -> None:
    drawn = sparkline(latencies(10.0, seed=1, drift=0.2))
    assert drawn is not None
    assert len(drawn.lines) == 3
    heights = [float(point.split(",")[1]) for point in drawn.lines[0].split()]
    assert heights[0] > heights[-1] + 15
    assert sparkline([]) is None


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    write_report(*whole_run(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
