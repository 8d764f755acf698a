"""A folder of eight models of different kinds: five good results and three named failures."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from convert.processes.toolchain import find_toolchain
from tests.convert.conftest import toolchains_home
from tests.convert.models import DIGITS, save, value, with_external_data
from tests.end_to_end.workplace import Finished, Workplace

pytestmark = pytest.mark.e2e

NEEDED = ("torch", "tensorflow", "tflite-runtime")

_KERAS = """
import sys, keras
keras.utils.set_random_seed(0)
layers = keras.layers
model = keras.Sequential([
    keras.Input((12, 10, 3)),
    layers.Conv2D(8, 3, activation="relu"),
    layers.GlobalAveragePooling2D(),
    layers.Dense(5),
])
model.save(sys.argv[1])
model.export(sys.argv[2])
"""
_NETWORK = """
import torch
class Net(torch.nn.Module):
    def __init__(self, last):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.linear = torch.nn.Linear(8, 5)
        self.last = last
    def forward(self, x):
        return self.last(self.linear(torch.relu(self.conv(x)).mean((2, 3))))
def plain():
    return Net(torch.nn.Identity())
class Bessel(torch.nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)
def bessel():
    return Net(Bessel())
"""
_WEIGHTS = "import sys, torch, net; torch.manual_seed(0); torch.save(net.plain().state_dict(), sys.argv[1])"


@pytest.fixture(scope="module")
def toolchains() -> Path:
    home = toolchains_home()
    missing = [name for name in NEEDED if find_toolchain(name, home) is None]
    if missing:
        pytest.skip(f"not made by tests/toolchains.sh: {', '.join(missing)}")
    return home


@pytest.fixture
def zoo(workplace: Workplace, toolchains: Path) -> Path:
    """Eight models; those of the same name in different folders must not meet."""
    workplace.environment["EDGEBENCH_TOOLCHAINS"] = str(toolchains)
    zoo = workplace.folder / "zoo"
    for name in ("onnx", "corrupt", "spec", "bessel"):
        (zoo / name).mkdir(parents=True)
    with_external_data(zoo / "onnx/net.onnx")
    shutil.copy(DIGITS / "digits.tflite", zoo / "digits.tflite")
    (zoo / "corrupt/digits.tflite").write_bytes((DIGITS / "digits.tflite").read_bytes()[:5000])
    _greedy(zoo / "greedy.onnx")
    _run(toolchains, "tensorflow", _KERAS, zoo / "net.keras", zoo / "saved")
    for name, factory in (("spec", "plain"), ("bessel", "bessel")):
        (zoo / name / "net.py").write_text(_NETWORK)
        weights = 'weights = "net.pth"\n' if name == "spec" else ""
        (zoo / name / "model.toml").write_text(
            f'name = "{factory}"\n[sources]\npytorch = "net:{factory}"\n{weights}'
            "[inputs.x]\nshape = [1, 3, 12, 10]\n"
        )
    _run(toolchains, "torch", _WEIGHTS, zoo / "spec/net.pth", cwd=zoo / "spec")
    return zoo


def _run(toolchains: Path, name: str, code: str, *arguments: Path, cwd: Path | None = None) -> None:
    python = find_toolchain(name, toolchains)
    command = [str(python), "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def _greedy(path: Path) -> None:
    """One tensor on the way has 4.8 GB; the file has 200 bytes."""
    shape = numpy_helper.from_array(np.array([1, 1_200_000_000]), "shape")
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["wide"]),
        helper.make_node("ReduceMax", ["wide"], ["y"], axes=[1]),
    ]
    save(path, nodes, [value("x", [1, 1])], [value("y", [1, 1], TensorProto.FLOAT)], [shape])


def _convert(workplace: Workplace) -> Finished:
    return workplace.bench(
        "convert", "--all", "zoo", "-o", "out", "--memory-limit", "3GB", "--timeout", "250"
    )


def _summary(workplace: Workplace) -> dict[str, dict[str, Any]]:
    content = json.loads((workplace.folder / "out/conversions.json").read_text())
    return {record["model"]: record for record in content["models"]}


@pytest.mark.timeout(600)
def test_five_of_eight_models_are_converted_and_only_the_others_tried_again(
    workplace: Workplace, zoo: Path
) -> None:
    done = _convert(workplace)
    assert done.status == 3, done.err
    first = _summary(workplace)
    good = ["digits.tflite", "net.keras", "onnx/net.onnx", "saved", "spec/model.toml"]
    assert {name: record["failure"] for name, record in first.items() if name in good} == dict.fromkeys(good)
    assert {name: first[name]["failure"]["reason"] for name in first if name not in good} == {
        "bessel/model.toml": "unsupported_operator",
        "corrupt/digits.tflite": "invalid_model",
        "greedy.onnx": "out_of_memory",
    }
    assert "bessel_j0" in first["bessel/model.toml"]["failure"]["message"]
    assert "the limit is 3,000 MB" in first["greedy.onnx"]["failure"]["message"]
    assert "5 of 8 models converted" in done.out
    for name in good:
        (artifact,) = first[name]["artifacts"]
        path = workplace.folder / "out" / name / artifact["path"]
        assert path.stat().st_size == artifact["bytes"]
        assert first[name]["peak_memory_bytes"] > 10_000_000
    made = {
        path: path.stat().st_mtime_ns
        for name in good
        for path in (workplace.folder / "out" / name).rglob("*")
    }

    done = _convert(workplace)
    assert done.status == 3
    assert done.err.count("there already") == 5
    again = _summary(workplace)
    assert {name: again[name]["status"] for name in again} == {name: first[name]["status"] for name in first}
    assert {name: again[name]["seconds"] for name in good} == {name: first[name]["seconds"] for name in good}
    assert {path: path.stat().st_mtime_ns for path in made} == made

    # What is mended is converted, and what is gone is no longer told of.
    shutil.copy(DIGITS / "digits.tflite", zoo / "corrupt/digits.tflite")
    (zoo / "greedy.onnx").unlink()
    shutil.rmtree(zoo / "bessel")
    done = _convert(workplace)
    assert done.status == 0, done.err
    assert sorted(_summary(workplace)) == sorted([*good, "corrupt/digits.tflite"])
