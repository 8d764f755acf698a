"""Made-up inputs: seeded arrays for every input, of the shapes that shapes.py resolves."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from convert.data.shapes import ResolvedShapes, is_state_like, resolve_shapes
from convert.data.values import integer_limits
from convert.errors import InvalidModel
from convert.sources.inspection import ModelInfo, TensorInfo

__all__ = ["ResolvedShapes", "is_state_like", "numpy_dtype", "resolve_shapes", "seeded_inputs"]

_NORMAL_LIMIT = 3.0


def seeded_inputs(
    info: ModelInfo, shapes: Mapping[str, tuple[int, ...]], examples: int, seed: int = 0
) -> dict[str, NDArray[np.generic]]:
    """Arrays (examples, *shape) for every input, the same on every platform and in every order of inputs.

    Floats are standard normal within ±3; integer ids lie in [0, rows of their table), or are 0 or 1
    when no table is known; 8-bit and other integers without such a use cover their full range; masks are
    ones, recurrent states zeros. Raises InvalidModel for text inputs.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for tensor in info.inputs:
        # RandomState is frozen (NEP 19), unlike Generator, whose streams may change between versions.
        random = np.random.RandomState((zlib.crc32(tensor.name.encode("utf-8")) + seed) % 2**32)
        arrays[tensor.name] = _array(tensor, (examples, *shapes[tensor.name]), info.bounds, random)
    return arrays


def _array(
    tensor: TensorInfo, shape: tuple[int, ...], bounds: Mapping[str, int], random: np.random.RandomState
) -> NDArray[np.generic]:
    dtype = numpy_dtype(tensor)
    if "mask" in tensor.name.lower():
        return np.ones(shape, dtype)
    if is_state_like(tensor.name):
        return np.zeros(shape, dtype)
    if dtype.kind == "f":
        normal = random.standard_normal(shape)
        return np.clip(normal, -_NORMAL_LIMIT, _NORMAL_LIMIT).astype(dtype)
    if dtype.kind == "b":
        return random.randint(0, 2, shape).astype(dtype)
    low, high = _integer_range(tensor, dtype, bounds)
    return random.randint(low, high, shape, dtype=np.int64).astype(dtype)


def _integer_range(
    tensor: TensorInfo, dtype: np.dtype[np.generic], bounds: Mapping[str, int]
) -> tuple[int, int]:
    """Lowest value and exclusive upper end."""
    if tensor.name in bounds:
        return 0, max(1, bounds[tensor.name])
    if dtype.itemsize == 1 or tensor.quantization is not None:
        low, high = integer_limits(dtype)
        return low, high + 1
    return 0, 2


def numpy_dtype(tensor: TensorInfo) -> np.dtype[np.generic]:
    """The tensor's numpy dtype; raises InvalidModel for one numpy does not have."""
    if tensor.dtype == "str":
        raise InvalidModel(
            f"input {tensor.name!r} is text, and no text can be made up for it",
            reason="unsupported_dtype",
            remedy="Give a model whose inputs are numbers (tokenise outside of it)",
        )
    try:
        return np.dtype(tensor.dtype)
    except TypeError as error:
        raise InvalidModel(
            f"input {tensor.name!r} has the type {tensor.dtype}, which numpy does not know",
            reason="unsupported_dtype",
        ) from error
