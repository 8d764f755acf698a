"""Examples through an engine: batches, the last one filled up, and what comes out in the examples' order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agents import evaluation
from device_agents.protocol import BlobRef, Dataset, TensorSpec
from device_agents.runtimes.base import Engine, LoadFailed, pick

X = TensorSpec(["x", "input:0"], [4, 2], "float32")
FILE = BlobRef("0" * 64, 0, "data.npz")


class Doubling(Engine):
    """Gives back twice its input in one array that it uses again and again."""

    def __init__(self) -> None:
        self.batches: list[list[list[float]]] = []
        self._output: Any = None

    def run(self, feed: dict[str, Any]) -> dict[str, Any]:
        self.batches.append(feed["x"].tolist())
        assert feed["x"].flags["C_CONTIGUOUS"]
        if self._output is None:
            self._output = np.zeros_like(feed["x"])
        np.multiply(feed["x"], 2, out=self._output)
        return {"y": self._output}


def write(folder: Path, *arrays: Any) -> str:
    path = folder / "data.npz"
    np.savez(path, **{f"array_{i}": array for i, array in enumerate(arrays)})
    return str(path)


def test_the_last_batch_is_filled_up_and_what_that_adds_is_cut_off(tmp_path: Path) -> None:
    examples = np.arange(12, dtype="float32").reshape(6, 2)
    engine = Doubling()
    path = write(tmp_path, examples)
    target = tmp_path / "out.npz"
    saved = evaluation.run_all(engine, Dataset(FILE, 6, stacked=True), path, [X], str(target))
    assert engine.batches[1] == [[8, 9], [10, 11], [10, 11], [10, 11]]
    with np.load(target) as outputs:
        assert outputs["array_0"].tolist() == (examples * 2).tolist()
    assert (saved.name, saved.bytes) == ("out.npz", target.stat().st_size)


def test_complete_inputs_go_one_by_one(tmp_path: Path) -> None:
    examples = np.arange(24, dtype="float32").reshape(3, 4, 2)
    target = tmp_path / "out.npz"
    data = Dataset(FILE, 3, stacked=False)
    evaluation.run_all(Doubling(), data, write(tmp_path, examples), [X], str(target))
    with np.load(target) as outputs:
        assert outputs["array_0"].tolist() == (examples * 2).tolist()


def test_what_is_timed_is_the_first_complete_example(tmp_path: Path) -> None:
    first, second = np.zeros((2, 4, 2), "float32"), np.arange(2, dtype="int64")
    scalar = TensorSpec(["n"], [], "int64")
    path = write(tmp_path, first, second)
    feed = evaluation.first_example(Dataset(FILE, 2, stacked=False), path, [X, scalar])
    assert feed["x"].shape == (4, 2)
    assert isinstance(feed["n"], np.ndarray)  # runtimes take no numpy scalars
    assert feed["n"].shape == ()


def test_a_tensor_is_found_by_any_of_its_names() -> None:
    assert pick([X], ["other", "input:0"], "input") == {"x": "input:0"}


def test_the_only_tensor_there_is_needs_no_name() -> None:
    assert pick([X], ["serving_default_args_0"], "input") == {"x": "serving_default_args_0"}


def test_a_tensor_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(LoadFailed, match="no input named x or input:0; it has a, b"):
        pick([X], ["a", "b"], "input")
