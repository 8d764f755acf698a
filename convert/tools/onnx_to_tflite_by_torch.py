"""ONNX to fp32 TFLite through PyTorch: onnx2torch, then litert-torch. For networks onnx2tf gives up on.

In a tool's process of the torch toolchain.
"""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

from convert.errors import ConversionFailed
from convert.steps import StepLog
from convert.tools.exchange import ToolRequest, made, read_request
from convert.tools.onnx_names import nodes, set_input_shapes
from convert.tools.pytorch_to_tflite import images_by_place
from convert.tools.tflite_batch import refuse_dynamic_batch
from convert.tools.tflite_signature import rename_signature, signature_names

_NOT_IMPLEMENTED = re.compile(r"operation_type='(\w+)', version=(\d+)")


def by_torch(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: the .tflite at request["output"], its signature in the source's names."""
    asked = read_request(request)
    refuse_dynamic_batch(asked)
    log = StepLog()
    with log.step("onnx2torch", "ONNX to PyTorch"):
        module = _module(asked)
    with log.step("litert-torch", "litert_torch.convert"):
        content = _tflite(module, asked)
        found_inputs, found_outputs = signature_names(content)
        names = {f"args_{i}": entry.name for i, entry in enumerate(asked.inputs)}
        names |= {f"output_{i}": name for i, name in enumerate(asked.outputs)}
        if set(found_inputs) | set(found_outputs) != set(names):
            raise ConversionFailed(
                f"litert-torch wrote {', '.join(found_inputs)} -> {', '.join(found_outputs)} "
                f"for {len(asked.inputs)} inputs and {len(asked.outputs)} outputs",
                reason="interface_changed",
            )
        asked.output.write_bytes(
            rename_signature(content, [names[n] for n in found_inputs], [names[n] for n in found_outputs])
        )
    return made(log)


def _module(request: ToolRequest) -> Any:
    """The network as a torch module that takes the request's inputs by position."""
    import onnx

    _stand_in_for_torchvision()
    import onnx2torch

    assert request.source.path is not None
    model = onnx.load(request.source.path)
    set_input_shapes(model, {entry.name: entry.shape for entry in request.inputs})
    try:
        return onnx2torch.convert(model).eval()
    except NotImplementedError as error:
        missing = _NOT_IMPLEMENTED.search(str(error))
        if missing is None:
            raise _failed("onnx2torch", error) from error
        found = [node.name for node in nodes(model.graph) if node.op_type == missing[1]]
        raise ConversionFailed(
            f"onnx2torch cannot convert operator {missing[1]} of version {missing[2]} "
            f"(node {', '.join(found[:3])})",
            reason="unsupported_operator",
            remedy="Export the model with opset 17, or with other operators in its place",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # each operator's converter fails in its own way
        raise _failed("onnx2torch", error) from error


def _tflite(module: Any, request: ToolRequest) -> bytes:
    import litert_torch
    import torch

    examples = [torch.zeros(*e.shape, dtype=getattr(torch, e.dtype)) for e in request.inputs]
    images = images_by_place(request.inputs)
    if images:
        module = litert_torch.to_channel_last_io(module, args=images)
        for i in images:
            examples[i] = examples[i].permute(0, 2, 3, 1).contiguous()
    file = request.work / "unnamed.tflite"
    try:
        litert_torch.convert(module.eval(), tuple(examples)).export(str(file))
    except MemoryError:
        raise
    except Exception as error:  # torch.export, the lowerings and MLIR share no base
        raise _failed("litert-torch", error) from error
    return file.read_bytes()


def _failed(tool: str, error: BaseException) -> ConversionFailed:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ConversionFailed(
        f"{tool} failed: {type(error).__name__}: {lines[0][:300] if lines else ''}",
        reason="conversion_failed",
    )


def _stand_in_for_torchvision() -> None:
    """onnx2torch imports it for two operators of detection heads; its wheels need CUDA."""
    if "torchvision" in sys.modules:
        return
    package, operators = ModuleType("torchvision"), ModuleType("torchvision.ops")
    package.ops = operators  # type: ignore[attr-defined]
    operators.nms = operators.roi_align = None  # type: ignore[attr-defined]
    sys.modules |= {"torchvision": package, "torchvision.ops": operators}
