"""Precisions of layers as the engine inspector tells them, in the formats of its versions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from device_agents.runtimes.tensorrt.inspection import precisions_of


def told(*layers: Any) -> dict[str, int]:
    return precisions_of(json.dumps({"Layers": list(layers), "Bindings": ["input", "output"]}))


def layer(kind: str, given: str, computed: str, **more: Any) -> dict[str, Any]:
    def tensor(text: str) -> dict[str, Any]:
        return {"Name": "t", "Location": "Device", "Dimensions": [1, 64, 28, 28], "Format/Datatype": text}

    return {"Name": "n", "LayerType": kind, "Inputs": [tensor(given)], "Outputs": [tensor(computed)], **more}


#: As NVIDIA's developer guide prints it for TensorRT 8.
INT8_CONVOLUTION = layer(
    "CaskConvolution",
    "Thirty-two wide channel vectorized row major Int8 format.",
    "Thirty-two wide channel vectorized row major Int8 format.",
    Weights={"Type": "Int8", "Count": 131072},
    Bias={"Type": "Float", "Count": 256},
)


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        (INT8_CONVOLUTION, "int8"),
        (
            layer(
                "PointWiseV2",
                "Channel major FP16 format where channel % 4 == 0",
                "Row major linear FP16 format",
            ),
            "fp16",
        ),
        (layer("CaskPooling", "Row major linear FP32", "Row major linear FP32"), "fp32"),
        (layer("gemm", "Half", "Half", TacticName="sm80_xmma_gemm_f16f16_f16f16_f16"), "fp16"),  # 10
        (layer("gemm", "BFloat16", "Float"), "bf16"),
        (
            {"Name": "n", "LayerType": "kgen", "Inputs": [{"Name": "x", "Datatype": "Float"}], "Outputs": []},
            "fp32",
        ),
    ],
)
def test_a_layers_precision_is_read_in_the_words_of_every_version(
    found: dict[str, Any], precision: str
) -> None:
    assert told(found) == {precision: 1}


def test_layers_are_counted_by_precision() -> None:
    assert told(INT8_CONVOLUTION, INT8_CONVOLUTION, layer("gemm", "Float", "Float")) == {"int8": 2, "fp32": 1}


def test_a_layer_that_only_changes_formats_has_no_precision() -> None:
    assert told(layer("Reformat", "Row major linear FP32", "Row major linear FP16 format")) == {}


def test_indices_have_no_precision() -> None:
    assert told(layer("Gather", "Int32", "Int64")) == {}


def test_layers_given_as_text_are_read_too() -> None:
    assert told(json.dumps(INT8_CONVOLUTION)) == {"int8": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "null",
        "{}",
        '{"Layers": 3}',
        '{"Layers": ["conv1 + relu1", "fc"]}',
        '["conv1", 7, null]',
    ],
)
def test_an_inspector_that_says_nothing_of_precisions_leaves_them_unknown(text: str) -> None:
    assert precisions_of(text) == {}
