"""Execution providers of onnxruntime: which are meant, which run, and that none falls back in silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from device_agents.protocol import TensorSpec
from device_agents.runtimes import execution_providers
from device_agents.runtimes import onnxruntime as under_test
from device_agents.runtimes.base import LoadFailed, Request
from device_agents.runtimes.onnxruntime import OnnxRuntime
from device_agents.runtimes.proof_model import RELU_ONNX

REPOSITORY = Path(__file__).parents[3]
OFFERED = [f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "Xnnpack", "CPU")]

#: What onnxruntime-gpu 1.31.1 writes on a machine without CUDA, as recorded here.
NO_CUDA = (
    "\x1b[1;31m2026-11-21 16:45:57.450506072 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] "
    "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& "
    "onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library "
    "libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: "
    "No such file or directory\n\x1b[m\n"
    "\x1b[0;93m2026-11-21 16:45:57.450562476 [W:onnxruntime:Default, onnxruntime_pybind_state.cc:1295 "
    "CreateExecutionProviderFactoryInstance] Failed to create CUDAExecutionProvider. Require cuDNN 9.* and "
    "CUDA 13.*.\x1b[m\n"
)
WHY_NO_CUDA = (
    "Failed to load library libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: "
    "cannot open shared object file: No such file or directory; "
    "Failed to create CUDAExecutionProvider. Require cuDNN 9.* and CUDA 13.*."
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["CPU"]),
        ("cpu", ["CPU"]),
        ("CPUExecutionProvider", ["CPU"]),
        ("cuda", ["CUDA", "CPU"]),
        ("tensorrt,cuda", ["Tensorrt", "CUDA", "CPU"]),
        (" XNNPACK , cpu ,", ["Xnnpack", "CPU"]),
        ("cpu,cuda", ["CPU", "CUDA"]),
        ("cuda,CUDAExecutionProvider", ["CUDA", "CPU"]),
    ],
)
def test_providers_go_by_short_names_and_the_cpu_comes_last_unless_named(text: str, names: list[str]) -> None:
    full = [f"{name}ExecutionProvider" for name in names]
    assert execution_providers.asked_for(text, OFFERED) == full


def test_a_provider_that_was_not_compiled_in_is_refused_with_those_that_were() -> None:
    with pytest.raises(LoadFailed) as refused:
        execution_providers.asked_for("coreml,cuda,acl", OFFERED)
    assert str(refused.value) == f"this onnxruntime has no coreml, acl; it has {', '.join(OFFERED)}"


@pytest.mark.parametrize(
    ("precision", "more"),
    [("fp32", {}), ("fp16", {"trt_fp16_enable": "True"}), ("int8", {"trt_int8_enable": "True"})],
)
def test_tensorrt_is_told_the_precision_and_keeps_its_engines_with_the_job(
    precision: str, more: dict[str, str]
) -> None:
    kept = {"trt_engine_cache_enable": "True", "trt_engine_cache_path": "/jobs/1/onnxruntime-tensorrt"}
    found = execution_providers.settings_of(
        "TensorrtExecutionProvider", 4, precision, "/jobs/1/onnxruntime-tensorrt"
    )
    assert found == {**kept, **more}


class Options:
    """SessionOptions as far as providers concern it."""

    def __init__(self) -> None:
        self.intra_op_num_threads = 4
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


def test_xnnpack_gets_the_threads_and_the_session_none_that_spin() -> None:
    options = Options()
    execution_providers.configure(options, ["XnnpackExecutionProvider", "CPUExecutionProvider"])
    assert execution_providers.settings_of("XnnpackExecutionProvider", 4, "fp32", None) == {
        "intra_op_num_threads": "4"
    }
    assert options.intra_op_num_threads == 1
    assert options.entries["session.intra_op.allow_spinning"] == "0"


def test_the_cpu_alone_is_run_as_it_always_was() -> None:
    options = Options()
    execution_providers.configure(options, ["CPUExecutionProvider"])
    assert (options.intra_op_num_threads, options.entries) == (4, {})


# --- the installed package ------------------------------------------------------------------------


def loaded(runtime: OnnxRuntime, folder: Path, providers: str) -> Any:
    path = folder / "artifact" / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(RELU_ONNX)
    wanted = [TensorSpec(["x"], [1, 4], "float32")], [TensorSpec(["y"], [1, 4], "float32")]
    return runtime.load(Request([str(path)], *wanted, 1, {"providers": providers} if providers else {}))


@pytest.fixture
def runtime() -> OnnxRuntime:
    """The package of this environment."""
    made = OnnxRuntime()
    made.start()
    return made


def test_a_session_says_which_provider_it_uses(runtime: OnnxRuntime, tmp_path: Path) -> None:
    assert loaded(runtime, tmp_path, "").details == {
        "providers": "CPUExecutionProvider",
        "provider": "CPUExecutionProvider",
    }


def test_nodes_that_fell_to_the_cpu_are_counted(runtime: OnnxRuntime, tmp_path: Path) -> None:
    if "AzureExecutionProvider" not in runtime._module.get_available_providers():
        pytest.skip("this onnxruntime has the CPU provider alone")
    details = loaded(runtime, tmp_path, "azure").details  # which takes no relu
    assert details["provider"] == "AzureExecutionProvider"
    assert details["nodes_by_provider"] == "CPUExecutionProvider 1"


def test_a_provider_that_is_not_there_is_named_with_those_that_are(
    runtime: OnnxRuntime, tmp_path: Path
) -> None:
    with pytest.raises(LoadFailed, match=r"^this onnxruntime has no cuda; it has .*CPUExecutionProvider$"):
        loaded(runtime, tmp_path, "cuda")


# --- a package that was compiled with CUDA, on a machine without it -------------------------------


class Session:
    """Uses the CPU whatever it is asked for, and says so on standard error alone, as onnxruntime does."""

    def __init__(self, _model: object, _settings: object, providers: list[Any]) -> None:
        names = [one if isinstance(one, str) else one[0] for one in providers]
        if "CUDAExecutionProvider" in names:
            os.write(2, NO_CUDA.encode())
        self.used = [name for name in names if name != "CUDAExecutionProvider"]
        self.falls_back = True

    def get_providers(self) -> list[str]:
        return self.used

    def disable_fallback(self) -> None:
        self.falls_back = False

    def get_inputs(self) -> list[Any]:
        return []

    get_outputs = get_inputs


@pytest.fixture
def without_cuda(runtime: OnnxRuntime) -> OnnxRuntime:
    """A runtime whose package offers CUDA and cannot start it."""

    class Package:
        SessionOptions = Options
        InferenceSession = Session

        @staticmethod
        def get_available_providers() -> list[str]:
            return OFFERED

    runtime._module = Package
    runtime.version = "1.31.1"
    return runtime


def test_a_provider_that_does_not_start_fails_with_onnxruntimes_own_words(without_cuda: OnnxRuntime) -> None:
    with pytest.raises(LoadFailed) as refused:
        without_cuda._session(b"", 1, "cuda", "fp32", None)
    assert str(refused.value) == (
        "onnxruntime 1.31.1 could not start CUDAExecutionProvider and would have run on "
        f"CPUExecutionProvider: {WHY_NO_CUDA}"
    )


def test_standard_error_is_whole_again_after_it_was_overheard(
    without_cuda: OnnxRuntime, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LoadFailed):
        without_cuda._session(b"", 1, "cuda", "fp32", None)
    os.write(2, b"still here\n")
    os.write(1, b"and here\n")
    said = capfd.readouterr()
    assert said.err == NO_CUDA + "still here\n"  # once of the first call; the second was overheard
    assert said.out == "and here\n"


def test_a_run_that_fails_on_its_provider_is_not_repeated_on_the_cpu(without_cuda: OnnxRuntime) -> None:
    session = without_cuda._session(b"", 1, "tensorrt", "fp32", None)
    assert session.get_providers() == ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    assert not session.falls_back


# --- proofs ---------------------------------------------------------------------------------------

#: A package whose accelerators work, crash, refuse, compute nonsense and hang.
_PACKAGE = """
import os, signal, sys, time
import numpy as np
__version__ = "9.9"
def get_available_providers():
    return [n + "ExecutionProvider" for n in ("CUDA", "Tensorrt", "Xnnpack", "ACL", "Azure", "CPU")]
