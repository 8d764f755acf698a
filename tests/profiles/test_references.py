"""Published latencies: names of one network are one, only equal conditions match, far off is remarked."""

from __future__ import annotations

import pytest

from profiles.devices import device_profile, device_profile_names
from profiles.references import LEAST_FACTOR, MOST_FACTOR, model_name, reference_for, references


@pytest.mark.parametrize(("name", "network", "size"), [
    ("mobilenet_v2", "mobilenetv2", None),
    ("MobileNetV2", "mobilenetv2", None),
    ("mobilenet-v2-1.0-224", "mobilenetv2", 224),
    ("mobilenet_v2_1.0_224_float.tflite", "mobilenetv2", 224),
    ("mobilenetv2_100", "mobilenetv2", None),
    ("mobilenetv2-12", "mobilenetv2", None),
    ("models/MobileNet V2 int8.onnx", "mobilenetv2", None),
    ("mobilenetv3_small_100", "mobilenetv3small", None),
    ("mobilenet-v3-large", "mobilenetv3large", None),
    ("MobileNetV3-L", "mobilenetv3large", None),
    ("resnet-18", "resnet18", None),
    ("ResNet_50", "resnet50", None),
    ("resnet50-v1-7", "resnet50", None),
    ("torchvision/resnet50-imagenet_opset13.onnx", "resnet50", None),
    ("yolox_s_640x640", "yoloxs", 640),
    ("YOLOv11n", "yolo11n", None),
    ("yolo11n-320", "yolo11n", 320),
    ("efficientdet-lite0", "efficientdetlite0", None),
])  # fmt: skip
def test_names_of_one_network_are_one(name: str, network: str, size: int | None) -> None:
    found = model_name(name)
    assert (found.network, found.input_size) == (network, size)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2_0.35_96", "mobilenet_v2_1.4_224", "mobilenetv2_050", "mobilenet_v3_large_minimalistic",
        "resnet50_v2", "resnet50d", "wide_resnet50_2", "resnet-500", "yolo11n-seg", "yolox-s-pruned",
        "myresnet50", "digits", "", "/", "50", "\N{LATIN SMALL LETTER E WITH ACUTE}",
    ],
)  # fmt: skip
def test_other_networks_are_no_namesakes(name: str) -> None:
    known = {network for measured in references() for network in measured.latency_ms}
    assert model_name(name).network not in known


@pytest.mark.parametrize(("profile", "model", "runtime", "precision", "threads", "size", "latency_ms"), [
    ("raspberry-pi-4", "mobilenet_v2", "tflite", "fp32", 4, None, 44.0),
    ("raspberry-pi-3b-plus", "mobilenet_v2", "tflite", "fp32", 4, 224, 79.0),
    ("raspberry-pi-4", "mobilenet_v3_small", "tflite", "fp16", 4, None, 14.1937),
    ("raspberry-pi-4", "yolox_s", "tflite", "int8", 4, 640, 533.657),
    ("raspberry-pi-zero-2-w", "resnet50", "tflite", "fp16", 4, None, 940.785),
    ("raspberry-pi-4", "efficientdet-lite0", "tflite", "fp32", 1, None, 354.84),
    ("raspberry-pi-4", "efficientdet-lite0", "tflite", "int8", 3, None, 143.85),
    ("raspberry-pi-5", "efficientdet-lite0", "tflite", "fp32", 2, 320, 72.9),
    ("raspberry-pi-5", "yolo11n", "onnxruntime", "fp32", 1, 640, 168.0),
    ("raspberry-pi-5", "yolo11n", "onnxruntime", "fp32", 4, None, 168.0),
    ("jetson-nano", "resnet50", "tensorrt", "fp16", 1, None, 29.2816),
    ("jetson-tx2", "resnet18", "tensorrt", "fp16", 1, None, 4.18611),
    ("jetson-xavier-nx", "yolox-s", "tensorrt", "fp16", 4, None, 13.7659),
    ("jetson-agx-xavier", "mobilenetv3-large", "tensorrt", "fp16", 1, None, 1.50451),
    ("jetson-orin-nano", "resnet50", "tensorrt", "fp16", 1, None, 4.80201),
    ("jetson-agx-orin", "resnet50", "tensorrt", "fp16", 1, None, 1.1421),
    ("jetson-orin-nano-super", "yolo11n", "tensorrt", "int8", 1, None, 3.91),
    ("jetson-orin-nano-super", "yolov8n", "tensorrt", "int8", 1, None, 3.49),
])  # fmt: skip
def test_a_published_figure_is_found(
    profile: str, model: str, runtime: str, precision: str, threads: int, size: int | None, latency_ms: float
) -> None:
    found = reference_for(profile, model, runtime, precision, threads, size)
    assert found is not None
    assert found.latency_ms == latency_ms


