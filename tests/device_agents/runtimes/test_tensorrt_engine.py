"""A loaded engine's memory and shapes, on an executor and a CUDA that note what they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from device_agents.cuda.base import Cuda, CudaError
from device_agents.protocol import TensorSpec
from device_agents.runtimes.base import LoadFailed, Request
from device_agents.runtimes.tensorrt import engine as engine_module
from device_agents.runtimes.tensorrt.engine import TensorRtEngine
from device_agents.runtimes.tensorrt.executors import Executor, TensorInfo
from device_agents.runtimes.tensorrt.log_book import LogBook
from device_agents.runtimes.tensorrt.plans import Loaded

SHAPES = {"x": [1, 4], "y": [1, 4], "hidden": [1, 2]}


class FakeCuda(Cuda):
    """Device memory is a dictionary of arrays."""

    package = "fake"

    def __init__(self, room: int = 1 << 20) -> None:
        self.blocks: dict[int, Any] = {}
        self.room = room
        self.freed: list[int] = []

    def allocate(self, size: int) -> int:
        if size > self.room:
            raise CudaError("cudaMalloc", "cudaErrorMemoryAllocation")
        self.blocks[len(self.blocks) + 1] = None
        return len(self.blocks)

    def free(self, address: int) -> None:
        self.freed.append(address)

    def pinned(self, shape: Sequence[int], dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def create_stream(self) -> int:
        return 7

    def create_event(self) -> Any:
        return {}

    def copy_in(self, address: int, array: Any, stream: int) -> None:
        self.blocks[address] = array.copy()

    def copy_out(self, array: Any, address: int, stream: int) -> None:
        array[...] = self.blocks[address]

    def record(self, event: Any, stream: int) -> None:
        event["at"] = len(self.freed)

    def synchronize(self, stream: int) -> None:
        pass

    def elapsed_s(self, start: Any, end: Any) -> float:
        return 0.25


class FakeExecutor(Executor):
    """Doubles x into y, and writes what nobody asked for into hidden."""

    api = "fake"

    def __init__(self, cuda: FakeCuda, shapes: dict[str, list[int]], starts: bool) -> None:
        self._cuda, self._shapes, self._starts = cuda, dict(shapes), starts
        self.bound: dict[str, int] = {}

    def tensors(self) -> list[TensorInfo]:
        return [TensorInfo(name, name == "x", "float32") for name in self._shapes]

    def set_shape(self, name: str, shape: list[int]) -> bool:
        return shape[0] <= 8

    def unspecified(self) -> list[str]:
        return []

    def shape(self, name: str) -> list[int]:
        return self._shapes[name]

    def bind(self, name: str, address: int) -> None:
        self.bound[name] = address

    def starter(self, stream: int) -> Callable[[], bool]:
        def start() -> bool:
            self._cuda.blocks[self.bound["y"]] = 2 * self._cuda.blocks[self.bound["x"]]
            return self._starts

        return start


class Part:
    """Notes when it is let go."""

    gone: list[str] = []  # noqa: RUF012 - one list for all, emptied by `make`

    def __init__(self, name: str) -> None:
        self._name = name
        self.device_memory_size_v2 = 4096
        self.num_layers = 3

    def create_execution_context(self) -> Part:
        return Part("context")

    def __del__(self) -> None:
        Part.gone.append(self._name)


Make = Callable[..., TensorRtEngine]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Call it for an engine with these tensors' shapes, fed x as (1, 4) and asked for y."""
    made: list[TensorRtEngine] = []

    def call(
        shapes: dict[str, list[int]] = SHAPES,
        *,
        cuda: FakeCuda | None = None,
        starts: bool = True,
        batch: int = 1,
    ) -> TensorRtEngine:
        Part.gone.clear()
        cuda = cuda or FakeCuda()
        monkeypatch.setattr(engine_module, "load_plan", lambda *_: Loaded(Part("runtime"), Part("engine")))
        monkeypatch.setattr(engine_module, "executor_of", lambda *_: FakeExecutor(cuda, shapes, starts))
        monkeypatch.setattr(engine_module.atexit, "register", lambda _call: None)
        library: Any = SimpleNamespace(trt=None, cuda=cuda, log=LogBook())
        wanted = [TensorSpec(["x"], [batch, 4], "float32")], [TensorSpec(["y"], [batch, 4], "float32")]
        made.append(TensorRtEngine(library, b"p" * 100, Request([], *wanted, 1, {})))
        return made[-1]

    yield call
    for engine in made:
        engine.close()


FEED = {"x": np.array([[1, 2, 3, 4]], dtype=np.float32)}


def test_an_iteration_copies_in_runs_and_copies_out_and_the_device_tells_its_time(make: Make) -> None:
    engine = make()
    steps = engine.steps(FEED)
    for step in (steps.copy_inputs, steps.invoke, steps.copy_outputs):
        step()
    assert steps.device_s is not None
    assert steps.device_s() == 0.25


def test_outputs_are_the_callers_own_and_only_those_asked_for(make: Make) -> None:
    engine = make()
    first = engine.run(FEED)
    engine.run({"x": -FEED["x"]})
    assert {name: array.tolist() for name, array in first.items()} == {"y": [[2, 4, 6, 8]]}


def test_memory_is_the_plan_the_scratch_and_the_tensors(make: Make) -> None:
    assert make().gpu_bytes == 100 + 4096 + 4 * (4 + 4 + 2)


def test_an_output_whose_shape_depends_on_the_data_is_refused(make: Make) -> None:
    with pytest.raises(LoadFailed, match=r"output 'y' has shape \[4, -1\], which depends on the data"):
        make({"x": [1, 4], "y": [4, -1]})


def test_a_shape_the_engine_was_not_built_for_is_refused(make: Make) -> None:
    with pytest.raises(LoadFailed, match=r"was not built for input 'x' of shape \[9, 4\]"):
        make(batch=9)


def test_inputs_of_another_shape_than_announced_are_refused(make: Make) -> None:
    with pytest.raises(LoadFailed, match=r"input 'x' is given as \(2, 4\) and was announced as \(1, 4\)"):
        make().run({"x": np.zeros((2, 4), np.float32)})


def test_too_little_device_memory_is_a_lack_of_memory(make: Make) -> None:
    with pytest.raises(MemoryError, match="cudaMalloc: cudaErrorMemoryAllocation"):
        make(cuda=FakeCuda(room=10))


def test_an_inference_that_does_not_start_is_never_timed(make: Make) -> None:
    engine = make(starts=False)
    steps = engine.steps(FEED)
    steps.copy_inputs()
    with pytest.raises(RuntimeError, match="TensorRT did not start the inference"):
        steps.invoke()


def test_context_engine_and_runtime_go_in_this_order_and_their_memory_with_them(make: Make) -> None:
    cuda = FakeCuda()
    engine = make(cuda=cuda)
    engine.close()
    engine.close()
    assert Part.gone == ["context", "engine", "runtime"]
    assert sorted(cuda.freed) == [1, 2, 3]
