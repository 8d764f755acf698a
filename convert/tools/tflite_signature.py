"""The names under which a TFLite file offers its inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convert.errors import ConversionFailed

_IDENTIFIER = b"TFL3"
_BYTES_MORE_THAN_CONTENT = 1024


def signature_names(content: bytes) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs, in the order in which the file's one signature lists them.

    Raises ConversionFailed `conversion_failed` for a file with none or several.
    """
    signature = _signature(unpacked_model(content))
    inputs, outputs = ([entry.name.decode("utf-8") for entry in side] for side in _sides(signature))
    return inputs, outputs


def rename_signature(content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The file with these names in its signature, given in the order of signature_names; tensors keep theirs.

    Raises ConversionFailed `conversion_failed` where the signature has other counts.
    """
    model = unpacked_model(content)
    for side, names in zip(_sides(_signature(model)), (inputs, outputs), strict=True):
        if len(side) != len(names):
            found = ", ".join(entry.name.decode("utf-8") for entry in side)
            raise ConversionFailed(
                f"the TFLite file has the interface {found}, wanted is {', '.join(names)}",
                reason="conversion_failed",
            )
        for entry, name in zip(side, names, strict=True):
            entry.name = name.encode("utf-8")
    return packed_model(model, content)


def packed_model(model: Any, content: bytes) -> bytes:
    """The file of a model that unpacked_model read from `content`, all data inside the flatbuffer."""
    import flatbuffers  # type: ignore[import-untyped]

    _inline(model, content)
    builder = flatbuffers.Builder(len(content) + _BYTES_MORE_THAN_CONTENT)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def unpacked_model(content: bytes) -> Any:
    """The model of a TFLite file, to be changed and packed again."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def _signature(model: Any) -> Any:
    signatures = model.signatureDefs or []
    if len(signatures) != 1:
        raise ConversionFailed(
            f"the TFLite file has {len(signatures)} signatures, not one", reason="conversion_failed"
        )
    return signatures[0]


def _sides(signature: Any) -> tuple[list[Any], list[Any]]:
    return signature.inputs or [], signature.outputs or []


def _inline(model: Any, content: bytes) -> None:
    """Takes data from behind the flatbuffer into it: their places are counted from the start of the file."""
    import numpy as np

    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
