"""The inputs on which an artifact has to agree with its source."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from convert.data.datasets import Examples
from convert.data.sample_inputs import seeded_inputs
from convert.sources.inspection import ModelInfo

#: Sides of the second set of inputs are multiples of this, as most networks that halve their input need.
_SIDE_STEP = 32
#: Enough to see an output that never changes, few enough for a slow board.
CHECK_EXAMPLES = 8
#: Inputs and outputs of all of them; comparing takes several times that in memory.
_MOST_BYTES = 256 << 20
_LEAST_EXAMPLES = 2


def check_count(info: ModelInfo, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many examples to check on: fewer where each is large, as a segmentation network's outputs are."""
    sizes = [shapes[tensor.name] for tensor in info.inputs]
    sizes += [tuple(size for size in tensor.shape if isinstance(size, int)) for tensor in info.outputs]
    each = sum(math.prod(shape) for shape in sizes) * np.dtype(np.float32).itemsize
    return max(_LEAST_EXAMPLES, min(CHECK_EXAMPLES, _MOST_BYTES // max(each, 1)))


def check_inputs(
    info: ModelInfo,
    shapes: Mapping[str, tuple[int, ...]],
    examples: Examples | None,
    count: int | None = None,
) -> dict[str, NDArray[np.generic]]:
    """Complete inputs (count, *shape): real examples where there are some, else seeded ones.

    Without `count` as many as check_count says.

    Real data only, if there are any: the ranges of a static int8 model are made for them, and noise
    outside of these ranges would make a good conversion look bad.
    """
    count = count or check_count(info, shapes)
    if examples is None:
        return seeded_inputs(info, shapes, count)
    return complete_inputs(examples, shapes, min(count, examples.examples))


def complete_inputs(
    examples: Examples, shapes: Mapping[str, tuple[int, ...]], count: int
) -> dict[str, NDArray[np.generic]]:
    """`count` complete inputs (count, *shape), taken evenly from all examples, in batches if stacked."""
    batch = next(iter(shapes.values()))[0] if examples.stacked else 1
    rows = np.arange(count * batch) * max(1, examples.examples // (count * batch)) % examples.examples
    return {
        name: np.ascontiguousarray(array[rows].reshape(count, *shapes[name]))
        for name, array in examples.inputs.items()
    }


def other_shapes(info: ModelInfo, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]] | None:
    """Shapes that are not square, for a model whose height and width are open; None for any other.

    Height and width that were exchanged on the way do not show on a square input of a symmetric network.
    """
    other = dict(shapes)
    for tensor in info.inputs:
        shape = shapes[tensor.name]
        if len(shape) != 4 or not tensor.dtype.startswith("float"):
            continue
        sides = [axis for axis in (1, 2, 3) if not isinstance(tensor.shape[axis], int)]
        if len(sides) == 2 and shape[sides[0]] == shape[sides[1]]:
            wide = list(shape)
            wide[sides[1]] = max(1, int(shape[sides[1]] * 0.75 / _SIDE_STEP)) * _SIDE_STEP
            other[tensor.name] = tuple(wide)
    return other if other != dict(shapes) else None
