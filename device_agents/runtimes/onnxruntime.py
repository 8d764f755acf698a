"""ONNX Runtime. `compute` and `latency` are both `InferenceSession.run` on host arrays.

The CPU provider reads numpy arrays where they lie and hands back fresh ones, so there is no copy to tell
apart; onnxruntime_perf_test times the same call. With a provider that has memory of its own (CUDA, TensorRT)
that call copies inputs to it and outputs back, so both series include the copies.

Options: `providers`, comma separated, best first, by full names or short ones (cuda, tensorrt, xnnpack, acl,
coreml, openvino, cpu). The CPU provider comes last unless it is named.
"""

import functools
import os
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

from device_agents.measurement import Steps
from device_agents.protocol import TensorSpec
from device_agents.runtimes import execution_providers
from device_agents.runtimes.base import (
    Engine,
    LoadFailed,
    Request,
    Runtime,
    RuntimeMissing,
    nothing,
    package_version,
    pick,
)
from device_agents.runtimes.proof_model import RELU_INPUT, RELU_ONNX, RELU_OUTPUT

#: One provider's proof, and all of them: TensorRT's loads all of TensorRT and builds an engine. With the
#: import they have to stay below probing.PROOF_TIMEOUT_S.
PROVIDER_PROOF_S = 60.0
ALL_PROOFS_S = 90.0

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
}


class OnnxEngine(Engine):
    """An InferenceSession."""

    def __init__(self, session: Any, request: Request) -> None:
        self._session = session
        self.inputs = [_spec(tensor) for tensor in session.get_inputs()]
        self.outputs = [_spec(tensor) for tensor in session.get_outputs()]
        self._inputs = pick(request.inputs, [spec.names[0] for spec in self.inputs], "input")
        self._outputs = pick(request.outputs, [spec.names[0] for spec in self.outputs], "output")
        self.details = execution_providers.details_of(session)

    def steps(self, feed: Dict[str, Any]) -> Steps:
        """The session's run, on arrays that are in host memory already."""
        return Steps(nothing, functools.partial(self._session.run, None, self._named(feed)), nothing)

    def run(self, feed: Dict[str, Any]) -> Dict[str, Any]:
        """One inference."""
        names = list(self._outputs)
        values = self._session.run([self._outputs[name] for name in names], self._named(feed))
        return dict(zip(names, values))

    def _named(self, feed: Dict[str, Any]) -> Dict[str, Any]:
        return {self._inputs[name]: array for name, array in feed.items()}


