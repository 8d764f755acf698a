"""Builds with the agent's own code in a Python that has TensorRT-RTX and no GPU; tests start it.

    PYTHON rtx_child.py '{"model": ..., "inputs": [[name, shape, dtype]], "precision": ..., "options": {...}}'

Answers with a JSON object: what was built, or reason and message of the failure.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import tensorrt_rtx_bindings as trt

from device_agents.cuda.base import Cuda
from device_agents.protocol import TensorSpec
from device_agents.runtimes.base import BuildFailed, BuildRequest, Request
from device_agents.runtimes.tensorrt.building import able_here, build_into
from device_agents.runtimes.tensorrt.packages import library_of
from device_agents.runtimes.tensorrt.settings import settings_of


class NoGpu(Cuda):
    """As much of CUDA as a build asks for; RTX compiles for a family of GPUs, whichever is there."""

    package = "none"

    def device_name(self):
        return "Orin"

    def compute_capability(self):
        return 8, 7


def main():
    asked = json.loads(sys.argv[1])
    library = library_of(trt, "tensorrt_rtx_bindings", NoGpu())
    able = able_here(library)
    inputs = [TensorSpec([name], shape, dtype) for name, shape, dtype in asked["inputs"]]
    model = Request([asked["model"]], inputs, [], 1, asked["options"], asked["precision"])
    target = Path(asked["folder"]) / "engine.plan"
    wanted = BuildRequest(model, 64 << 20, asked["folder"], "digest")
    try:
        settings = settings_of(asked["precision"], asked["options"], able.takes_flags)
        built = build_into(library, wanted, settings, str(target))
    except BuildFailed as error:
        answer = {"reason": error.reason, "message": str(error)}
    else:
        answer = {"details": built.details, "bytes": target.stat().st_size, "warnings": built.warnings}
    sys.stdout.write(json.dumps(dict(answer, able=able.as_details())))


main()
