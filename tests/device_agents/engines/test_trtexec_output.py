"""Reading what trtexec writes: real logs of every generation, and anything else without an exception."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.engines import trtexec_output
from device_agents.engines.trtexec_output import Timing

CAPTURES = Path(__file__).parents[2] / "captures" / "trtexec"
LOGS = {path.name: path.read_text() for path in sorted(CAPTURES.glob("*.log"))}
TIMES = {path.name: path.read_text() for path in sorted(CAPTURES.glob("*.json"))}
HELP = (CAPTURES / "11.0.0-help.txt").read_text()


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("8.0.1-nano.log", Timing(100, 40.6337, 39.9982)),
        ("8.2.1.log", Timing(219, 13.7999, 13.6698)),
        ("8.4.1.log", Timing(704, 4.52756, 4.25195)),
        ("8.5.2-orin-nano.log", Timing(297, 10.7972, 10.1851)),
        ("10.3.0-orin.log", Timing(956, 3.14062, 3.14062)),
    ],
)
def test_the_summary_of_every_generation_gives_its_medians(log: str, expected: Timing) -> None:
    assert trtexec_output.summarised_timing(LOGS[log]) == expected


def test_total_gpu_compute_time_is_not_taken_for_the_time_of_one_inference() -> None:
    only_total = "\n".join(
        line for line in LOGS["8.2.1.log"].splitlines() if "[I] GPU Compute Time" not in line
    )
    assert trtexec_output.summarised_timing(only_total) is None


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ("7.1-times.json", Timing(2, 4.3, 4.1)),
        ("8.2-times.json", Timing(3, 13.8, 13.67)),
        ("10.3-times.json", Timing(3, 3.27, 3.14)),
    ],
)
def test_exported_times_of_every_generation_give_their_medians(times: str, expected: Timing) -> None:
    found = trtexec_output.exported_timing(TIMES[times], 200)
    assert found is not None
    assert found.iterations == expected.iterations
    assert found[1:] == pytest.approx(expected[1:])


def test_iterations_of_warming_up_count_where_no_warming_up_was_asked_for() -> None:
    found = trtexec_output.exported_timing(TIMES["8.2-times.json"], 0)
    assert found is not None
    assert found.iterations == 5


@pytest.mark.parametrize(
    ("banner", "expected"),
    [
        ("&&&& PASSED TensorRT.trtexec [TensorRT v8001] # trtexec", "8.0.1"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec", "8.5.2"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v9200] # trtexec", "9.2.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b30] # trtexec", "10.3.0"),
        ("&&&& FAILED TensorRT.trtexec [TensorRT v101602] [b10] # trtexec", "10.16.2"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v110100] [b106] # trtexec", "11.1.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v11.1.0.106] [b48] # trtexec", "11.1.0.106"),
        ("&&&& FAILED TensorRT.trtexec # /usr/src/tensorrt/bin/trtexec", ""),
    ],
)
def test_the_banner_gives_the_version(banner: str, expected: str) -> None:
    assert trtexec_output.version(banner) == expected


def test_help_gives_the_options_it_explains_and_not_those_it_mentions() -> None:
    assert trtexec_output.offered_options(HELP) == {
        "--stripWeights",
        "--versionCompatible",
        "--profile",
        "--loadEngine",
        "--shapes",
        "--iterations",
        "--warmUp",
        "--duration",
        "--infStreams",
        "--exposeDMA",
        "--includeDataTransfers",
        "--noDataTransfers",
        "--noSpinWait",
        "--noCudaGraph",
        "--exportTimes",
        "--useDLACore",
        "--help",
    }


def test_warnings_are_kept_once_each_without_advice() -> None:
    assert trtexec_output.warnings(LOGS["8.4.1.log"] + LOGS["8.4.1.log"]) == [
        "Throughput may be bound by Enqueue Time rather than GPU Compute and the GPU may be under-utilized.",
        "GPU compute time is unstable, with coefficient of variance = 2.9705%.",
    ]


def test_a_log_full_of_warnings_keeps_the_first_twenty() -> None:
    log = "\n".join(f"[11/21/2026-10:00:00] [W] [TRT] weight {number} is denormal" for number in range(99))
    found = trtexec_output.warnings(log)
    assert len(found) == 20
    assert found[-1] == "[TRT] weight 19 is denormal"


def test_a_failure_is_told_in_the_tools_own_words() -> None:
    assert trtexec_output.failure(LOGS["10.3.0-unknown-options.log"]) == (
        "Unknown option: --workspace 2048; Unknown option: --buildOnly; Unknown option: --explicitBatch"
    )
    assert trtexec_output.failure(LOGS["10.0.1-foreign-engine.log"]).endswith(
        "; Engine deserialization failed; Got invalid engine!"
    )


def test_only_a_log_that_says_so_is_a_pass() -> None:
    passes = {name for name, log in LOGS.items() if trtexec_output.passed(log)}
    assert passes == {"8.0.1-nano.log", "8.2.1.log", "8.4.1.log", "8.5.2-orin-nano.log", "10.3.0-orin.log"}


def test_the_shapes_that_were_timed_are_those_of_the_inputs() -> None:
    assert trtexec_output.timed_shapes(LOGS["8.6.0-shapes.log"]) == {"tensor-0": [4, 1, 28, 28]}
    newer = (
        "[04/11/2025-15:15:48] [I] Input binding for two words with dimensions 1x3x768x1152 is created.\n"
        "[04/11/2025-15:15:48] [I] Input binding for scalar with dimensions  is created.\n"
        "[04/11/2025-15:15:48] [I] Output binding for output0 with dimensions 1x300x4 is created.\n"
    )
    assert trtexec_output.timed_shapes(newer) == {"two words": [1, 3, 768, 1152], "scalar": []}


@pytest.mark.parametrize(
    "line",
    [
        "[W] Dynamic dimensions required for input: x, but no shapes were provided. "
        "Automatically overriding shape to: 1x3x640x640",
        "[W] Shape missing for input with dynamic shape: xAutomatically setting shape to: 1x3x640x640",
    ],
)
def test_shapes_that_were_guessed_are_told(line: str) -> None:
    assert trtexec_output.guessed_shapes("[11/21/2026-10:00:00] " + line) == [line[4:]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "{}",
        "null",
        "[1, null, [], {}]",
        '[{"latencyMs": "1", "computeMs": 1}]',
        '[{"latencyMs": NaN, "computeMs": 1}]',
        '[{"latencyMs": 1e999, "computeMs": 1}]',
        '[{"latencyMs": -1, "computeMs": 1}]',
        '[{"latencyMs": true, "computeMs": 1}]',
        '[{"latencyMs": 1}]',
        '[{"startComputeMs": 10, "latencyMs": 1, "computeMs": 1}]',
        "[" * 5000,
        '[{"latencyMs": 1' + "0" * 400 + ', "computeMs": 1}]',
    ],
)
def test_a_file_without_a_single_timed_row_has_no_medians(text: str) -> None:
    assert trtexec_output.exported_timing(text, 200) is None


# --- anything at all ------------------------------------------------------------------------------

_PARSERS: list[Callable[[str], Any]] = [
    trtexec_output.offered_options,
    trtexec_output.version,
    trtexec_output.passed,
    trtexec_output.summarised_timing,
    trtexec_output.timed_shapes,
    trtexec_output.guessed_shapes,
    trtexec_output.warnings,
    trtexec_output.failure,
    lambda text: trtexec_output.exported_timing(text, 200),
]
_REAL = [*LOGS.values(), *TIMES.values(), HELP]


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """A real text cut off, its lines in another order, with something else in between."""
    lines = draw(st.sampled_from(_REAL)).splitlines()
    if draw(st.booleans()):
        lines = draw(st.permutations(lines))
    text = "\n".join(lines)
    start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    return text[:start] + draw(st.text(max_size=12)) + text[end:]


@given(spoilt() | st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_text_makes_a_parser_raise_and_every_median_is_a_duration(text: str) -> None:
    for parse in _PARSERS:
        found = parse(text)
        if isinstance(found, Timing):
            assert found.iterations >= 1
            assert all(math.isfinite(value) and value >= 0 for value in found[1:])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=9), st.floats(0, 10))
@settings(max_examples=40, deadline=None)
def test_medians_are_those_of_the_rows(computes: list[float], copies: float) -> None:
    rows = [{"startComputeMs": 200.0, "computeMs": one, "latencyMs": one + copies} for one in computes]
    found = trtexec_output.exported_timing(json.dumps(rows), 200)
    ordered = sorted(computes)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    assert found == Timing(len(rows), pytest.approx(middle + copies), pytest.approx(middle))
