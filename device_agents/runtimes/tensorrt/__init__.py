"""TensorRT 8.0 to 11 and TensorRT-RTX, told apart by what they have and never by version.

Options of a job are in settings.py, what the timings include in engine.py, and what the proof tells the host
in capabilities.py.
"""

import contextlib
from typing import Dict, List, Optional

from device_agents.cuda.base import CudaError
from device_agents.protocol import TensorSpec
from device_agents.runtimes.base import (
    BuildFailed,
    BuildRequest,
    BuiltEngine,
    Engine,
    LoadFailed,
    Request,
    Runtime,
    package_version,
)
from device_agents.runtimes.proof_model import RELU_INPUT, RELU_ONNX, RELU_OUTPUT
from device_agents.runtimes.tensorrt.building import PlanBuilder, able_here, build_into
from device_agents.runtimes.tensorrt.engine import TensorRtEngine
from device_agents.runtimes.tensorrt.inspection import layer_precisions
from device_agents.runtimes.tensorrt.packages import Library, open_library
from device_agents.runtimes.tensorrt.plans import look_into
from device_agents.runtimes.tensorrt.settings import Settings, settings_of

_PROOF_WORKSPACE_BYTES = 16 << 20


class TensorRtRuntime(Runtime):
    """Builds engines on the board and runs them on device 0, one stream, one profile."""

    name = "tensorrt"
    builds_engines = True

    def start(self) -> None:
        """Import TensorRT, open CUDA."""
        self._opened: Optional[Library] = open_library()
        self.package = self._opened.package
        self.version = self._opened.version

    def load(self, request: Request) -> Engine:
        """Deserialise the engine that was built for this job."""
        if request.engine is None:
            raise LoadFailed("no engine was built for this job; TensorRT runs engines and not models")
        with open(request.engine, "rb") as file:
            return TensorRtEngine(self._library, file.read(), request)

    def prove(self) -> Dict[str, str]:
        """Build relu and run it; a build takes seconds, and the proof is remembered."""
        try:
            return self._proved()
        except (BuildFailed, MemoryError, CudaError) as error:
            raise LoadFailed(str(error)) from error

    def engine_identity(self, model: Request) -> Dict[str, str]:
        """Versions, GPU and settings. The way to CUDA is not among them: an engine does not know it."""
        settings = self._settings(model)
        identity = dict(_machine(self._library), **settings.as_details())
        del identity["cuda_package"]
        return identity

    def build(self, wanted: BuildRequest, target: str) -> BuiltEngine:
        """Build, then load what was built: that proves it, and its layers tell their precisions."""
        library, inputs = self._library, wanted.model.inputs
        built = build_into(library, wanted, self._settings(wanted.model), target)
        try:
            layers = look_into(library, target, lambda engine: layer_precisions(library.trt, engine, inputs))
        except LoadFailed as error:
            raise BuildFailed("build_failed", "built, and then: {}".format(error)) from error
        machine = _machine(library)
        told = {name: machine[name] for name in ("version", "package", "gpu", "compute_capability", "cuda")}
        return built._replace(
            details=dict(told, **built.details),
            layer_precisions=layers,
            warnings=built.warnings + _doubts(wanted, layers),
        )

    def check_engine(self, path: str) -> None:
        """Load it and let it go."""
        look_into(self._library, path, lambda _engine: None)

    def _proved(self) -> Dict[str, str]:
        import numpy as np

        library = self._library
        able = able_here(library)
        inputs = [TensorSpec(["x"], [1, 4], "float32")]
        outputs = [TensorSpec(["y"], [1, 4], "float32")]
        settings = settings_of("fp32", {}, able.takes_flags)
        plan = PlanBuilder(library, settings, _PROOF_WORKSPACE_BYTES).build(RELU_ONNX, inputs)
        request = Request([], inputs, outputs, 1, {})
        with contextlib.closing(TensorRtEngine(library, bytes(plan.content), request)) as engine:
            result = engine.run({"x": np.array(RELU_INPUT, dtype="float32")})["y"]
        if result.tolist() != RELU_OUTPUT:
            raise LoadFailed("relu of -1, 2, -3, 4 came out as {}".format(result.tolist()))
        return dict(_machine(library), **dict(able.as_details(), numpy=package_version("numpy", np)))

    @property
    def _library(self) -> Library:
        assert self._opened is not None, "start() comes first"
        return self._opened

    def _settings(self, model: Request) -> Settings:
        flags = self._library.trt.BuilderFlag
        return settings_of(model.precision, model.options, hasattr(flags, "FP16") and hasattr(flags, "INT8"))


def _machine(library: Library) -> Dict[str, str]:
    major, minor = library.cuda.compute_capability()
    return {
        "version": library.version,
        "package": library.package,
        "cuda": library.cuda.version(),
        "cuda_package": library.cuda.package,
        "gpu": library.cuda.device_name(),
        "compute_capability": "{}.{}".format(major, minor),
    }


def _doubts(wanted: BuildRequest, layers: Dict[str, int]) -> List[str]:
    """Whether layers run in the precision at all; the host draws its verdict from the counts."""
    precision = wanted.model.precision
    if not layers or precision == "fp32" or layers.get(precision):
        return []
    found = ", ".join("{} in {}".format(count, name) for name, count in sorted(layers.items()))
    return ["no layer runs in {}: {}".format(precision, found)]
