"""The TensorRT stand-in builds, refuses and computes; where TensorRT-RTX can be had, as that does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from convert.processes.toolchain import find_toolchain
from tests.convert.conftest import toolchains_home
from tests.standins import questions
from tests.standins.loading import GENERATIONS, tensorrt

pytestmark = pytest.mark.processes  # seconds in all: each test loads a generation anew

RELU = [[-1, 2, -3, 4]]


def model(opset: int = 13, batch: int | str = 1, op: str = "Relu", dtype: int = TensorProto.FLOAT) -> bytes:
    ends = [helper.make_tensor_value_info(name, dtype, [batch, 4]) for name in ("x", "y")]
    return _bytes([helper.make_node(op, ["x"], ["y"], name="first")], ends, [], opset)


def conv_model(quantised: bool = False) -> bytes:
    """Conv, Relu, Softmax; `quantised` has a pair of Q and DQ before the convolution."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 4, 4]) for name in ("x", "y")]
    weights = [numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "w")]
    nodes = [
        helper.make_node("Conv", ["d" if quantised else "x", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Softmax", ["r"], ["y"], name="softmax", axis=1),
    ]
    if quantised:
        scales = [np.array(0.5, np.float32), np.array(0, np.int8)]
        weights += [numpy_helper.from_array(value, name) for value, name in zip(scales, "sz", strict=True)]
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="dq"),
            *nodes,
        ]
    return _bytes(nodes, ends, weights, 13)


def _bytes(nodes: list, ends: list, weights: list, opset: int) -> bytes:
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 7
    return made.SerializeToString()


class Bench:
    """One TensorRT with a log of what it said."""

    def __init__(self, trt: ModuleType) -> None:
        lines: list[str] = []

        class Log(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: object, msg: str) -> None:
                lines.append(msg)

        self.trt, self.log, self.lines = trt, Log(), lines
        self.builder = trt.Builder(self.log)
        flags = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        self.network = self.builder.create_network(0 if flags is None else 1 << int(flags))
        self.parser = trt.OnnxParser(self.network, self.log)
        self.config = self.builder.create_builder_config()

    def plan(self, data: bytes) -> bytes | None:
        assert self.parser.parse(data), self.said
        built = self.builder.build_serialized_network(self.network, self.config)
        return None if built is None else bytes(built)

    def engine(self, plan: bytes | None) -> object:
        return self.trt.Runtime(self.log).deserialize_cuda_engine(plan)

    def allow(self, *flags: str) -> None:
        for flag in flags:
            self.config.set_flag(getattr(self.trt.BuilderFlag, flag))

    def workspace(self, size: int) -> None:
        if hasattr(self.config, "set_memory_pool_limit"):
            self.config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, size)
        else:
            self.config.max_workspace_size = size

    def layers(self, data: bytes) -> dict[str, str]:
        """Name and format of what each layer gives."""
        self.config.profiling_verbosity = self.trt.ProfilingVerbosity.DETAILED
        inspector = self.engine(self.plan(data)).create_engine_inspector()
        told = json.loads(inspector.get_engine_information(self.trt.LayerInformationFormat.JSON))
        return {layer["Name"]: layer["Outputs"][0]["Format/Datatype"] for layer in told["Layers"]}

    @property
    def said(self) -> str:
        return "\n".join(self.lines)


@pytest.mark.parametrize("version", GENERATIONS)
def test_an_engine_computes_what_its_model_does(version: str) -> None:
    with tensorrt(version) as trt:
        bench = Bench(trt)
        context = bench.engine(bench.plan(model())).create_execution_context()
        given, got = np.array(RELU, np.float32), np.empty((1, 4), np.float32)
        # Without libcudart the stand-in's device memory is any memory.
        addresses = [given.ctypes.data, got.ctypes.data]
        if hasattr(context, "execute_async_v3"):
            for name, address in zip("xy", addresses, strict=True):
                context.set_tensor_address(name, address)
            done = context.execute_async_v3(0)
        else:
            done = context.execute_async_v2(addresses, 0)
    assert (done, got.tolist()) == (True, [[0, 2, 0, 4]])


def test_a_shape_outside_of_the_profile_is_refused() -> None:
    with tensorrt("8.5.2.2") as trt:
        bench = Bench(trt)
        profile = bench.builder.create_optimization_profile()
        profile.set_shape("x", (1, 4), (2, 4), (4, 4))
        bench.config.add_optimization_profile(profile)
        context = bench.engine(bench.plan(model(batch="N"))).create_execution_context()
        taken = [context.set_input_shape("x", shape) for shape in [(3, 4), (5, 4), (2, 3)]]
        assert (taken, tuple(context.get_tensor_shape("y"))) == ([True, False, False], (3, 4))


def test_an_open_size_wants_a_profile() -> None:
    with tensorrt("8.2.1.8") as trt:
        bench = Bench(trt)
        assert (bench.plan(model(batch="N")), "no optimization profile has been defined" in bench.said) == (
            None,
            True,
        )


