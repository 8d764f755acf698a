from dataclasses import replace

import numpy as np
import pytest

from reports.record import CrossCheck, Engine, PerformanceMode, Telemetry
from reports.verdict import REASONS, Evidence, judge

STEADY = tuple(np.arange(200) * 100 + 10_000_000 for _ in range(3))
DRIFTING = (np.linspace(10e6, 12e6, 200).astype(np.int64),)

GOOD = Evidence(
    latency_ns=STEADY,
    fault=None,
    checked=True,
    telemetry=Telemetry(
        temperature_before_c=45.0, cpu_mhz_min=2400.0, cpu_mhz_max=2400.0, other_cpu_share=0.03
    ),
    stopped_by=("precision",) * 3,
    governor="performance",
)


def reasons(evidence: Evidence) -> list[str]:
    return [doubt.reason for doubt in judge(evidence)[1]]


def with_board(**facts: object) -> Evidence:
    return replace(GOOD, telemetry=replace(Telemetry(), **facts))  # type: ignore[arg-type]


def test_nothing_against_it_is_valid() -> None:
    assert judge(GOOD) == ("valid", ())


def test_unknown_telemetry_is_no_doubt() -> None:
    assert judge(replace(GOOD, telemetry=None))[0] == "valid"
    assert judge(replace(GOOD, telemetry=Telemetry()))[0] == "valid"


def test_wrong_outputs_make_a_case_invalid_with_the_checks_own_sentence() -> None:
    verdict, (doubt,) = judge(replace(GOOD, fault="cosine 0.31 below 0.95"))
    assert (verdict, doubt.reason, doubt.detail) == ("invalid", "wrong_output", "cosine 0.31 below 0.95")


def test_unchecked_outputs_are_suspect() -> None:
    verdict, (doubt,) = judge(replace(GOOD, checked=False))
    assert (verdict, doubt.reason) == ("suspect", "unchecked_output")


@pytest.mark.parametrize(
    ("facts", "verdict", "reason", "detail"),
    [
        (
            {"throttled": True, "temperature_max_c": 84.6},
            "invalid",
            "throttled",
            "the board throttled itself while measuring, at up to 85 °C",
        ),
        ({"throttled": True}, "invalid", "throttled", "the board throttled itself while measuring"),
        (
            {"under_voltage": True},
            "invalid",
            "under_voltage",
            "the board reported under-voltage; check supply and cable",
        ),
        (
            {"temperature_before_c": 60.6},
            "suspect",
            "too_hot_at_start",
            "the board started at 61 °C, above 60 °C",
        ),
        (
            {"other_cpu_share": 0.34},
            "suspect",
            "busy_board",
            "other programs used 34 % of a core, more than 10 %",
        ),
        (
            {"steal_share": 0.06},
            "suspect",
            "busy_board",
            "the hypervisor took 6 % of a core away, more than 5 %",
        ),
        (
            {"swapped_pages": 257},
            "suspect",
            "swapped",
            "257 pages of memory were swapped while measuring",
        ),
        (
            {"cpu_mhz_min": 1500.0, "cpu_mhz_max": 2400.0},
            "suspect",
            "clock_changed",
            "the CPU clock ranged from 1500 to 2400 MHz although the governor 'performance' should hold it",
        ),
    ],
)
def test_each_trouble_of_the_board_is_named_with_its_figures(
    facts: dict[str, object], verdict: str, reason: str, detail: str
) -> None:
    found, (doubt,) = judge(with_board(**facts))
    assert (found, doubt.reason, doubt.detail, doubt.severity) == (verdict, reason, detail, verdict)


@pytest.mark.parametrize(
    "facts",
    [
        {"throttled": False, "under_voltage": False},
        {"temperature_before_c": 60.0},
        {"other_cpu_share": 0.10},
        {"steal_share": 0.05},
        {"swapped_pages": 256},
        {"cpu_mhz_min": 2280.0, "cpu_mhz_max": 2400.0},
        {"cpu_mhz_min": None, "cpu_mhz_max": 2400.0},
    ],
)
def test_what_stays_within_its_bound_is_no_doubt(facts: dict[str, object]) -> None:
    assert judge(with_board(**facts)) == ("valid", ())


def test_a_board_may_have_its_own_bound_for_a_cool_start() -> None:
    warm = with_board(temperature_before_c=70.0)
    assert reasons(warm) == ["too_hot_at_start"]
    assert reasons(replace(warm, too_hot_c=75.0)) == []


@pytest.mark.parametrize("governor", ["ondemand", "schedutil", "powersave", None])
def test_a_clock_that_idles_down_between_loops_is_let_pass_while_latencies_hold(governor: str | None) -> None:
    ramped = replace(with_board(cpu_mhz_min=600.0, cpu_mhz_max=1500.0), governor=governor)
    assert judge(ramped) == ("valid", ())


