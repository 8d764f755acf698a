"""`bench run` on this machine, real runtimes, nothing faked."""

from __future__ import annotations

import re

import pytest

from tests.end_to_end.workplace import Workplace, record_of

pytestmark = pytest.mark.e2e

PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")


def test_without_arguments_everything_the_main_install_can_do_is_measured(workplace: Workplace) -> None:
    done = workplace.bench("run", "--measurement", "quick", "--out", "out")
    assert done.status == 0, done.err
    results = workplace.results()
    cases = [(r["case"]["runtime"], r["case"]["precision"]) for r in results["records"]]
    assert cases == [("null", "fp32")] + [(r, p) for r in ("onnxruntime", "tflite") for p in PRECISIONS]
    assert {record["status"] for record in results["records"]} == {"ok"}
    for record in results["records"][1:]:
        assert record["accuracy"]["n"] == 450
        assert record["accuracy"]["value"] >= 0.99, record["case"]
        assert "wrong_output" not in record["reasons"]


def test_the_report_is_one_file_that_reaches_for_nothing(workplace: Workplace) -> None:
    workplace.bench(
        "run", "--runtime", "onnxruntime", "--precision", "fp32", "--measurement", "quick", "--out", "out"
    )
    page = (workplace.folder / "out" / "report.html").read_text()
    assert "digits" in page
    outside = re.findall(
        r"<(?:script|link|img|iframe)[^>]+(?:src|href)\s*=\s*[\"'](?!data:|#)([^\"']+)", page
    )
    assert outside == []


def test_every_figure_can_be_recomputed_from_the_raw_samples(workplace: Workplace) -> None:
    workplace.bench("run", "--runtime", "tflite", "--precision", "fp32,int8", "--measurement", "quick")
    done = workplace.bench("verify", "latest")
    assert done.status == 0, done.out
    assert "0 of 2 records differ" in done.out


def test_batch_sizes_and_threads_are_cases_of_their_own(workplace: Workplace) -> None:
    done = workplace.bench(
        "run", "--runtime", "onnxruntime,tflite", "--precision", "fp32", "--batch", "1,4", "--threads", "1,2",
        "--measurement", "quick", "--out", "out",
    )  # fmt: skip
    assert done.status == 0, done.err
    records = workplace.results()["records"]
    assert len(records) == 8
    # 450 is no multiple of 4: the last batch is filled up, and what that adds is not counted.
    assert {record["accuracy"]["n"] for record in records} == {450}
    by_batch = {
        batch: {r["accuracy"]["value"] for r in records if r["case"]["batch_size"] == batch}
        for batch in (1, 4)
    }
    assert by_batch[1] == by_batch[4]


def test_a_second_run_converts_nothing_and_sends_nothing(workplace: Workplace, shared_cache) -> None:
    command = (
        "run",
        "--runtime",
        "onnxruntime,tflite",
        "--precision",
        "int8",
        "--measurement",
        "quick",
        "--out",
        "out",
    )
    workplace.bench(*command)
    before = {path: path.stat().st_mtime_ns for path in (shared_cache / "host").rglob("entry.json")}
    blobs = {path.name for path in (shared_cache / "blobs").iterdir()}
    workplace.bench(*command)
    assert {path: path.stat().st_mtime_ns for path in (shared_cache / "host").rglob("entry.json")} == before
    assert {path.name for path in (shared_cache / "blobs").iterdir()} == blobs
    assert record_of(workplace.results(), "tflite", "int8")["status"] == "ok"
