"""The child process of child.run_child: does one task and writes its reply as JSON.

Everything that imports a runtime or a converter, and so may crash, happens here.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from convert.errors import ConversionFailed, ConvertError
from convert.processes.network_guard import refuse_network


def main(exchange: str) -> None:
    """Answers EXCHANGE/request.json with EXCHANGE/reply.json."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING)
    refuse_network()
    folder = Path(exchange)
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    try:
        reply = {"result": _do(request)}
    except ConvertError as error:
        reply = {"error": _error(error)}
    except MemoryError:
        failed = ConversionFailed("not enough memory on this computer", reason="out_of_memory")
        reply = {"error": _error(failed)}
    unfinished = folder / "reply.json.part"
    unfinished.write_text(json.dumps(reply), encoding="utf-8")
    unfinished.rename(folder / "reply.json")
    # The reply is complete; runtimes that crash in their destructors must not spoil it.
    sys.stdout.flush()
    os._exit(0)


def _end_with_the_parent() -> None:
    """The parent holds the other end of stdin open for as long as it lives."""
    while os.read(0, 4096):
        continue
    os._exit(3)


def _error(error: ConvertError) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "message": error.message,
        "reason": error.reason,
        "remedy": error.remedy,
    }


def _do(request: dict[str, Any]) -> dict[str, Any]:
    module, function = TASKS[request["task"]].split(":")
    result: dict[str, Any] = getattr(import_module(module), function)(request)
    return result


#: Task -> the function that does it, imported in the process that does it.
TASKS = {
    "inspection": "convert.sources.model_file:inspection",
    "reference": "convert.proofs.execution:reference",
    "base verification": "convert.proofs.base_verification:verify_base",
    "base divergence": "convert.proofs.base_divergence:find_divergence",
    "conversion": "convert.pipeline:make_artifact",
    "verification": "convert.pipeline:verify_artifact",
    # in the torch toolchain
    "pytorch inspection": "convert.tools.pytorch_model:inspection",
    "pytorch reference": "convert.tools.pytorch_model:reference",
    "pytorch trace": "convert.tools.pytorch_model:trace",
    "pytorch to onnx (TorchScript)": "convert.tools.pytorch_to_onnx:by_torchscript",
    "pytorch to onnx (dynamo)": "convert.tools.pytorch_to_onnx:by_dynamo",
    "pytorch to tflite": "convert.tools.pytorch_to_tflite:by_litert_torch",
    # in the tensorflow toolchain
    "tensorflow inspection": "convert.tools.tensorflow_model:inspection",
    "tensorflow reference": "convert.tools.tensorflow_model:reference",
    "tensorflow to tflite": "convert.tools.tensorflow_to_tflite:by_tflite_converter",
    "tensorflow to onnx": "convert.tools.tensorflow_to_onnx:by_tf2onnx",
    "tflite to onnx": "convert.tools.tensorflow_to_onnx:tflite_by_tf2onnx",
    # in the onnx2tf toolchains
    "onnx to tflite": "convert.tools.onnx_to_tflite:by_flatbuffer",
    "onnx to tflite (PyTorch)": "convert.tools.onnx_to_tflite_by_torch:by_torch",
    "onnx to tflite (TensorFlow)": "convert.tools.onnx_to_tflite:by_tensorflow",
    # in the runtimes' toolchains
    "tflite-runtime check": "convert.tools.tflite_runtime_check:check",
    "tensorrt parser check": "convert.tools.tensorrt_parser_check:check",
    "onnx to openvino": "convert.tools.onnx_to_openvino:convert",
    "openvino reference": "convert.tools.onnx_to_openvino:reference",
}
