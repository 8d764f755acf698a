"""Options of `bench run` for boards: what they become, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from harness.board_options import BoardOptions
from harness.commands.board_settings import board_options
from harness.errors import UsageError


def given(**changes: Any) -> BoardOptions:
    base: dict[str, Any] = {
        "performance_mode": "keep",
        "cool_down": 120.0,
        "provider": None,
        "delegate": None,
        "delegate_options": None,
        "int8_by": "qdq",
        "dla_core": None,
        "workspace": None,
        "batch_profile": None,
        "optimization_level": None,
        "via": None,
    }
    return board_options(**{**base, **changes})


def test_without_options_a_board_is_left_as_it_is() -> None:
    assert given() == BoardOptions()
    assert {
        runtime: given().for_runtime(runtime) for runtime in ("onnxruntime", "tflite", "tensorrt", "null")
    } == {
        "onnxruntime": {},
        "tflite": {},
        "tensorrt": {},
        "null": {},
    }


def test_each_runtime_is_told_its_own_settings() -> None:
    options = given(
        provider="xnnpack,cpu",
        delegate="edgetpu",
        delegate_options="device=usb:0",
        dla_core=0,
        workspace=256,
        batch_profile="1,4,8",
        optimization_level=2,
        via="trtexec",
    )
    assert options.for_runtime("onnxruntime") == {"providers": "xnnpack,cpu"}
    assert options.for_runtime("tflite") == {"delegate": "edgetpu", "delegate_options": "device=usb:0"}
    assert options.for_runtime("tensorrt") == {
        "dla_core": "0",
        "workspace_mib": "256",
        "batch_profile": "1,4,8",
        "optimization_level": "2",
        "via": "trtexec",
    }
    assert options.for_runtime("null") == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"performance_mode": "turbo"}, "--performance-mode turbo: no such choice"),
        ({"int8_by": "entropy"}, "--int8-by entropy: no such choice"),
        ({"via": "perf"}, "--via perf: no such choice"),
        ({"cool_down": -1.0}, "--cool-down -1: has to be 0 or more"),
        ({"dla_core": -1}, "--dla -1: has to be 0 or more"),
        ({"workspace": 0}, "--workspace 0: has to be 1 or more"),
        ({"delegate_options": "a=b"}, "--delegate-options without --delegate"),
        ({"batch_profile": "1,4"}, "--batch-profile 1,4: not least, usual and largest batch size"),
        ({"batch_profile": "8,4,1"}, "--batch-profile 8,4,1: not least, usual and largest batch size"),
    ],
)
def test_what_means_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        given(**changes)
    assert caught.value.message == message


def test_one_size_may_stand_for_several_of_a_profile() -> None:
    assert given(batch_profile="1,8,8").batch_profile == (1, 8, 8)
