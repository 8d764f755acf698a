import csv
from pathlib import Path

import pytest

from reports.csv_export import safe_cell, write_csv
from reports.record import Failure
from tests.reports.report_builders import HOSTILE, case, failed, results_of, whole_run


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_a_record_with_units_in_the_column_names(tmp_path: Path) -> None:
    results, _ = whole_run()
    write_csv(results, tmp_path / "results.csv")
    rows = rows_of(tmp_path / "results.csv")
    assert len(rows) == len(results.records)
    first, record = rows[0], results.records[0]
    assert record.latency_ms is not None
    assert float(first["latency_p50_ms"]) == record.latency_ms.p50
    assert (first["device"], first["precision"], first["num_threads"], first["verdict"]) == (
        "pi-5",
        "fp32",
        "4",
        "valid",
    )
    assert (first["accuracy"], first["accuracy_n"], first["throttled"]) == ("0.9", "20", "False")
    assert first["fact_cpu_model"] == "Cortex-A76"


def test_what_is_absent_is_empty_and_never_zero(tmp_path: Path) -> None:
    write_csv(results_of(failed(case(), "failed", Failure("build", "oom", "killed"))), tmp_path / "r.csv")
    (row,) = rows_of(tmp_path / "r.csv")
    assert (row["latency_p50_ms"], row["peak_rss_bytes"], row["verdict"]) == ("", "", "")
    assert (row["failure_reason"], row["failure_message"]) == ("oom", "killed")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r@", "\n-", " ="])
def test_text_that_a_spreadsheet_would_run_is_disarmed(start: str) -> None:
    cell = safe_cell(f'{start}HYPERLINK("x")')
    assert isinstance(cell, str)
    assert cell.startswith("'")


@pytest.mark.parametrize("value", [None, True, -3, -0.5, "fp32 - fine"])
def test_numbers_and_harmless_text_stay_as_they_are(value: object) -> None:
    assert safe_cell(value) == value


def test_hostile_text_stays_in_its_cell(tmp_path: Path) -> None:
    record = failed(
        case(model='a,"b"\n=1+1', device=HOSTILE), "failed", Failure("a", "b", "=cmd|' /C calc'!A0")
    )
    write_csv(results_of(record), tmp_path / "r.csv")
    (row,) = rows_of(tmp_path / "r.csv")
    assert (row["model"], row["failure_message"]) == ('a,"b" =1+1', "'=cmd|' /C calc'!A0")


def test_a_run_without_records_is_a_header(tmp_path: Path) -> None:
    write_csv(results_of(), tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text().startswith("run_id,device,model,")


def test_an_old_file_survives_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "r.csv"
    target.write_text("old")
    monkeypatch.setattr("os.fsync", _no_space)
    with pytest.raises(OSError, match="No space left"):
        write_csv(results_of(), target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def _no_space(_: int) -> None:
    raise OSError(28, "No space left on device")
