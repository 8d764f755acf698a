"""Values of options as people write them."""

from __future__ import annotations

import pytest

from harness.commands.option_values import memory_size, numbers, shapes, words
from harness.errors import UsageError


def test_words_have_commas_between_them() -> None:
    assert words("tflite, onnx,,tflite") == ("tflite", "onnx")
    assert words(None) is None
    assert words(" ,") is None


def test_numbers_start_at_one() -> None:
    assert numbers("--dynamic-batch", "1,4,16") == (1, 4, 16)
    assert numbers("--dynamic-batch", None) is None
    for wrong in ("1,x", "0,1", "-4", "1.5"):
        with pytest.raises(UsageError, match="--dynamic-batch"):
            numbers("--dynamic-batch", wrong)


def test_a_shape_has_a_name_and_sizes() -> None:
    assert shapes(["x=1,3,224,224", "scalar=", "a=b=2"]) == {
        "x": (1, 3, 224, 224),
        "scalar": (),
        "a=b": (2,),
    }
    for wrong in ("x", "=1,2", "x=1,two", "1,3"):
        with pytest.raises(UsageError, match="not of the form"):
            shapes([wrong])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4_000_000_000), ("4GiB", 4_294_967_296), ("512MiB", 536_870_912), ("500mb", 500_000_000),
        ("1.5g", 1_500_000_000), ("1048576", 1_048_576), ("2k", 2000), (" 1 TB ", 1_000_000_000_000),
    ],
)  # fmt: skip
def test_a_size_of_memory_has_a_unit_or_is_bytes(text: str, size: int) -> None:
    assert memory_size("--memory-limit", text) == size


@pytest.mark.parametrize("text", ["", "0", "much", "-1GB", "4GG", "GB", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        memory_size("--memory-limit", text)
