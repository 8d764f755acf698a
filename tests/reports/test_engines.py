"""Rows of the report on engines, power modes and remarks."""

from __future__ import annotations

from dataclasses import replace

from reports.html.engines import engine_rows, power_rows, remark_rows
from reports.record import CrossCheck, Engine, PerformanceMode, Record
from reports.units import ABSENT
from tests.reports.report_builders import case, latencies, measured, on_a_gpu, results_of

PLAIN = measured(case(), latencies(20.0, seed=1))
NANO = measured(case("nano-01", "net", "tensorrt", "fp16"), latencies(20.0, seed=1))
ON_GPU = on_a_gpu(NANO, {"fp16": 51, "fp32": 3})


def test_a_case_without_an_engine_or_power_modes_has_no_row() -> None:
    results = results_of(PLAIN)
    assert (engine_rows(results), power_rows(results), remark_rows(results)) == ((), (), ())


def test_an_engine_tells_how_it_was_built_and_what_its_layers_became() -> None:
    (row,) = engine_rows(results_of(ON_GPU))
    assert (row.built, row.size, row.workspace) == ("10 min 12 s", "9.00 MiB", "256 MiB")
    assert row.layers == "51 fp16, 3 fp32"
    assert row.details == ("flags: FP16", "timing cache: new")
    assert row.warnings == (
        "2 ways to run a layer left out for lack of memory",
        "with 1.0 GiB of workspace: out_of_memory: no implementation for node Conv_41",
    )


def test_a_reused_engine_is_said_to_be_of_an_earlier_job() -> None:
    assert ON_GPU.engine is not None
    (row,) = engine_rows(results_of(replace(ON_GPU, engine=replace(ON_GPU.engine, reused=True))))
    assert row.built == "10 min 12 s, earlier"


def with_tool(check: CrossCheck | None) -> Record:
    return replace(ON_GPU, cross_check=check)


def test_the_vendors_figure_stands_beside_ours() -> None:
    assert ON_GPU.compute_ms is not None
    compute = ON_GPU.compute_ms.p50 * 1.1
    (row,) = engine_rows(results_of(with_tool(CrossCheck("trtexec", "v8201", "", 9, compute, compute))))
    assert row.tool == ("trtexec v8201", f"compute {compute:.1f} ms", "10 % more than here")


def test_a_tool_that_gave_no_figure_says_why() -> None:
    refused = CrossCheck("trtexec", "", "", 0, None, None, ("not found on this board",))
    (row,) = engine_rows(results_of(with_tool(refused)))
    assert row.tool == ("trtexec: no figure", "not found on this board")
    (row,) = engine_rows(results_of(with_tool(None)))
    assert row.tool == (ABSENT,)


def test_power_rows_tell_the_mode_what_was_changed_for_it_and_what_the_rails_drew() -> None:
    (row,) = power_rows(results_of(ON_GPU))
    assert row.mode == "MAXN (0); performance mode max; restored"
    assert row.changed == ("nvpmodel: 5W (1) → MAXN (0)",)
    assert (row.gpu_clock, row.memory_clock) == ("922 MHz", "1600 MHz")
    assert row.rails == ("POM_5V_IN 6.21 W", "POM_5V_GPU 2.90 W", "POM_5V_CPU 1.10 W")


def test_a_mode_that_was_not_reached_or_not_restored_says_so() -> None:
    mode = PerformanceMode("max", False, {}, {}, False, ("sudo: a password is required",))
    (row,) = power_rows(results_of(replace(PLAIN, performance_mode=mode)))
    assert row.mode == "performance mode max, not reached; not restored"
    assert row.problems == ("sudo: a password is required",)


def test_an_engine_whose_inspector_says_nothing_shows_no_layers() -> None:
    (row,) = engine_rows(results_of(replace(ON_GPU, engine=Engine(reused=False, bytes=1))))
    assert (row.layers, row.workspace) == (ABSENT, ABSENT)


def test_remarks_stand_with_their_case() -> None:
    (row,) = remark_rows(results_of(PLAIN, ON_GPU))
    assert (row.case, row.remarks) == (ON_GPU.case, ON_GPU.remarks)
