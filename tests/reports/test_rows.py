import numpy as np

from reports.record import Failure
from reports.rows import ABSENT, table_rows
from tests.reports.report_builders import HOSTILE, case, failed, measured, results_of

SERIES = (np.arange(1, 101, dtype=np.int64) * 1_000_000,)


def test_a_measured_case_shows_its_figures_in_three_digits() -> None:
    record = measured(case(), SERIES, correct=(448, 450), size_bytes=105_000)
    (row,) = table_rows(results_of(record))
    assert (row.latency.text, row.latency.value) == ("50.0", 50.0)
    assert (row.interval.text, row.interval.why) == ("±22 %", "95 % interval of the median: 40.0 to 61.0 ms")
    assert (row.p90.text, row.p90.why) == ("90.0", "95 % interval: 84.0 to 96.0 ms")
    assert (row.size.text, row.accuracy.text, row.accuracy_n.text) == ("103 KiB", "99.6 %", "n = 450")
    assert row.accuracy.why == "top1, n = 450, 95 % interval 98.4 to 99.9 %"


def test_a_withheld_percentile_says_how_many_iterations_it_needs() -> None:
    (row,) = table_rows(results_of(measured(case(), SERIES)))
    assert (row.p99.text, row.p99.value) == (ABSENT, None)
    assert row.p99.why == "withheld: 100 iterations cannot bound it at 99 % confidence, 662 are needed"


def test_a_failed_case_is_a_row_of_dashes_with_its_message() -> None:
    record = failed(case(), "failed", Failure("build", "out_of_memory", "killed\nby the kernel"))
    (row,) = table_rows(results_of(record))
    assert {row.latency.text, row.p90.text, row.memory.text, row.accuracy.text} == {ABSENT}
    assert (row.status, row.note, row.latency.why) == ("failed", "killed by the kernel", "failed")


def test_the_null_runtime_is_marked() -> None:
    (row,) = table_rows(results_of(measured(case(runtime="null"), (np.full(100, 74),))))
    assert (row.is_overhead, row.latency.text) == (True, "0.000074")


def test_text_of_strangers_is_plain() -> None:
    (row,) = table_rows(results_of(failed(case(model=HOSTILE), "failed", Failure("a", "b", HOSTILE))))
    assert "\x1b" not in row.model + (row.note or "")
    assert "\u202e" not in row.model + (row.note or "")
