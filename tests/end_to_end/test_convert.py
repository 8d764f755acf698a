"""`bench convert` and `bench inspect` as a user runs them, with pinned toolchains."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from convert.processes.toolchain import find_toolchain
from tests.convert.conftest import toolchains_home
from tests.end_to_end.workplace import Workplace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

_NETWORK = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.linear = torch.nn.Linear(8, 5)
    def forward(self, x):
        return self.linear(torch.relu(self.conv(x)).mean((2, 3)))
def make():
    return Net()
"""
_WEIGHTS = """
import torch, net
torch.manual_seed(1)
made = net.make()
torch.save(made.state_dict(), "weights.pth")
torch.save(made, "whole.pth")
"""


@pytest.fixture(scope="module")
def toolchains() -> Path:
    home = toolchains_home()
    needed = ("torch", "tflite-runtime", "tensorrt-parser")
    missing = [name for name in needed if find_toolchain(name, home) is None]
    if missing:
        pytest.skip(f"not made by tests/toolchains.sh: {', '.join(missing)}")
    return home


@pytest.fixture
def network(workplace: Workplace, toolchains: Path) -> Workplace:
    """A folder with net.py, its weights, and the whole module pickled."""
    workplace.environment["EDGEBENCH_TOOLCHAINS"] = str(toolchains)
    (workplace.folder / "net.py").write_text(_NETWORK)
    python = find_toolchain("torch", toolchains)
    subprocess.run([str(python), "-c", _WEIGHTS], cwd=workplace.folder, check=True, timeout=120)
    return workplace


def _artifacts(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(a["target"], a["precision"]): a for a in json.loads(text)["artifacts"]}


def test_a_network_and_its_weights_become_files_for_every_runtime(network: Workplace) -> None:
    command = (
        "convert", "net:make", "--weights", "weights.pth", "--shape", "x=1,3,12,10",
        "--to", "onnx,tflite,tensorrt", "-o", "out", "--json",
    )  # fmt: skip
    done = network.bench(*command)
    assert done.status == 0, done.err
    made = _artifacts(done.out)
    assert [made[target, "fp32"]["verification"][0]["cosine"] > 0.9999 for target in ("onnx", "tflite")] == [
        True
    ] * 2
    # What PyTorch calls x and output is found under its own names.
    assert [tensor["source"] for tensor in made["tflite", "fp32"]["inputs"]] == ["x"]
    assert [tensor["source"] for tensor in made["tflite", "fp32"]["outputs"]] == ["output"]
    runtimes = {check["runtime"]: check["status"] for a in made.values() for check in a["runtimes"]}
    assert runtimes == {
        "onnxruntime": "agrees", "ai-edge-litert": "agrees",
        "tflite-runtime": "agrees", "tensorrt-rtx": "agrees",
    }  # fmt: skip
    assert made["onnx", "fp32"]["steps"][0]["tool"] == "torch"

    # The same again, and the weights named the other way round, whose artifacts come from the cache.
    again = network.bench(*command)
    assert (again.status, again.out, again.err) == (0, done.out, "")
    other = network.bench(
        "convert", "weights.pth", "--factory", "net:make", "--shape", "x=1,3,12,10", "-o", "other", "--json"
    )
    assert other.status == 0, other.err
    assert _artifacts(other.out)["onnx", "fp32"]["from_cache"] is True


def test_a_network_is_converted_for_the_batch_sizes_asked_for(network: Workplace) -> None:
    common = (
        "convert",
        "net:make",
        "--weights",
        "weights.pth",
        "--shape",
        "x=1,3,12,10",
        "--no-compatibility",
    )
    done = network.bench(*common, "--batch", "4", "-o", "four", "--json")
    assert done.status == 0, done.err
    assert _artifacts(done.out)["onnx", "fp32"]["inputs"][0]["shape"] == [4, 3, 12, 10]
    done = network.bench(*common, "--to", "tensorrt", "--dynamic-batch", "1,4,16", "-o", "open", "--json")
    assert done.status == 0, done.err
    artifact = _artifacts(done.out)["tensorrt", "fp32"]
    assert artifact["inputs"][0]["shape"][1:] == [3, 12, 10]
    assert not isinstance(artifact["inputs"][0]["shape"][0], int)
    assert artifact["optimization_profile"]["x"] == {
        "min": [1, 3, 12, 10], "opt": [4, 3, 12, 10], "max": [16, 3, 12, 10],
    }  # fmt: skip


def test_a_pickled_network_runs_no_code_unless_it_is_trusted(network: Workplace) -> None:
    common = ("convert", "whole.pth", "--shape", "x=1,3,12,10", "--no-compatibility", "-o", "out")
    refused = network.bench(*common)
    assert refused.status == 3
    assert "failed: pickle_untrusted" in refused.out
    assert "--trust-pickle" in refused.out
    trusted = network.bench(*common, "--trust-pickle")
    assert trusted.status == 0, trusted.out + trusted.err


def test_what_a_network_holds_is_shown_and_how_runtimes_get_it(network: Workplace) -> None:
    done = network.bench("inspect", "net:make", "--shape", "x=1,3,12,10", "--json")
    assert done.status == 0, done.err
    (source,) = json.loads(done.out)["sources"]
    assert (source["kind"], source["parameters"]) == ("pytorch", 3 * 8 * 9 + 8 + 8 * 5 + 5)
    assert source["inputs"][0]["shape"] == [1, 3, 12, 10]
    assert source["outputs"][0]["shape"] == [1, 5]
    assert {answer["runtime"]: answer["verdict"] for answer in source["runtimes"]} == dict.fromkeys(
        ("onnxruntime", "tflite", "tensorrt"), "by conversion"
    )
    needed = network.bench("inspect", "net:make")
    assert needed.status == 2
    assert "--shape x=1,3,224,224" in " ".join(needed.err.split())
