"""PyTorch to fp32 TFLite by litert-torch: image inputs become NHWC, outputs keep their layout."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convert.errors import ConversionFailed
from convert.steps import StepLog
from convert.tools.exchange import InputShape, made, read_request
from convert.tools.pytorch_calls import require
from convert.tools.pytorch_failures import Recorded, check_outputs, export_failure
from convert.tools.pytorch_model import Prepared, prepare
from convert.tools.tflite_names import with_short_names
from convert.tools.tflite_signature import rename_signature, signature_names

#: Grey, colour, colour with transparency: the channels of an image.
_CHANNELS = (1, 3, 4)


def by_litert_torch(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: the .tflite at request["output"], its signature in the model's own names."""
    asked = read_request(request)
    if asked.source.kind == "torchscript":
        raise ConversionFailed(
            f"{asked.source.name} is TorchScript, which litert-torch does not read",
            reason="unsupported_source",
            remedy="It goes through ONNX",
        )
    if asked.dynamic_batch:
        raise ConversionFailed(
            "litert-torch makes files of a fixed batch size only",
            reason="batch_fixed",
            remedy="Give one batch size (--batch), or convert to ONNX",
        )
    require("litert_torch")
    model = prepare(asked.source, asked.inputs)
    recorded = check_outputs(model, asked.outputs)
    log = StepLog()
    images = images_by_place(asked.inputs)
    with log.step("litert-torch", _told(asked.inputs, images)):
        unnamed = asked.work / "unnamed.tflite"
        _convert(model, recorded, images, unnamed)
        content = with_short_names(unnamed.read_bytes())
        asked.output.write_bytes(_named(content, [one.name for one in asked.inputs], asked.outputs))
    return made(log)


def images_by_place(inputs: Sequence[InputShape]) -> list[int]:
    """Which inputs are images (N, C, H, W): they become (N, H, W, C)."""
    return [i for i, one in enumerate(inputs) if len(one.shape) == 4 and one.shape[1] in _CHANNELS]


def _told(inputs: Sequence[InputShape], images: Sequence[int]) -> str:
    names = ", ".join(inputs[i].name for i in images)
    return f"litert_torch.convert, NHWC: {names}" if names else "litert_torch.convert"


def _convert(model: Prepared, recorded: Recorded, images: list[int], file: Path) -> None:
    import litert_torch

    module = model.positional()
    examples = list(model.examples)
    if images:
        module = litert_torch.to_channel_last_io(module, args=images)
        for i in images:
            examples[i] = examples[i].permute(0, 2, 3, 1).contiguous()
    try:
        # Its progress is nobody's answer: stdout and stderr are the worker's log.
        with contextlib.redirect_stdout(sys.stderr):
            litert_torch.convert(module.eval(), tuple(examples)).export(str(file))
    except MemoryError:
        raise
    except Exception as error:  # torch.export, the lowerings and MLIR raise classes of many kinds
        raise export_failure(error, model, recorded, "litert-torch") from error


def _named(content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The file with our names for args_0, args_1, ... and output_0, ..., which it lists in any order."""
    found_inputs, found_outputs = signature_names(content)
    return rename_signature(
        content,
        _in_listed_order(found_inputs, inputs, "args"),
        _in_listed_order(found_outputs, outputs, "output"),
    )


def _in_listed_order(found: Sequence[str], wanted: Sequence[str], stem: str) -> list[str]:
    names = {f"{stem}_{i}": name for i, name in enumerate(wanted)}
    if set(found) != set(names):
        raise ConversionFailed(
            f"litert-torch wrote the interface {', '.join(found)} for {', '.join(wanted)}",
            reason="conversion_failed",
        )
    return [names[name] for name in found]