class OnnxRuntime(Runtime):
    """The CPU provider unless the option `providers` names others, comma separated."""

    name = "onnxruntime"

    def start(self) -> None:
        """Import onnxruntime."""
        # Wheels from 1.31 on report their use to Microsoft: a thread, files in ~/.cache, uploads over
        # HTTPS. This is read when the library loads; disable_telemetry_events comes too late.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeMissing(f"onnxruntime cannot be imported: {error}") from error
        self._module = onnxruntime
        self.package = "onnxruntime"
        self.version = str(onnxruntime.__version__)

    def load(self, request: Request) -> Engine:
        """Create the session; LoadFailed too where a provider that was asked for does not start."""
        # files[0] is jobs/ID/artifact/NAME; what a provider builds stays with the job.
        cache = os.path.join(os.path.dirname(os.path.dirname(request.files[0])), "onnxruntime-tensorrt")
        session = self._session(
            request.files[0],
            request.num_threads,
            request.options.get("providers", ""),
            request.precision,
            cache,
        )
        return OnnxEngine(session, request)

    def prove(self) -> Dict[str, str]:
        """Run relu here on the CPU, and with each accelerator's provider in a process of its own."""
        import numpy as np

        self._prove_with("")
        offered = list(self._module.get_available_providers())
        failing = _prove_accelerators(offered)
        details = {
            "providers": ",".join(offered),
            "providers_working": ",".join(
                name for name in offered if name not in failing and name != execution_providers.AZURE
            ),
            "numpy": package_version("numpy", np),
        }
        if failing:
            details["providers_failing"] = "; ".join(f"{name}: {why}" for name, why in failing.items())
        return details

    def prove_provider(self, name: str) -> None:
        """Run relu with that provider; LoadFailed where it does not start or computes something else."""
        session = self._prove_with(name)
        if session.get_providers()[0] != name:
            raise LoadFailed(f"it is not the first of {', '.join(session.get_providers())}")

    def _prove_with(self, providers: str) -> Any:
        import numpy as np

        session = self._session(RELU_ONNX, 1, providers, "fp32", None)
        try:
            result = session.run(None, {"x": np.array(RELU_INPUT, dtype="float32")})[0]
        except Exception as error:
            raise LoadFailed(f"onnxruntime {self.version} cannot run relu: {error}") from error
        if result.tolist() != RELU_OUTPUT:
            raise LoadFailed(f"relu of -1, 2, -3, 4 came out as {result.tolist()}")
        return session

    def _session(
        self, model: Any, num_threads: int, providers: str, precision: str, cache: Optional[str]
    ) -> Any:
        """A session that has every provider it was asked for, and keeps to them."""
        names = execution_providers.asked_for(providers, self._module.get_available_providers())
        settings = self._module.SessionOptions()
        settings.intra_op_num_threads = num_threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        execution_providers.configure(settings, names)
        with_settings: List[Any] = []
        for name in names:
            own = execution_providers.settings_of(name, num_threads, precision, cache)
            with_settings.append((name, own) if own else name)

        def create() -> Any:
            return self._module.InferenceSession(model, settings, providers=with_settings)

        try:
            session = create()
        except MemoryError:
            raise
        except Exception as error:  # its error classes differ by version and share no base
            raise LoadFailed(f"onnxruntime {self.version}: {error}") from error
        execution_providers.check_used(session, names, create, f"onnxruntime {self.version}")
        if hasattr(session, "disable_fallback"):
            session.disable_fallback()  # else a failing provider's `run` is repeated on the CPU, and timed
        return session


def prove_provider(name: str) -> int:
    """The process that proves one provider: status 0, or 1 with the reason on standard error."""
    runtime = OnnxRuntime()
    try:
        runtime.start()
        runtime.prove_provider(name)
    except (RuntimeMissing, LoadFailed) as error:
        sys.stderr.write(f"\n{' '.join(str(error).split())}\n")
        return 1
    return 0


def _prove_accelerators(offered: List[str]) -> Dict[str, str]:
    """Why each accelerator's provider that does not work does not; one after the other, for memory."""
    give_up = time.monotonic() + ALL_PROOFS_S
    failing = {}
    for name in offered:
        if name in execution_providers.NOT_ACCELERATORS:
            continue
        left = min(PROVIDER_PROOF_S, give_up - time.monotonic())
        reason = _prove_in_child(name, left) if left > 0 else "not tried: the others took too long"
        if reason is not None:
            failing[name] = reason
    return failing


def _prove_in_child(name: str, timeout_s: float) -> Optional[str]:
    """None if the provider works, else why not: a driver that crashes must not take the CPU's proof along."""
    code = (
        f"import sys; sys.path.insert(0, {_agent()!r}); "
        "from device_agents.runtimes.onnxruntime import prove_provider; sys.exit(prove_provider(sys.argv[1]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        errors = child.communicate(timeout=timeout_s)[1]
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return f"no answer within {timeout_s:.1f} s"
    if child.returncode == 0:
        return None
    if child.returncode < 0:
        return f"died of signal {-child.returncode}"
    last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
    return last[0][:600] if last else f"ended with status {child.returncode}"


def _agent() -> str:
    """The archive or the checkout this file lies in."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _spec(tensor: Any) -> TensorSpec:
    kind = str(tensor.type)
    dtype = _DTYPES.get(kind) or kind.replace("tensor(", "").rstrip(")")
    shape: List[int] = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return TensorSpec([str(tensor.name)], shape, dtype)
