"""Data values in the type an input takes, refused where that would change what they mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convert.errors import DataError
from convert.sources.inspection import TensorInfo

Array = NDArray[np.generic]


def as_input_type(array: Array, tensor: TensorInfo, source: str) -> Array:
    """`array` in the input's type; float data are quantised for a quantised input.

    Raises DataError for NaN and infinities, for floats given to an unquantised integer input, for integers
    out of range and for anything that is not a number.
    """
    if array.dtype.kind not in "fiub":
        raise DataError(f"{tensor.name!r} in {source} holds {array.dtype}, not numbers", reason="wrong_dtype")
    _check_finite(array, tensor, source)
    wanted = np.dtype(tensor.dtype)
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            cast: Array = array.astype(wanted)
        _check_finite(cast, tensor, source)
        return cast
    if array.dtype.kind == "f":
        return _quantized(array, tensor, wanted, source)
    return _in_range(array, tensor, wanted, source)


def _check_finite(array: Array, tensor: TensorInfo, source: str) -> None:
    if array.dtype.kind != "f":
        return
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise DataError(
            f"{tensor.name!r} in {source} has {len(bad)} values that are NaN or infinite as {array.dtype}, "
            f"the first in example {bad[0][0]}",
            reason="not_finite",
            remedy="Remove these examples or repair their values",
        )


def _quantized(array: Array, tensor: TensorInfo, wanted: np.dtype[np.generic], source: str) -> Array:
    if tensor.quantization is None or wanted.kind not in "iu":
        raise DataError(
            f"{wanted} input {tensor.name!r} fed with floats ({array.dtype} in {source})",
            reason="wrong_dtype",
            remedy=f"Save the data as {wanted} (for images: scale = 1 keeps pixel values)",
        )
    scale, zero_point = tensor.quantization
    low, high = integer_limits(wanted)
    steps = np.rint(array.astype(np.float64) / scale) + zero_point
    quantized: Array = np.clip(steps, low, high).astype(wanted)
    return quantized


def integer_limits(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """Lowest and highest value of an integer type."""
    bits = dtype.itemsize * 8
    return (0, 2**bits - 1) if dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _in_range(array: Array, tensor: TensorInfo, wanted: np.dtype[np.generic], source: str) -> Array:
    cast = array.astype(wanted)
    if not np.array_equal(cast, array):
        low, high = array.min(), array.max()
        raise DataError(
            f"{tensor.name!r} in {source} has values from {low} to {high}, more than {wanted} can hold",
            reason="out_of_range",
            remedy=f"Save the data as {wanted}",
        )
    return cast