def test_before_10_a_network_without_explicit_batch_is_not_filled() -> None:
    with tensorrt("8.6.1.6") as trt:
        bench = Bench(trt)
        parser = trt.OnnxParser(bench.builder.create_network(), bench.log)
        assert (parser.parse(model()), "explicit batch dimension" in parser.get_error(0).desc()) == (
            False,
            True,
        )


@pytest.mark.parametrize(
    ("version", "opset", "taken"),
    [("8.2.1.8", 13, True), ("8.2.1.8", 14, False), ("8.5.2.2", 17, True), ("8.5.2.2", 18, False)],
)
def test_an_opset_beyond_the_generations_is_refused(version: str, opset: int, taken: bool) -> None:
    with tensorrt(version) as trt:
        assert Bench(trt).parser.parse(model(opset)) is taken


@pytest.mark.parametrize(
    ("size", "built", "word"),
    [
        (32 << 20, False, "Could not find any implementation for node first."),
        (128 << 20, True, "Tactic Device request: 200MB Available: 128MB. Device memory is insufficient"),
        (256 << 20, True, ""),
        (1 << 30, False, "Error Code 2: OutOfMemory"),
    ],
)
@pytest.mark.parametrize("version", ["8.2.1.8", "10.3.0.30"])
def test_workspace_may_be_too_small_tight_right_or_too_large(
    version: str, size: int, built: bool, word: str
) -> None:
    limits = {"needs_workspace": 64 << 20, "tactic_memory": 200 << 20, "max_workspace": 512 << 20}
    with tensorrt(version, **{name: str(value) for name, value in limits.items()}) as trt:
        bench = Bench(trt)
        bench.workspace(size)
        plan = bench.plan(model())
    assert (plan is not None, word in bench.said, bool(bench.said)) == (built, True, bool(word))


@pytest.mark.parametrize(
    ("built_by", "loaded_by", "word"),
    [
        (("8.2.1.8", "5.3"), ("8.2.1.8", "5.3"), None),
        (("8.0.1.6", "5.3"), ("8.2.1.8", "5.3"), "Version tag does not match"),
        (
            ("8.6.1.6", "7.2"),
            ("8.5.2.2", "7.2"),
            "expecting library version 8.5.2.2 got 8.6.1.6, please rebuild",
        ),
        (("8.5.2.2", "8.7"), ("8.5.2.2", "7.2"), "expecting compute 7.2 got compute 8.7, please rebuild"),
    ],
)
def test_a_plan_loads_where_it_was_built(
    built_by: tuple[str, str], loaded_by: tuple[str, str], word: str | None
) -> None:
    with tensorrt(built_by[0], gpu_cc=built_by[1]) as trt:
        plan = Bench(trt).plan(model())
    with tensorrt(loaded_by[0], gpu_cc=loaded_by[1]) as trt:
        bench = Bench(trt)
        engine = bench.engine(plan)
    assert (engine is not None, (word or "") in bench.said) == (word is None, True)


@pytest.mark.parametrize("spoil", [lambda plan: plan[:-1], lambda plan: b"x" + plan, lambda plan: b""])
def test_a_spoiled_plan_is_refused(spoil: object) -> None:
    with tensorrt("10.3.0.30") as trt:
        bench = Bench(trt)
        assert (bench.engine(spoil(bench.plan(model()))), "Serialization" in bench.said) == (None, True)


FP32, FP16, INT8 = "Row major linear FP32", "Row major linear FP16 format", "Row major Int8 format"


@pytest.mark.parametrize(
    ("capability", "flags", "quantised", "formats"),
    [
        ("5.3", [], False, [FP32, FP32]),
        ("5.3", ["FP16"], False, [FP16, FP16]),
        ("6.1", ["FP16"], False, [FP16, FP16]),
        ("7.2", ["INT8"], False, [FP32, FP32]),
        ("7.2", ["INT8"], True, [INT8, FP32]),
        ("7.2", ["INT8", "FP16"], True, [INT8, FP16]),
        ("5.3", ["INT8"], True, [FP32, FP32]),
    ],
)
def test_layers_get_the_precision_that_flags_graph_and_gpu_allow(
    capability: str, flags: list[str], quantised: bool, formats: list[str]
) -> None:
    with tensorrt("8.5.2.2", gpu_cc=capability) as trt:
        bench = Bench(trt)
        bench.allow(*flags)
        layers = bench.layers(conv_model(quantised))
    assert [layers["conv + relu"], layers["softmax"]] == formats


def test_a_layer_may_stay_fp32_against_the_flag() -> None:
    with tensorrt("8.5.2.2", keeps_fp32="softmax") as trt:
        bench = Bench(trt)
        bench.allow("FP16")
        layers = bench.layers(conv_model())
    assert (layers["conv + relu"], layers["softmax"]) == (FP16, FP32)


def test_a_graph_with_quantised_nodes_wants_the_flag_before_11() -> None:
    with tensorrt("10.3.0.30", gpu_cc="8.7") as trt:
        bench = Bench(trt)
        assert (
            bench.plan(conv_model(quantised=True)),
            "int8 is not configured in the builder" in bench.said,
        ) == (
            None,
            True,
        )