def test_a_changing_clock_is_named_when_the_latencies_moved_too() -> None:
    ramped = with_board(cpu_mhz_min=600.0, cpu_mhz_max=1500.0)
    moved = replace(ramped, governor="ondemand", latency_ns=DRIFTING)
    assert reasons(moved) == ["drift", "clock_changed"]
    assert judge(moved)[1][1].detail == (
        "the CPU clock ranged from 600 to 1500 MHz under the governor 'ondemand', "
        "and the latencies moved (drift)"
    )


def test_an_emulated_board_is_suspect() -> None:
    assert judge(replace(GOOD, emulated=True))[0] == "suspect"


def test_one_grave_doubt_outweighs_the_light_ones_and_comes_first() -> None:
    many = replace(with_board(throttled=True, swapped_pages=900), checked=False, latency_ns=DRIFTING)
    verdict, doubts = judge(many)
    assert verdict == "invalid"
    assert [doubt.reason for doubt in doubts] == ["throttled", "unchecked_output", "drift", "swapped"]


def test_no_samples_are_invalid() -> None:
    assert judge(replace(GOOD, latency_ns=()))[0] == "invalid"


def test_a_null_runtime_at_the_clocks_resolution_is_valid() -> None:
    ticks = np.random.default_rng(2).choice([55, 74, 93, 370], 3000, p=[0.5, 0.3, 0.15, 0.05])
    assert judge(replace(GOOD, latency_ns=(ticks,))) == ("valid", ())


def test_every_reason_given_is_explained() -> None:
    everything = replace(
        with_board(
            throttled=True,
            under_voltage=True,
            temperature_before_c=90.0,
            cpu_mhz_min=1.0,
            cpu_mhz_max=2.0,
            other_cpu_share=1.0,
            swapped_pages=9999,
        ),
        fault="wrong",
        emulated=True,
        latency_ns=DRIFTING,
    )
    assert set(reasons(everything)) <= set(REASONS)
    assert len(reasons(everything)) == 9


# --- engines, power modes, vendors' tools ---------------------------------------------------------


def engine(**layers: int) -> Engine:
    return Engine(reused=False, bytes=1, layer_precisions=layers)


def test_an_engine_without_one_layer_at_its_precision_is_invalid() -> None:
    verdict, (doubt,) = judge(replace(GOOD, precision="int8", engine=engine(fp32=12, fp16=3)))
    assert (verdict, doubt.reason) == ("invalid", "precision_not_executed")
    assert doubt.detail == "no layer runs at int8: 12 at fp32, 3 at fp16"


@pytest.mark.parametrize(
    ("precision", "made"),
    [("fp16", engine(fp16=1, fp32=40)), ("fp32", engine(fp32=12)), ("int8", engine())],
    ids=["some layers stay fp32", "fp32", "a runtime that cannot say"],
)
def test_an_engine_is_not_doubted_for_what_builders_may_do(precision: str, made: Engine) -> None:
    assert judge(replace(GOOD, precision=precision, engine=made)) == ("valid", ())


def test_a_performance_mode_that_was_not_reached_is_suspect_and_says_why() -> None:
    mode = PerformanceMode("max", reached=False, problems=("sudo: a password is required",))
    verdict, (doubt,) = judge(replace(GOOD, performance_mode=mode))
    assert (verdict, doubt.reason) == ("suspect", "performance_mode_not_reached")
    assert doubt.detail == "performance mode max was not reached: sudo: a password is required"


def test_a_power_mode_that_changed_makes_the_figures_invalid() -> None:
    verdict, (doubt,) = judge(with_board(power_modes=("MAXN (0)", "5W (1)")))
    assert (verdict, doubt.reason) == ("invalid", "power_mode_changed")
    assert doubt.detail == "the power mode changed: MAXN (0) -> 5W (1)"


def test_a_gpu_clock_counts_only_where_it_was_to_be_held() -> None:
    moving = with_board(gpu_mhz_min=306.0, gpu_mhz_max=918.0)
    assert judge(moving) == ("valid", ())
    held = replace(moving, performance_mode=PerformanceMode("max", reached=True))
    _, (doubt,) = judge(held)
    assert (doubt.reason, doubt.detail) == (
        "clock_changed",
        "the GPU clock ranged from 306 to 918 MHz although it should be held",
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (4.0, 4.39, None),
        (4.0, 4.5, "trtexec measured a median compute of 4.5 ms, 12 % more than here (4 ms)"),
        (4.0, 3.5, "trtexec measured a median compute of 3.5 ms, 12 % less than here (4 ms)"),
        (0.1, 0.19, None),  # launching is half of it
        (4.0, None, None),
    ],
)
def test_the_vendors_tool_may_disagree(ours: float, theirs: float | None, said: str | None) -> None:
    check = CrossCheck("trtexec", "v8201", "trtexec ...", 100, theirs, theirs)
    doubts = judge(replace(GOOD, compute_p50_ms=ours, cross_check=check))[1]
    assert [doubt.detail for doubt in doubts if doubt.reason == "tool_disagrees"] == ([said] if said else [])
