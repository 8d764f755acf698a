"""The runtimes there are, by name. Their modules import the real packages only when started."""

from typing import Dict, Type

from device_agents.runtimes.base import Runtime
from device_agents.runtimes.null import NullRuntime
from device_agents.runtimes.onnxruntime import OnnxRuntime
from device_agents.runtimes.tensorrt import TensorRtRuntime
from device_agents.runtimes.tflite import TfliteRuntime

RUNTIMES: Dict[str, Type[Runtime]] = {
    runtime.name: runtime for runtime in (NullRuntime, OnnxRuntime, TensorRtRuntime, TfliteRuntime)
}