def test_from_11_on_the_graph_alone_decides() -> None:
    with tensorrt("11.4.1.1", gpu_cc="11.0") as trt:
        layers = Bench(trt).layers(conv_model(quantised=True))
    assert layers == {"conv + relu": "Int8", "softmax": "Float"}


def calibrator_of(trt: ModuleType, batches: list[np.ndarray], cache: bytes | None) -> object:
    class Feeder(trt.IInt8EntropyCalibrator2):
        written = None
        asked: list[list[str]] = []  # noqa: RUF012 - one of each class

        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.rest = list(batches)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> list[int] | None:
            self.asked.append(names)
            return [self.rest.pop(0).ctypes.data] if self.rest else None

        def read_calibration_cache(self) -> bytes | None:
            return cache

        def write_calibration_cache(self, cache: object) -> None:
            self.written = bytes(cache)

    return Feeder()


def test_a_calibrator_is_asked_for_batches_and_given_the_scales() -> None:
    batches = [np.full((1, 2, 4, 4), value, np.float32) for value in (1.0, -254.0, 3.0)]
    with tensorrt("8.2.1.8", gpu_cc="7.2") as trt:
        bench = Bench(trt)
        bench.allow("INT8")
        bench.config.int8_calibrator = feeder = calibrator_of(trt, batches, None)
        layers = bench.layers(conv_model())
    # 254 / 127 = 2.0, whose bits are 40000000.
    assert (feeder.asked, feeder.written) == ([["x"]] * 4, b"TRT-8201-EntropyCalibration2\nx: 40000000\n")
    assert layers["conv + relu"] == INT8


@pytest.mark.parametrize(
    ("title", "asked"), [(b"TRT-8502-EntropyCalibration2", 0), (b"TRT-8201-MinMaxCalibration", 2)]
)
def test_a_calibration_cache_saves_the_batches_if_it_is_of_this_kind(title: bytes, asked: int) -> None:
    with tensorrt("8.5.2.2", gpu_cc="7.2") as trt:
        bench = Bench(trt)
        bench.allow("INT8")
        batches = [np.ones((1, 2, 4, 4), np.float32)]
        bench.config.int8_calibrator = feeder = calibrator_of(trt, batches, title + b"\nx: 3c010a14\n")
        bench.plan(conv_model())
    assert len(feeder.asked) == asked


def test_int8_without_any_ranges_warns_and_builds() -> None:
    with tensorrt("8.5.2.2", gpu_cc="7.2") as trt:
        bench = Bench(trt)
        bench.allow("INT8")
        assert (bench.plan(conv_model()) is None, "Calibrator is not being used." in bench.said) == (
            False,
            True,
        )


@pytest.mark.parametrize(
    ("cores", "fallback", "built"), [("0", True, False), ("2", False, False), ("2", True, True)]
)
def test_a_dla_builds_what_it_can_and_falls_back_where_allowed(
    cores: str, fallback: bool, built: bool
) -> None:
    with tensorrt("8.5.2.2", gpu_cc="7.2", dla_cores=cores, dla_unsupported="SoftMax") as trt:
        bench = Bench(trt)
        bench.allow("FP16", *(["GPU_FALLBACK"] if fallback else []))
        bench.config.default_device_type = trt.DeviceType.DLA
        bench.config.DLA_core = 0
        assert (bench.plan(conv_model()) is not None) is built


def test_a_timing_cache_of_another_version_is_not_taken() -> None:
    with tensorrt("8.5.2.2") as trt:
        bench = Bench(trt)
        cache = bench.config.create_timing_cache(b"")
        taken = [bench.config.set_timing_cache(cache, False)]
        bench.plan(conv_model())
        stored = bytes(bench.config.get_timing_cache().serialize())
    for version in ("8.5.2.2", "8.6.1.6"):
        with tensorrt(version) as trt:
            config = Bench(trt).config
            taken.append(config.set_timing_cache(config.create_timing_cache(stored), False))
    assert taken == [True, True, False]


def test_without_cuda_neither_builder_nor_runtime_can_be_made() -> None:
    with tensorrt("8.6.1.6", cuda_error="35") as trt:
        for kind in (trt.Builder, trt.Runtime):
            with pytest.raises(TypeError, match="factory function returned nullptr"):
                kind(trt.Logger())


def test_the_newest_stand_in_answers_as_the_real_package_does(tmp_path: Path) -> None:
    """TensorRT-RTX has the interface of TensorRT 11 and works without a GPU up to the plan."""
    python = find_toolchain("tensorrt-parser", toolchains_home())
    if python is None:
        pytest.skip("not made by tests/toolchains.sh: tensorrt-parser")
    models = {
        "relu": model(),
        "cut short": model()[:30],
        "no model": b"garbage here",
        "unknown operator": model(op="Frobnicate"),
    }
    (tmp_path / "models.json").write_text(json.dumps({name: data.hex() for name, data in models.items()}))
    command = [python, questions.__file__, "tensorrt_rtx_bindings", tmp_path / "models.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    with tensorrt("11.4.1.1", unsupported="Frobnicate") as trt:
        ours = questions.answers(trt, models)
    assert json.loads(json.dumps(ours)) == json.loads(done.stdout.splitlines()[-1])
