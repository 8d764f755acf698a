from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from convert.converters.to_onnxruntime import ONNX_OPTIMISED
from convert.converters.to_tensorrt import ONNX_TO_TENSORRT
from convert.errors import ConversionFailed
from convert.job import Job
from tests.convert.onnx_jobs import SAMPLES, made, network, noise_db

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("source") / "network.onnx")


@pytest.fixture(scope="module")
def static(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return made(ONNX_TO_TENSORRT["int8"][0], source, tmp_path_factory.mktemp("static"), SAMPLES)


def test_tensorrt_has_three_precisions_and_only_int8_is_calibrated() -> None:
    assert {
        precision: [way.needs_calibration for way in ways] for precision, ways in ONNX_TO_TENSORRT.items()
    } == {"fp32": [False, False], "fp16": [False, False], "int8": [True, True]}


def test_activations_are_symmetric_s8_and_weights_per_channel(static: Job) -> None:
    graph = onnx.load(static.output).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    zeros = [constants[node.input[2]] for node in pairs]
    assert {zero.data_type for zero in zeros} == {TensorProto.INT8}
    assert not any(np.any(numpy_helper.to_array(zero)) for zero in zeros)
    weights = {node.input[0]: constants[node.input[1]].dims for node in pairs if node.input[0] in constants}
    assert weights == {"w1": [16], "w2": [16], "w3": [10]}


def test_weights_and_biases_are_float_in_the_file(static: Job) -> None:
    graph = onnx.load(static.output).graph
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert {stored[name] for name in ("w1", "b1", "w2", "b2", "w3", "b3")} == {TensorProto.FLOAT}
    assert TensorProto.INT32 not in stored.values()


def test_every_pair_has_one_reader(static: Job) -> None:
    graph = onnx.load(static.output).graph
    reads = [name for node in graph.node for name in node.input]
    pairs = [node.output[0] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {reads.count(name) for name in pairs} == {1}


def test_the_artifact_has_standard_operators_only_and_says_how_near_it_comes(
    static: Job, source: Path
) -> None:
    model = onnx.load(static.output)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    detail = static.log.steps[-1].detail
    assert detail is not None
    assert detail.startswith("QDQ for TensorRT, s8 symmetric activations, weights s8 per channel; ranges by ")
    assert f"{noise_db(source, static.output, SAMPLES):.1f} dB" in detail


def test_fp16_keeps_float32_at_its_ends(source: Path, tmp_path: Path) -> None:
    job = made(ONNX_TO_TENSORRT["fp16"][0], source, tmp_path)
    graph = onnx.load(job.output).graph
    ends = [entry.type.tensor_type.elem_type for entry in (*graph.input, *graph.output)]
    assert ends == [TensorProto.FLOAT, TensorProto.FLOAT]
    assert {tensor.data_type for tensor in graph.initializer} == {TensorProto.FLOAT16}
    assert noise_db(source, job.output, SAMPLES) > 50


@pytest.mark.parametrize("number", [0, 1])
def test_a_graph_that_onnxruntime_optimised_is_refused(number: int, source: Path, tmp_path: Path) -> None:
    optimised = made(ONNX_OPTIMISED["fp32"][0], source, tmp_path / "optimised").output
    with pytest.raises(ConversionFailed, match=r"has operators of com\.microsoft, which TensorRT") as caught:
        made(ONNX_TO_TENSORRT["fp32"][number], optimised, tmp_path / "made")
    assert caught.value.reason == "custom_op"
