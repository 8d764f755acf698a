"""The runtimes there are, by name. Each is imported when it is asked for: a process needs one at most."""

from typing import Callable, Dict, Type

from device_agents.runtimes.base import Runtime


def _null() -> Type[Runtime]:
    from device_agents.runtimes.null import NullRuntime

    return NullRuntime


def _onnxruntime() -> Type[Runtime]:
    from device_agents.runtimes.onnxruntime import OnnxRuntime

    return OnnxRuntime


def _tensorrt() -> Type[Runtime]:
    from device_agents.runtimes.tensorrt import TensorRtRuntime

    return TensorRtRuntime


def _tflite() -> Type[Runtime]:
    from device_agents.runtimes.tflite import TfliteRuntime

    return TfliteRuntime


RUNTIMES: Dict[str, Callable[[], Type[Runtime]]] = {
    "null": _null,
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
    "tflite": _tflite,
}
