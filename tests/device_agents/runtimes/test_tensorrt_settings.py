"""How an engine is wanted, and for which shapes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from device_agents.protocol import TensorSpec
from device_agents.runtimes.base import BuildFailed
from device_agents.runtimes.tensorrt.capabilities import Capabilities, capabilities
from device_agents.runtimes.tensorrt.configuration import refuse_impossible
from device_agents.runtimes.tensorrt.profiles import as_text, fed_inputs, shape_ranges
from device_agents.runtimes.tensorrt.settings import settings_of

OPEN = {"image": (-1, 3, 8, 8)}


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec([name], list(shape), "float32")


@pytest.mark.parametrize(
    ("precision", "takes_flags", "way"),
    [("fp16", True, "flag"), ("fp16", False, "graph"), ("int8", True, "graph"), ("fp32", False, "graph")],
)
def test_the_way_to_a_precision_is_the_flag_where_there_is_one_and_int8_needs_no_ranges(
    precision: str, takes_flags: bool, way: str
) -> None:
    assert settings_of(precision, {}, takes_flags).precision_by == way


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision_by": "flag"}, "precision_by is 'flag'; it takes graph or calibrator for int8"),
        (
            {"batch_profile": "8,4,1"},
            "batch_profile is '8,4,1'; it takes three sizes in rising order, 1,4,8 say",
        ),
        (
            {"batch_profile": "1,x,8"},
            "batch_profile is '1,x,8'; it takes three sizes in rising order, 1,4,8 say",
        ),
        ({"dla_core": "-1"}, "dla_core is '-1'; it takes a number from 0 to 15"),
        ({"optimization_level": "6"}, "optimization_level is '6'; it takes a number from 0 to 5"),
        ({"tf32": "on"}, "tf32 is 'on'; it takes yes or no"),
    ],
)
def test_an_option_that_means_nothing_is_refused_with_what_it_takes(
    options: dict[str, str], said: str
) -> None:
    with pytest.raises(BuildFailed) as caught:
        settings_of("int8", options, takes_flags=True)
    assert (caught.value.reason, str(caught.value)) == ("invalid_option", said)


def test_a_precision_that_no_engine_has_is_refused() -> None:
    with pytest.raises(
        BuildFailed, match="TensorRT has no int8-dynamic: it builds fp32, fp16, int8"
    ) as caught:
        settings_of("int8-dynamic", {}, takes_flags=True)
    assert caught.value.reason == "precision_unsupported"


def test_what_was_asked_for_is_told_and_dla_core_zero_is_something() -> None:
    asked = {"dla_core": "0", "batch_profile": "1,4,8", "precision_by": "calibrator"}
    assert settings_of("int8", asked, takes_flags=True).as_details() == {
        "precision": "int8",
        "precision_by": "calibrator",
        "dla_core": "0",
        "batch_profile": "1,4,8",
    }


# --- shapes -------------------------------------------------------------------------------------------


def ranges(found: dict[str, Any], *fed: TensorSpec, profile: Any = None) -> str:
    return as_text(shape_ranges(found, fed_inputs(found, list(fed)), profile))


def test_an_open_batch_is_built_for_what_the_job_feeds() -> None:
    assert ranges(OPEN, spec("image", 4, 3, 8, 8)) == "image 4x3x8x8 to 4x3x8x8 to 4x3x8x8"


def test_a_batch_profile_ranges_over_the_first_axis_alone() -> None:
    found = {"image": (-1, 3, -1, 8)}
    assert (
        ranges(found, spec("image", 4, 3, 6, 8), profile=(1, 4, 8)) == "image 1x3x6x8 to 4x3x6x8 to 8x3x6x8"
    )


def test_a_closed_input_needs_no_profile() -> None:
    assert ranges({"x": (1, 4)}, spec("x", 1, 4), profile=(1, 4, 8)) == ""


@pytest.mark.parametrize(
    ("fed", "profile", "reason", "said"),
    [
        (
            [spec("image", 9, 3, 8, 8)],
            (1, 4, 8),
            "shape_out_of_range",
            "9 at a time and the batch profile goes from",
        ),
        (
            [spec("image", 1, 1, 8, 8)],
            None,
            "shape_out_of_range",
            "of the model is ?x3x8x8 and the job feeds 1x1x8x8",
        ),
        (
            [spec("image", 1, 3, 8)],
            None,
            "shape_out_of_range",
            "of the model is ?x3x8x8 and the job feeds 1x3x8",
        ),
    ],
)
def test_shapes_that_do_not_go_together_are_told(fed: Any, profile: Any, reason: str, said: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        ranges(OPEN, *fed, profile=profile)
    assert caught.value.reason == reason
    assert said in str(caught.value)


def test_an_input_that_nothing_feeds_is_named() -> None:
    with pytest.raises(BuildFailed, match="nothing feeds the model's input mask"):
        fed_inputs({"image": (1, 4), "mask": (1, 4)}, [spec("image", 1, 4)])


# --- what boards can do -------------------------------------------------------------------------------


def newest(compute_capability: tuple[int, int], dla_cores: int = 0) -> Capabilities:
    """Of a TensorRT that has lost everything which ever was lost."""
    trt: Any = SimpleNamespace(
        BuilderFlag=SimpleNamespace(TF32=6),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=0),
        ICudaEngine=SimpleNamespace(create_engine_inspector=None),
        MemoryPoolType=None,
    )
    return capabilities(trt, SimpleNamespace(num_DLA_cores=dla_cores), compute_capability)


@pytest.mark.parametrize(
    ("compute_capability", "fp16", "int8"),
    [
        ((5, 3), "fast", "no"),
        ((6, 1), "slow", "fast"),
        ((6, 2), "fast", "no"),
        ((7, 2), "fast", "fast"),
        ((8, 7), "fast", "fast"),
        ((11, 0), "fast", "fast"),
    ],
)
def test_what_is_fast_goes_by_the_gpu_where_the_builder_does_not_say(
    compute_capability: tuple[int, int], fp16: str, int8: str
) -> None:
    able = newest(compute_capability)
    assert (able.fp16, able.int8) == (fp16, int8)


def refused(precision: str, options: dict[str, str], able: Capabilities) -> BuildFailed:
    library: Any = SimpleNamespace(
        version="11.4.1",
        cuda=SimpleNamespace(compute_capability=lambda: (5, 3), device_name=lambda: "NVIDIA Tegra X1"),
    )
    with pytest.raises(BuildFailed) as caught:
        refuse_impossible(settings_of(precision, options, takes_flags=True), able, library)
    return caught.value


@pytest.mark.parametrize(
    ("precision", "options", "reason", "said"),
    [
        (
            "int8",
            {},
            "precision_unsupported",
            "NVIDIA Tegra X1 (compute capability 5.3) has no int8; TensorRT would run fp32 in its place",
        ),
        (
            "fp16",
            {"precision_by": "flag"},
            "precision_unsupported",
            "TensorRT 11.4.1 has no flag for fp16 any more: the graph has to be fp16 (precision_by graph)",
        ),
        (
            "fp16",
            {"precision_by": "graph", "dla_core": "0"},
            "dla_unavailable",
            "DLA core 0 is wanted and TensorRT 11.4.1 offers no DLA here",
        ),
    ],
)
def test_what_a_board_cannot_do_is_said_before_anything_is_built(
    precision: str, options: dict[str, str], reason: str, said: str
) -> None:
    failure = refused(precision, options, newest((5, 3)))
    assert (failure.reason, str(failure)) == (reason, said)


def test_a_dla_core_beyond_those_there_are_and_fp32_on_one_are_refused() -> None:
    able = newest((8, 7), dla_cores=2)
    assert "offers 2 DLA cores" in str(refused("fp16", {"precision_by": "graph", "dla_core": "2"}, able))
    assert str(refused("fp32", {"dla_core": "1"}, able)) == (
        "a DLA computes in fp16 and int8 only, not in fp32"
    )
