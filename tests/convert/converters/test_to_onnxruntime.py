from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from convert.converters import onnx_ranges
from convert.converters.float_outputs import keep_outputs_float
from convert.converters.onnx_graphs import graph_opset
from convert.converters.onnx_nearness import signal_to_noise
from convert.converters.onnx_ranges import activation_extremes, activation_values
from convert.converters.sample_ranges import RANGE_RULES
from convert.converters.to_onnxruntime import ONNX_OPTIMISED, ONNX_TO_ONNXRUNTIME
from convert.converters.to_tensorrt import ONNX_TO_TENSORRT
from convert.errors import ConversionFailed
from convert.job import Arrays, Job, Way
from tests.convert import models
from tests.convert.onnx_jobs import SAMPLES, made, network, noise_db, outputs

pytestmark = pytest.mark.processes

ALL_WAYS = [
    pytest.param(way, precision, id=f"{target} {precision} {number}")
    for target, table in (
        ("onnxruntime", ONNX_TO_ONNXRUNTIME),
        ("tensorrt", ONNX_TO_TENSORRT),
        ("optimised", ONNX_OPTIMISED),
    )
    for precision, ways in table.items()
    for number, way in enumerate(ways)
]
LEAST_DB = {"fp32": 100.0, "fp16": 50.0, "int8": 25.0, "int8-dynamic": 25.0}


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path, load_external_data=False).graph.node]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("source") / "network.onnx")


