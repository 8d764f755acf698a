"""ONNX Runtime. `compute` and `latency` are both `InferenceSession.run` on host arrays.

The CPU provider reads numpy arrays where they lie and hands back fresh ones, so there is no copy to tell
apart; onnxruntime_perf_test times the same call.
"""

import base64
import functools
import os
from typing import Any, Dict, List

from device_agents.measurement import Steps
from device_agents.protocol import TensorSpec
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

#: y = relu(x), float[1,4], opset 11, IR 6: runs on every onnxruntime since 1.0. Made with onnx.helper.
_PROOF = base64.b64decode(
    "CAYSADo7CgwKAXgSAXkiBFJlbHUSAXBaEwoBeBIOCgwIARIICgIIAQoCCARiEwoBeRIOCgwIARIICgIIAQoCCARCBAoAEAs="
)

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
        self.details = {"providers": ",".join(session.get_providers())}

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
        """Create the session."""
        return OnnxEngine(self._session(request.files[0], request.num_threads, request.options), request)

    def prove(self) -> Dict[str, str]:
        """Run relu."""
        import numpy as np

        session = self._session(_PROOF, 1, {})
        result = session.run(None, {"x": np.array([[-1, 2, -3, 4]], dtype="float32")})[0]
        if result.tolist() != [[0, 2, 0, 4]]:
            raise LoadFailed(f"relu of -1, 2, -3, 4 came out as {result.tolist()}")
        return {
            "providers": ",".join(self._module.get_available_providers()),
            "numpy": package_version("numpy", np),
        }

    def _session(self, model: Any, num_threads: int, options: Dict[str, str]) -> Any:
        settings = self._module.SessionOptions()
        settings.intra_op_num_threads = num_threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        providers = [name for name in options.get("providers", "CPUExecutionProvider").split(",") if name]
        absent = [name for name in providers if name not in self._module.get_available_providers()]
        if absent:
            offered = ", ".join(self._module.get_available_providers())
            raise LoadFailed(f"this onnxruntime has no {', '.join(absent)}; it has {offered}")
        try:
            return self._module.InferenceSession(model, settings, providers=providers)
        except MemoryError:
            raise
        except Exception as error:  # its error classes differ by version and share no base
            raise LoadFailed(f"onnxruntime {self.version}: {error}") from error


def _spec(tensor: Any) -> TensorSpec:
    kind = str(tensor.type)
    dtype = _DTYPES.get(kind) or kind.replace("tensor(", "").rstrip(")")
    shape: List[int] = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return TensorSpec([str(tensor.name)], shape, dtype)
