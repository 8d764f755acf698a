"""The report in a real browser: drawn, silent, sortable, and no wider than a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.html.page import write_report
from tests.reports.headless_chromium import PROGRAM, Chromium
from tests.reports.report_builders import whole_run

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(PROGRAM is None, reason="no chromium on this machine"),
]

MEDIANS = "[...document.querySelectorAll('.sortable tbody td.strong')].map(cell => cell.textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Chromium, Path]]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(*whole_run(), path)
    with Chromium() as chromium:
        yield chromium, path


def test_the_report_draws_every_picture_without_a_request_or_a_complaint(
    browser: tuple[Chromium, Path],
) -> None:
    chromium, path = browser
    chromium.open(path)
    drawn = chromium.evaluate(
        "[...document.querySelectorAll('.chart')].filter(c => !c.querySelector('svg')).length"
    )
    assert drawn == 0
    assert chromium.evaluate("document.querySelectorAll('.chart').length") == 11
    assert chromium.evaluate("typeof window.pwned") == "undefined"
    assert set(chromium.requests) == {path.as_uri()}
    assert chromium.complaints == []


def test_a_head_sorts_by_value_both_ways_and_keeps_dashes_last(browser: tuple[Chromium, Path]) -> None:
    chromium, path = browser
    chromium.open(path)
    head = "document.querySelectorAll('.sortable thead button')[2]"
    chromium.evaluate(f"{head}.click()")
    upwards = chromium.evaluate(MEDIANS)
    assert chromium.evaluate(f"{head}.parentElement.getAttribute('aria-sort')") == "ascending"
    assert [text.split("±")[0] for text in upwards[:3]] == ["0.0615", "0.0890", "0.0952"]
    assert upwards[-3:] == ["—", "—", "—"]
    chromium.evaluate(f"{head}.click()")
    downwards = chromium.evaluate(MEDIANS)
    assert chromium.evaluate(f"{head}.parentElement.getAttribute('aria-sort')") == "descending"
    assert downwards[0].startswith("149")
    assert downwards[-3:] == ["—", "—", "—"]


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_the_page_never_scrolls_sideways(browser: tuple[Chromium, Path], width: int) -> None:
    chromium, path = browser
    chromium.open(path, width)
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width


def test_pictures_follow_the_colour_scheme(browser: tuple[Chromium, Path]) -> None:
    chromium, path = browser
    ink = "getComputedStyle(document.querySelector('.chart .xtick text')).fill"
    chromium.prefer("light")
    chromium.open(path)
    light = chromium.evaluate(ink)
    chromium.prefer("dark")
    assert chromium.evaluate(f"new Promise(done => setTimeout(() => done({ink}), 300))") != light
    chromium.prefer("light")