@pytest.fixture(scope="module")
def static(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return made(ONNX_TO_ONNXRUNTIME["int8"][0], source, tmp_path_factory.mktemp("static"), SAMPLES)


@pytest.mark.parametrize(("way", "precision"), ALL_WAYS)
def test_every_way_takes_weights_from_a_file_in_a_folder_beside_the_model(
    way: Way, precision: str, source: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split" / "network.onnx"
    (split.parent / "weights").mkdir(parents=True)
    onnx.save(
        onnx.load(source), split, save_as_external_data=True, location="weights/w.bin", size_threshold=0
    )
    job = made(way, split, tmp_path, SAMPLES if way.needs_calibration else None)
    shutil.rmtree(split.parent)
    shutil.rmtree(job.folder)
    moved = tmp_path / "elsewhere"
    job.output.parent.rename(moved)
    assert noise_db(source, moved / "model.onnx", SAMPLES) > LEAST_DB[precision]


def test_a_copy_keeps_data_files_by_the_names_the_graph_has_for_them(source: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    split = tmp_path / "network.onnx"
    onnx.save(
        onnx.load(source), split, save_as_external_data=True, location="weights/w.bin", size_threshold=0
    )
    job = made(ONNX_TO_ONNXRUNTIME["fp32"][-1], split, tmp_path / "made")
    kept = {str(file.relative_to(job.output.parent)) for file in job.output.parent.rglob("*.*")}
    assert kept == {"model.onnx", "weights/w.bin"}
    assert (job.output.parent / "weights/w.bin").read_bytes() == (tmp_path / "weights/w.bin").read_bytes()


def test_ranges_are_those_that_come_nearest_to_fp32(source: Path, static: Job) -> None:
    chosen = static.log.steps[-1].detail
    assert chosen is not None
    assert chosen.startswith("QDQ, u8 activations, s8 weights per channel; ranges by ")
    assert all(
        words in chosen for words in (" min-max", "mean min-max", "median min-max", "99.99 percentile")
    )
    nearness = signal_to_noise(
        source,
        {file.stem: file for file in static.folder.glob("*min-max.onnx")}
        | {"percentile": static.folder / "99.99 percentile.onnx"},
        list(static.calibration_samples()),
    )
    assert len(nearness) == 4
    best = noise_db(source, static.output, SAMPLES)
    assert best == pytest.approx(max(nearness.values()), abs=0.01)
    assert f"{best:.1f} dB" in chosen


def test_an_output_beyond_what_calibration_saw_is_not_clipped(source: Path, static: Job) -> None:
    larger = {"x": 3 * SAMPLES["x"].astype(np.float32)}
    seen = outputs(static.output, SAMPLES)["scores"].max()
    expected = outputs(source, larger)["scores"].max()
    assert expected > 1.5 * seen
    assert outputs(static.output, larger)["scores"].max() > 1.2 * seen


def test_the_last_layer_is_quantised_and_its_output_is_not(static: Job) -> None:
    graph = onnx.load(static.output).graph
    makers = {name: node for node in graph.node for name in node.output}
    last = makers["scores"]
    assert (last.op_type, makers[last.input[0]].op_type) == ("Gemm", "DequantizeLinear")
    read = {name for node in graph.node for name in node.input}
    assert [tensor.name for tensor in graph.initializer if tensor.name not in read] == []


def test_a_tensor_that_is_output_and_inner_tensor_stays_quantised_for_the_layers_inside(
    tmp_path: Path,
) -> None:
    def scale(name: str) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(0.5, np.float32), name)

    path = models.save(
        tmp_path / "model.onnx",
        [
            helper.make_node("Relu", ["x"], ["plain"]),
            helper.make_node("QuantizeLinear", ["plain", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
            helper.make_node("Neg", ["y"], ["z"]),
        ],
        [models.value("x", [1, 2])],
        [models.value("y", [1, 2]), models.value("z", [1, 2])],
        [scale("scale"), numpy_helper.from_array(np.array(0, np.int8), "zero")],
    )
    keep_outputs_float(path)
    onnx.checker.check_model(str(path), full_check=True)
    answer = outputs(path, {"x": np.array([[[0.3, 1.2]]], np.float32)})
    assert answer["y"].tolist() == [[[np.float32(0.3), np.float32(1.2)]]]
    assert answer["z"].tolist() == [[[-0.5, -1.0]]]


def test_networks_with_too_many_activations_are_calibrated_without_histograms(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_ranges, "_MOST_VALUES_AT_ONCE", 1000)
    job = made(ONNX_TO_ONNXRUNTIME["int8"][0], source, tmp_path, SAMPLES)
    assert job.log.warnings == [
        "ranges by 99.99 percentile were not tried: one sample has 0.0 million values to count"
    ]
    detail = job.log.steps[-1].detail
    assert detail is not None
    assert ("mean min-max" in detail, "percentile" in detail) == (True, False)


def test_activations_are_counted_for_one_sample(source: Path) -> None:
    # Two convolutions, a ReLU and an addition of 16x8x8, twice 16 pooled values, 10 scores.
    assert activation_values(source, {"x": SAMPLES["x"][0]}) == 4 * 16 * 64 + 2 * 16 + 10


def test_extremes_are_those_of_each_sample_by_itself(source: Path, static: Job) -> None:
    samples = list(static.calibration_samples())
    found = activation_extremes(source, [samples[3], samples[0]], static)["x"]
    expected = [[samples[i]["x"].min(), samples[i]["x"].max()] for i in (3, 0)]
    np.testing.assert_array_equal(found, np.array(expected, np.float64))


def test_the_middle_of_the_samples_clips_the_oddest() -> None:
    extremes = np.array([[-1.0, 2.0], [-9.0, 3.0], [-2.0, 40.0]])
    assert {words: rule(extremes) for words, rule in RANGE_RULES.items()} == {
        "min-max": (-9.0, 40.0),
        "mean min-max": (-4.0, 15.0),
        "median min-max": (-2.0, 3.0),
    }


def test_histograms_are_taken_of_few_samples_spread_over_all(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_ranges, "_MOST_HISTOGRAM_SAMPLES", 8)
    job = made(ONNX_TO_ONNXRUNTIME["int8"][0], source, tmp_path, SAMPLES)
    details = [step.detail for step in job.log.steps]
    assert "extremes of the activations in each of 24 samples" in details
    assert "histograms of the activations in 8 samples" in details


def test_a_calibrator_that_fails_costs_its_candidate_only(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxruntime.quantization import calibrate

    def fail(*_: object) -> None:
        raise ValueError("no threshold")

    monkeypatch.setattr(calibrate.HistogramCollector, "compute_percentile", fail)
    job = made(ONNX_TO_ONNXRUNTIME["int8"][0], source, tmp_path, SAMPLES)
    assert job.log.warnings == ["ranges by 99.99 percentile failed: no threshold"]
    assert noise_db(source, job.output, SAMPLES) > LEAST_DB["int8"]


def test_a_candidate_whose_outputs_are_not_finite_is_never_the_nearest(tmp_path: Path) -> None:
    def scaled(name: str, factor: float) -> Path:
        return models.save(
            tmp_path / f"{name}.onnx",
            [helper.make_node("Mul", ["x", "f"], ["y"])],
            [models.value("x", [1, 2])],
            [models.value("y", [1, 2])],
            [numpy_helper.from_array(np.array(factor, np.float32), "f")],
        )

    samples: list[Arrays] = [{"x": np.array([[1.0, 2.0]], np.float32)}]
    candidates = {name: scaled(name, f) for name, f in (("nan", np.nan), ("tenth", 0.9), ("same", 1.0))}
    found = signal_to_noise(scaled("reference", 1.0), candidates, samples)
    assert found == {"nan": -np.inf, "tenth": pytest.approx(20.0, abs=1e-4), "same": np.inf}


def test_the_optimised_graph_holds_fused_operators_and_no_layout_of_this_processor(
    source: Path, tmp_path: Path
) -> None:
    job = made(ONNX_OPTIMISED["fp32"][0], source, tmp_path)
    model = onnx.load(job.output)
    assert "FusedConv" in operators(job.output)
    assert {entry.domain for entry in model.opset_import} == {"", "com.microsoft"}
    assert "for onnxruntime only" in ONNX_OPTIMISED["fp32"][0].description


@pytest.mark.parametrize(("way", "precision"), ALL_WAYS)
def test_every_way_ends_with_the_opset_asked_for(
    way: Way, precision: str, source: Path, tmp_path: Path
) -> None:
    job = made(way, source, tmp_path, SAMPLES if way.needs_calibration else None, opset=13)
    assert graph_opset(onnx.load(job.output)) == 13
    assert noise_db(source, job.output, SAMPLES) > LEAST_DB[precision]


def test_the_opset_that_the_source_has_changes_nothing(source: Path, tmp_path: Path) -> None:
    job = made(ONNX_TO_ONNXRUNTIME["fp32"][-1], source, tmp_path, opset=17)
    assert job.output.read_bytes() == source.read_bytes()


def test_an_operator_that_the_older_opset_writes_another_way_is_rewritten(tmp_path: Path) -> None:
    source = models.save(
        tmp_path / "model.onnx",
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("ReduceSum", ["r", "axes"], ["y"], keepdims=0),
        ],
        [models.value("x", ["N", 3])],
        [models.value("y", ["N"])],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )
    job = made(ONNX_TO_ONNXRUNTIME["fp32"][-1], source, tmp_path / "made", opset=11)
    last = onnx.load(job.output).graph.node[-1]
    assert [attribute.name for attribute in last.attribute if attribute.name == "axes"] == ["axes"]
    assert outputs(job.output, {"x": np.array([[[-1, 2, 3]]], np.float32)})["y"].tolist() == [[5.0]]


def test_an_operator_that_the_older_opset_lacks_is_named(tmp_path: Path) -> None:
    source = models.save(
        tmp_path / "model.onnx",
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("LayerNormalization", ["r", "s"], ["y"])],
        [models.value("x", [1, 8])],
        [models.value("y", [1, 8])],
        [models.weights("s", 8)],
    )
    with pytest.raises(ConversionFailed, match="from opset 17 to 13: operator LayerNormalization") as caught:
        made(ONNX_TO_ONNXRUNTIME["fp32"][0], source, tmp_path / "made", opset=13)
    assert caught.value.reason == "opset_unavailable"
    assert str(caught.value).endswith("Export the model at opset 13 in the first place, or leave --opset out")


def test_int8_below_the_opset_of_per_channel_weights_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConversionFailed, match="weights per channel needs opset 13, asked for was 11"
    ) as caught:
        made(ONNX_TO_ONNXRUNTIME["int8"][0], source, tmp_path, SAMPLES, opset=11)
    assert caught.value.reason == "opset_unavailable"


def test_int8_of_an_old_graph_is_made_at_the_opset_of_per_channel_weights(tmp_path: Path) -> None:
    old = network(tmp_path / "old.onnx", opset=11)
    job = made(ONNX_TO_ONNXRUNTIME["int8"][0], old, tmp_path / "made", SAMPLES)
    assert graph_opset(onnx.load(job.output)) == 13
    assert noise_db(old, job.output, SAMPLES) > LEAST_DB["int8"]


def test_a_model_beyond_protobufs_limit_keeps_its_weights_beside_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.converters.onnx_graphs._LARGEST_SINGLE_FILE", 1000)
    for precision, ways in ONNX_TO_ONNXRUNTIME.items():
        for number, way in enumerate(ways):
            place = tmp_path / f"{precision}-{number}"
            job = made(way, source, place, SAMPLES if way.needs_calibration else None)
            shutil.rmtree(job.folder)
            assert noise_db(source, job.output, SAMPLES) > LEAST_DB[precision]
