from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from convert.errors import ConversionFailed
from convert.tools.tflite_signature import rename_signature, signature_names
from tests.convert.models import DIGITS

CONTENT = (DIGITS / "digits.tflite").read_bytes()


def answer(content: bytes, name: str, image: np.ndarray) -> dict[str, np.ndarray]:
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    return dict(runner(**{name: image}))


def test_new_names_lead_to_the_same_answers() -> None:
    (old_input,), (old_output,) = signature_names(CONTENT)
    renamed = rename_signature(CONTENT, ["pooled.image:0"], ["scores.0"])
    assert signature_names(renamed) == (["pooled.image:0"], ["scores.0"])
    shape = Interpreter(model_content=CONTENT).get_input_details()[0]["shape"]
    image = np.random.RandomState(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(
        answer(renamed, "pooled.image:0", image)["scores.0"], answer(CONTENT, old_input, image)[old_output]
    )


def test_renaming_twice_gives_the_same_file() -> None:
    once = rename_signature(CONTENT, ["a"], ["b"])
    assert rename_signature(once, ["a"], ["b"]) == once


def test_names_for_another_interface_are_refused() -> None:
    with pytest.raises(ConversionFailed, match="wanted is a, b"):
        rename_signature(CONTENT, ["a", "b"], ["c"])


def test_data_behind_the_flatbuffer_comes_along(tmp_path: Path) -> None:
    behind = with_data_behind(CONTENT)
    assert len(behind) > len(CONTENT) / 2
    renamed = rename_signature(behind, ["image"], ["scores"])
    shape = Interpreter(model_content=CONTENT).get_input_details()[0]["shape"]
    image = np.ones(shape, np.float32)
    (old_input,), (old_output,) = signature_names(CONTENT)
    np.testing.assert_array_equal(
        answer(renamed, "image", image)["scores"], answer(CONTENT, old_input, image)[old_output]
    )


def with_data_behind(content: bytes) -> bytes:
    """The file with its weights after the flatbuffer, as files of more than 2 GB have them."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def packed(offsets: list[int]) -> bytes:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        for buffer, offset in zip(model.buffers, offsets, strict=True):
            if buffer.data is not None and len(buffer.data):
                buffer.size, buffer.offset, buffer.data = len(buffer.data), offset, None
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    buffers = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)).buffers
    data = [b"" if buffer.data is None else bytes(buffer.data) for buffer in buffers]
    start = len(packed([2] * len(data)))  # offsets of any size take the same room, all but 0
    start += -start % 16
    offsets, behind = [], b""
    for one in data:
        offsets.append(start + len(behind))
        behind += one + b"\0" * (-len(one) % 16)
    front = packed(offsets)
    return front + b"\0" * (start - len(front)) + behind