@pytest.mark.parametrize(("profile", "model", "runtime", "precision", "threads", "size"), [
    ("raspberry-pi-5", "mobilenet_v2", "tflite", "fp32", 4, None),  # nobody published it
    ("raspberry-pi-4", "mobilenet_v2", "onnxruntime", "fp32", 4, None),
    ("raspberry-pi-4", "mobilenet_v2", "tflite", "int8", 4, None),
    ("raspberry-pi-4", "mobilenet_v2", "tflite", "fp32", 1, None),
    ("raspberry-pi-4", "mobilenet_v2", "tflite", "fp32", 4, 192),
    ("raspberry-pi-4", "mobilenet_v2_192", "tflite", "fp32", 4, None),
    ("raspberry-pi-5", "mobilenet_v3_large", "tflite", "int8", 4, None),  # slower than its own fp16: left out
    ("jetson-orin-nano", "yolo11n", "tensorrt", "fp16", 1, None),  # measured with super clocks
    ("generic-linux", "resnet50", "tflite", "fp16", 4, None),
])  # fmt: skip
def test_other_conditions_are_no_reference(
    profile: str, model: str, runtime: str, precision: str, threads: int, size: int | None
) -> None:
    assert reference_for(profile, model, runtime, precision, threads, size) is None


def test_a_given_size_counts_more_than_the_name() -> None:
    assert reference_for("raspberry-pi-4", "mobilenet_v2_192", "tflite", "fp32", 4, 224) is not None


@pytest.mark.parametrize(("latency_ms", "remarkable"), [
    (44 * LEAST_FACTOR - 0.01, True),
    (44 * LEAST_FACTOR + 0.01, False),
    (44.0, False),
    (44 * MOST_FACTOR - 0.01, False),
    (44 * MOST_FACTOR + 0.01, True),
])  # fmt: skip
def test_only_what_is_far_off_is_remarked(latency_ms: float, remarkable: bool) -> None:
    reference = reference_for("raspberry-pi-4", "mobilenet_v2", "tflite", "fp32", 4)
    assert reference is not None
    assert (reference.judge(latency_ms) is not None) is remarkable


def test_a_slow_record_is_remarked_with_figure_factor_and_source() -> None:
    reference = reference_for("raspberry-pi-4", "mobilenet_v2", "tflite", "fp32", 4)
    assert reference is not None
    assert reference.judge(152.0) == (
        "152 ms is 3.45 times the 44 ms that XNNPACK's README of 2020 gives for this model, runtime and "
        "precision on raspberry-pi-4 (its own end-to-end benchmark, all cores, random weights, 32-bit "
        "Raspbian): "
        "look at clocks, cooling and what else runs there"
    )


def test_a_fast_record_is_remarked_as_another_network_perhaps() -> None:
    reference = reference_for("jetson-nano", "yolox-s", "tensorrt", "fp16", 1)
    assert reference is not None
    assert reference.judge(9.3) == (
        "9.3 ms is 0.097 times the 95.9 ms that NetsPresso Trainer's device matrix gives for this model, "
        "runtime and precision on jetson-nano (JetPack 4.6, 4 classes, power mode not stated): "
        "make sure that it is the same network and input size"
    )


def test_every_reference_is_of_a_board_a_precision_and_a_name_that_can_match() -> None:
    for measured in references():
        assert measured.profile in device_profile_names()
        assert measured.precision in (*device_profile(measured.profile).native_for(measured.runtime), "fp16")
        assert measured.num_threads is None or 1 <= measured.num_threads <= 4
        assert all(model_name(network).network == network for network in measured.latency_ms)
        assert all(latency_ms > 0 for latency_ms in measured.latency_ms.values())
        assert measured.source
        assert measured.conditions


def test_no_two_references_are_of_the_same_conditions() -> None:
    keys = [
        (m.profile, network, m.runtime, m.precision, m.num_threads, m.input_size)
        for m in references()
        for network in m.latency_ms
    ]
    assert len(keys) == len(set(keys)) == 92
