"""What the agent calls of cuda-python and pycuda is there, by what was captured of the real packages."""

from __future__ import annotations

import ast
import ctypes
import inspect
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import device_agents.cuda.cuda_python as ours_of_cuda_python
import device_agents.cuda.pycuda_driver as ours_of_pycuda
from tests.standins.placing import CUDA_PACKAGES

CAPTURES = Path(__file__).parents[2] / "captures" / "cuda-api"
CUDA_PYTHON = json.loads((CAPTURES / "cuda-python-13.4.4.json").read_text(encoding="utf-8"))
PYCUDA = json.loads((CAPTURES / "pycuda-2026.1.json").read_text(encoding="utf-8"))


def _words(module: object) -> set[str]:
    """Names of attributes and strings of a module's code: calls are made by either."""
    tree = ast.parse(inspect.getsource(module))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return names | {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_cuda_python_has_what_is_called() -> None:
    known = {
        *CUDA_PYTHON["functions"],
        *CUDA_PYTHON["enums"],
        *itertools.chain.from_iterable(CUDA_PYTHON["enums"].values()),
    }
    asked = {word for word in _words(ours_of_cuda_python) if word.startswith("cuda") and word.isidentifier()}
    assert (asked - known - {"cuda"}, len(asked) > 20) == (set(), True)


def test_the_stand_in_for_cuda_python_has_its_names_and_arguments() -> None:
    tree = ast.parse((CUDA_PACKAGES / "cuda" / "bindings" / "runtime.py").read_text(encoding="utf-8"))
    ours = {
        node.name: len(node.args.args)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("cuda")
    }
    real = {name: signature for name, signature in CUDA_PYTHON["functions"].items() if name in ours}
    assert ours == {name: 0 if text.endswith("()") else text.count(",") + 1 for name, text in real.items()}


@pytest.mark.processes
def test_the_stand_in_for_cuda_python_answers_as_many_values(
    packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cuda.bindings.runtime as stand_in

    monkeypatch.setenv("STANDIN_CUDA_ERROR", "35")
    answers = {
        "cudaMemGetInfo": stand_in.cudaMemGetInfo(),
        "cudaMalloc": stand_in.cudaMalloc(16),
        "cudaSetDevice": stand_in.cudaSetDevice(0),
        "cudaEventRecord": stand_in.cudaEventRecord(0, 0),
        "cudaHostAlloc": stand_in.cudaHostAlloc(16, 0),
        "cudaStreamCreateWithFlags": stand_in.cudaStreamCreateWithFlags(1),
    }
    assert {name: len(answer) - 1 for name, answer in answers.items()} == {
        name: CUDA_PYTHON["values"][name] for name in answers
    }


def test_pycuda_has_what_is_called() -> None:
    classes = PYCUDA["classes"]
    known = {
        *PYCUDA["functions"],
        *classes,
        *PYCUDA["exceptions"],
        *itertools.chain.from_iterable(classes.values()),
    }
    tree = ast.parse(inspect.getsource(ours_of_pycuda))
    driver = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("driver", "self._driver")
    }
    objects = {
        "retain_primary_context",
        "push",
        "pop",
        "detach",
        "handle",
        "record",
        "time_till",
        "synchronize",
    }
    assert ((driver | objects) - known, objects <= _words(ours_of_pycuda)) == (set(), True)


def test_the_stand_in_for_pycuda_has_its_names() -> None:
    tree = ast.parse((CUDA_PACKAGES / "pycuda" / "driver.py").read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    classes = {
        node.name: {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name not in PYCUDA["exceptions"]
    }
    unknown = {name for name in functions if not name.startswith("_")} - set(PYCUDA["functions"])
    for name, words in classes.items():
        unknown |= {word for word in words if not word.startswith("__")} - set(PYCUDA["classes"][name])
    assert unknown == set()


OPEN_AND_END = (
    "from device_agents.cuda.table import open_cuda; open_cuda().allocate(16); print('end of work')"
)


@pytest.mark.processes
def test_a_process_that_forgets_to_close_pycuda_ends_well(library: ctypes.CDLL) -> None:
    """Pycuda aborts the interpreter when a context is left on its stack, and so does its stand-in."""
    paths = os.pathsep.join([str(CUDA_PACKAGES), str(Path(__file__).parents[3])])
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_END],
        env={**os.environ, "PYTHONPATH": paths, "EDGEBENCH_CUDA": "pycuda"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end of work\n", "")
