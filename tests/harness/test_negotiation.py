"""Which artifact serves a case on a board, by what its runtime said of itself."""

from __future__ import annotations

import pytest

from device_agents.protocol import RuntimeStatus
from harness.board_options import BoardOptions
from harness.errors import PrecisionUnsupported
from harness.negotiation import ArtifactForm, negotiate
from reports.record import Case

NANO = {
    "gpu": "NVIDIA Tegra X1",
    "compute_capability": "5.3",
    "precision_by": "flag",
    "fp16": "fast",
    "int8": "no",
    "calibrator": "yes",
    "max_opset": "13",
}
ORIN = NANO | {"gpu": "Orin", "compute_capability": "8.7", "int8": "fast", "max_opset": "20"}
THOR = ORIN | {"gpu": "Thor", "compute_capability": "11.0", "precision_by": "graph", "calibrator": "no"}


def form(
    runtime: str, precision: str, version: str, details: dict[str, str], **options: object
) -> ArtifactForm:
    status = RuntimeStatus(runtime, True, version, runtime, None, details)
    case = Case("nano-01", "net", runtime, precision)
    return negotiate(case, status, BoardOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "opset"),
    [
        ("1.6.0", 13),
        ("1.8.1", 14),
        ("1.10.0", 15),
        ("1.13.1", 17),
        ("1.16.3", 19),
        ("1.19.2", 21),
        ("1.23.2", None),
        ("unknown", None),
    ],
)
def test_an_old_onnxruntime_is_given_no_newer_opset_than_it_reads(version: str, opset: int | None) -> None:
    assert form("onnxruntime", "int8", version, {}) == ArtifactForm("int8", opset)


def test_tflite_takes_what_is_asked_for() -> None:
    assert form("tflite", "int8-dynamic", "2.14.0", {}) == ArtifactForm("int8-dynamic")


def test_a_jetson_nano_gets_the_fp32_graph_at_opset_13_and_makes_fp16_by_flag() -> None:
    assert form("tensorrt", "fp16", "8.2.1.8", NANO) == ArtifactForm(
        "fp32", 13, options={"precision_by": "flag"}
    )


def test_int8_on_a_jetson_nano_is_unsupported_and_the_reason_names_its_gpu() -> None:
    with pytest.raises(PrecisionUnsupported) as caught:
        form("tensorrt", "int8", "8.2.1.8", NANO)
    assert caught.value.message == (
        "nano-01: NVIDIA Tegra X1 (compute capability 5.3) has no int8; TensorRT would run fp32 in its place"
    )
    assert caught.value.remedy == "measure fp16 there"


def test_where_flags_are_gone_the_graph_carries_the_precision() -> None:
    assert form("tensorrt", "fp16", "11.4.1.1", THOR).precision == "fp16"
    assert form("tensorrt", "int8", "11.4.1.1", THOR).options == {"precision_by": "graph"}


def test_int8_comes_from_the_graph_unless_a_calibrator_is_asked_for() -> None:
    assert form("tensorrt", "int8", "10.3.0.30", ORIN) == ArtifactForm(
        "int8", 20, options={"precision_by": "graph"}
    )
    assert form("tensorrt", "int8", "10.3.0.30", ORIN, int8_by="calibrator") == ArtifactForm(
        "fp32", 20, calibrates_on_board=True, options={"precision_by": "calibrator"}
    )


def test_a_calibrator_that_is_gone_is_said_to_be() -> None:
    with pytest.raises(PrecisionUnsupported, match=r"TensorRT 11\.4\.1\.1 has no int8 calibrator any more"):
        form("tensorrt", "int8", "11.4.1.1", THOR, int8_by="calibrator")


def test_tensorrt_has_no_dynamic_int8() -> None:
    with pytest.raises(PrecisionUnsupported, match="TensorRT has no int8-dynamic"):
        form("tensorrt", "int8-dynamic", "10.3.0.30", ORIN)


def test_forms_differ_by_all_they_say() -> None:
    forms = [
        form("tensorrt", "fp32", "8.2.1.8", NANO),
        form("tensorrt", "fp32", "10.3.0.30", ORIN),
        form("tensorrt", "int8", "10.3.0.30", ORIN),
        form("tensorrt", "int8", "10.3.0.30", ORIN, int8_by="calibrator"),
    ]
    assert len({each.key for each in forms}) == 4


@pytest.mark.parametrize("digits", [5, 5000, 300_000])
def test_a_version_that_no_runtime_has_says_nothing(digits: int) -> None:
    """A board says it; more digits than versions have would be refused by Python itself."""
    number = "7" * digits
    assert form("onnxruntime", "fp32", f"{number}.{number}", {}) == ArtifactForm("fp32", None)
    assert form("tensorrt", "fp32", number, NANO | {"max_opset": number}).max_opset == 7777
