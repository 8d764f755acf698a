"""TFLite files have one batch size, whatever they are made from or made into."""

from __future__ import annotations

from convert.errors import ConversionFailed
from convert.tools.exchange import ToolRequest


def refuse_dynamic_batch(request: ToolRequest) -> None:
    """Raises ConversionFailed `batch_fixed` where the first axis was to stay open."""
    if request.dynamic_batch:
        raise ConversionFailed(
            f"{request.source.name} cannot keep its batch size open: a TFLite file has a fixed one",
            reason="batch_fixed",
            remedy="Give one batch size (--batch), or convert the source to ONNX",
        )
