import json
from dataclasses import replace

import pytest

from reports.record import RecordError, Results, record_from_json, results_from_json, to_json
from tests.reports.report_builders import whole_run


@pytest.fixture(scope="module")
def results() -> Results:
    return whole_run()[0]


def test_a_whole_run_survives_json(results: Results) -> None:
    assert results_from_json(json.loads(json.dumps(to_json(results)))) == results


def test_a_failures_class_is_called_class(results: Results) -> None:
    failed = next(record for record in results.records if record.status == "failed")
    assert to_json(failed)["failure"]["class"] == "build"


def test_absent_is_null_and_never_zero(results: Results) -> None:
    failed = next(record for record in results.records if record.status == "failed")
    plain = to_json(failed)
    assert plain["latency_ms"] is None
    assert plain["memory"] is None


def test_unknown_keys_of_a_newer_version_are_let_pass(results: Results) -> None:
    plain = to_json(results.records[0])
    assert record_from_json(plain | {"colour_of_the_board": "green"}) == results.records[0]


@pytest.mark.parametrize("version", [2, None, "1"])
def test_another_format_version_is_refused_by_name(results: Results, version: object) -> None:
    with pytest.raises(RecordError, match=f"format version {version!r}; this edgebench reads 1"):
        results_from_json(to_json(results) | {"format_version": version})


def test_a_missing_field_is_named(results: Results) -> None:
    plain = to_json(results.records[0])
    del plain["case"]["device"]
    with pytest.raises(RecordError, match=r"required field missing @ \$\.case\.device"):
        record_from_json(plain)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_what_is_no_results_file_is_refused(value: object) -> None:
    with pytest.raises(RecordError):
        results_from_json(value)


def test_a_cases_label_names_everything_that_tells_it_from_others(results: Results) -> None:
    case = replace(results.records[0].case, batch_size=2)
    assert case.label == "mobilenet_v2 · tflite · fp32 · batch 2 · 4 threads · pi-5"
