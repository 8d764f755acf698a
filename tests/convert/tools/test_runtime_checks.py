"""The tools that ask other runtimes about an artifact, each in its toolchain."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema

from convert.converters.to_onnxruntime import ONNX_OPTIMISED, ONNX_TO_ONNXRUNTIME
from convert.converters.to_tensorrt import ONNX_TO_TENSORRT
from convert.data.arrays import load_arrays, save_arrays
from convert.errors import ConversionFailed
from convert.processes.toolchain import find_toolchain
from convert.proofs.execution import run_model
from convert.sources.inspection import ModelInfo
from convert.workshop import Workshop
from tests.convert import models
from tests.convert.onnx_jobs import SAMPLES, made, network, outputs

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("toolchains")]

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("source") / "network.onnx")


def run_in_tflite_runtime(
    workshop: Workshop, model: Path, folder: Path, inputs: dict[str, Any]
) -> tuple[dict[str, np.ndarray[Any, Any]], str]:
    names = save_arrays(folder / "inputs.npz", inputs)
    request = {
        "model": str(model),
        "inputs": str(folder / "inputs.npz"),
        "names": names,
        "outputs": str(folder / "outputs.npz"),
    }
    reply = workshop.run("tflite-runtime check", request, toolchain="tflite-runtime")
    return load_arrays(folder / "outputs.npz", reply["names"]), reply["version"]


def ask_tensorrt(workshop: Workshop, model: Path, **more: object) -> dict[str, Any]:
    return workshop.run("tensorrt parser check", {"model": str(model), **more}, toolchain="tensorrt-parser")


def images(count: int) -> dict[str, Any]:
    with np.load(models.DIGITS / "evaluation.npz") as archive:
        name = next(name for name in archive.files if archive[name].ndim > 1)
        return {"image": archive[name][:count].reshape(count, 1, 8, 8, 1).astype(np.float32)}


def test_tflite_runtime_answers_by_the_names_of_the_signature(
    digits_tflite: ModelInfo, workshop: Workshop, tmp_path: Path
) -> None:
    inputs = images(3)
    answers, version = run_in_tflite_runtime(workshop, digits_tflite.path, tmp_path, inputs)
    expected = run_model(digits_tflite, inputs)
    assert version == "2.14.0"
    assert list(answers) == ["scores"]
    np.testing.assert_allclose(answers["scores"], expected["scores"], atol=1e-4)


def test_an_operator_newer_than_tflite_runtime_is_refused_in_its_words(
    digits_tflite: ModelInfo, workshop: Workshop, tmp_path: Path
) -> None:
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(digits_tflite.path.read_bytes()))
    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            code.version = 12
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    newer = tmp_path / "newer.tflite"
    newer.write_bytes(builder.Output())
    with pytest.raises(
        ConversionFailed,
        match=r"tflite-runtime 2\.14\.0 does not run newer\.tflite: Didn't find op for builtin opcode "
        r"'FULLY_CONNECTED' version '12'",
    ) as caught:
        run_in_tflite_runtime(workshop, newer, tmp_path, images(1))
    assert caught.value.reason == "runtime_refused"


def test_tensorrt_refuses_the_int8_form_of_onnxruntime_naming_the_node(
    source: Path, workshop: Workshop, tmp_path: Path
) -> None:
    job = made(ONNX_TO_ONNXRUNTIME["int8"][0], source, tmp_path, SAMPLES)
    with pytest.raises(
        ConversionFailed,
        match=r"its parser does not take model\.onnx: node \d+ 'b\d_DequantizeLinear' \(DequantizeLinear\): "
        r".*input has type Int32",
    ) as caught:
        ask_tensorrt(workshop, job.output)
    assert caught.value.reason == "runtime_refused"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt_builds_an_engine_of_its_own_form_with_an_open_batch(
    precision: str, source: Path, workshop: Workshop, tmp_path: Path
) -> None:
    way = ONNX_TO_TENSORRT[precision][0]
    job = made(way, source, tmp_path, SAMPLES if way.needs_calibration else None)
    reply = ask_tensorrt(workshop, job.output, profile=[1, 2, 16])
    assert reply["version"].startswith("1.7")
    assert reply["layers"] >= 7
    assert reply["engine_bytes"] > 4096


def test_tensorrt_reads_weights_from_a_file_beside_the_model(
    source: Path, workshop: Workshop, tmp_path: Path
) -> None:
    split = tmp_path / "network.onnx"
    (tmp_path / "weights").mkdir()
    onnx.save(
        onnx.load(source), split, save_as_external_data=True, location="weights/w.bin", size_threshold=0
    )
    assert ask_tensorrt(workshop, split)["engine_bytes"] > 4096
    (tmp_path / "weights/w.bin").unlink()
    with pytest.raises(ConversionFailed, match=r"its parser does not take network\.onnx"):
        ask_tensorrt(workshop, split)


def test_tensorrt_refuses_operators_of_onnxruntime(source: Path, workshop: Workshop, tmp_path: Path) -> None:
    job = made(ONNX_OPTIMISED["fp32"][0], source, tmp_path)
    with pytest.raises(ConversionFailed, match=r"\(FusedConv\)"):
        ask_tensorrt(workshop, job.output)


def test_tensorrt_refuses_a_file_that_was_cut(source: Path, workshop: Workshop, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(ConversionFailed, match=r"its parser does not take cut\.onnx: \w+") as caught:
        ask_tensorrt(workshop, cut)
    assert caught.value.reason == "runtime_refused"


def test_a_graph_that_parses_and_cannot_be_built_is_refused_with_the_builders_reason(
    workshop: Workshop, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"\x08\x08\x12\x03abc")  # IR version 8, producer "abc", no graph
    with pytest.raises(
        ConversionFailed, match=r"builds no engine from empty\.onnx: .*Network must have at least one output"
    ) as caught:
        ask_tensorrt(workshop, empty)
    assert caught.value.reason == "runtime_refused"


def test_tensorrt_is_not_asked_to_guess_an_open_height(workshop: Workshop, tmp_path: Path) -> None:
    path = models.identity(tmp_path / "model.onnx", ("x", ["N", 3, "H", 8], models.FLOAT))
    with pytest.raises(ConversionFailed, match=r"'x' of model\.onnx has open axes beside the first"):
        ask_tensorrt(workshop, path)


@pytest.mark.parametrize(("precision", "tolerance", "share"), [("fp32", 1e-4, 1.0), ("fp16", 1e-2, 0.5)])
def test_openvino_computes_what_onnxruntime_does(
    precision: str,
    tolerance: float,
    share: float,
    source: Path,
    workshop: Workshop,
    toolchains: Path,
    tmp_path: Path,
) -> None:
    target = tmp_path / "model.xml"
    request = {
        "source": {"kind": "onnx", "path": str(source)},
        "inputs": [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32"}],
        "outputs": ["scores"],
        "output": str(target),
        "work": str(tmp_path),
        "precision": precision,
    }
    reply = workshop.run("onnx to openvino", request, toolchain="openvino")
    assert [step["tool"] for step in reply["steps"]] == ["openvino"]
    weights = sum(onnx.numpy_helper.to_array(t).nbytes for t in onnx.load(source).graph.initializer)
    assert target.with_suffix(".bin").stat().st_size == pytest.approx(share * weights, rel=0.05)
    answers = openvino_outputs(find_toolchain("openvino", toolchains), target, tmp_path)
    np.testing.assert_allclose(answers["scores"], outputs(source, SAMPLES)["scores"], atol=tolerance)


def openvino_outputs(python: Path | None, model: Path, folder: Path) -> dict[str, Any]:
    request = {
        "model": str(model),
        "inputs": str(folder / "inputs.npz"),
        "names": save_arrays(folder / "inputs.npz", SAMPLES),
        "outputs": str(folder / "outputs.npz"),
    }
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from convert.tools.onnx_to_openvino import reference; "
        f"assert reference({request!r})['names'] == ['scores']"
    )
    subprocess.run([str(python), "-c", script], check=True)
    return dict(load_arrays(folder / "outputs.npz", ["scores"]))


def test_openvino_has_no_int8_of_ours(source: Path, workshop: Workshop, tmp_path: Path) -> None:
    request = {
        "source": {"kind": "onnx", "path": str(source)},
        "inputs": [],
        "outputs": [],
        "output": str(tmp_path / "model.xml"),
        "work": str(tmp_path),
        "precision": "int8",
    }
    with pytest.raises(ConversionFailed, match="'int8' is not a precision of openvino") as caught:
        workshop.run("onnx to openvino", request, toolchain="openvino")
    assert caught.value.reason == "no_path"