class SessionOptions:
    pass
class InferenceSession:
    def __init__(self, model, settings, providers):
        self.used = [p if isinstance(p, str) else p[0] for p in providers]
        if "TensorrtExecutionProvider" in self.used:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "CUDAExecutionProvider" in self.used:
            os.write(2, b"libcudart.so.12: cannot open shared object file\\n")
            self.used.remove("CUDAExecutionProvider")
    def get_providers(self):
        return self.used
    def run(self, names, feed):
        return [feed["x"] if "ACLExecutionProvider" in self.used else np.maximum(feed["x"], 0)]
"""


@pytest.mark.processes
def test_every_accelerator_is_proven_on_its_own_and_a_crash_costs_the_others_nothing(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text(_PACKAGE)
    code = "from device_agents import probing; print(json.dumps(probing.prove_here('onnxruntime')))"
    done = subprocess.run(
        [sys.executable, "-c", "import json; " + code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=True,
    )
    name, available, version, _, reason, details = json.loads(done.stdout)
    assert (name, available, version, reason) == ("onnxruntime", True, "9.9", None)
    assert details["providers_working"] == "XnnpackExecutionProvider,CPUExecutionProvider"
    assert details["providers_failing"] == (
        "CUDAExecutionProvider: onnxruntime 9.9 could not start CUDAExecutionProvider and would have run on "
        "CPUExecutionProvider: libcudart.so.12: cannot open shared object file; "
        "TensorrtExecutionProvider: died of signal 11; "
        "ACLExecutionProvider: relu of -1, 2, -3, 4 came out as [[-1.0, 2.0, -3.0, 4.0]]"
    )


@pytest.mark.processes
def test_a_provider_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(under_test, "PROVIDER_PROOF_S", 0.5)
    monkeypatch.setattr(under_test, "ALL_PROOFS_S", 0.5)
    assert under_test._prove_accelerators(["CUDAExecutionProvider", "ACLExecutionProvider"]) == {
        "CUDAExecutionProvider": "no answer within 0.5 s",
        "ACLExecutionProvider": "not tried: the others took too long",
    }
