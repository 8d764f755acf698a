"""The inputs on which an artifact has to agree with its source."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from convert.datasets import Examples
from convert.inspection import ModelInfo
from convert.sample_inputs import seeded_inputs

#: Enough to see an output that never changes, few enough for a slow board.
CHECK_EXAMPLES = 8


def check_inputs(
    info: ModelInfo,
    shapes: Mapping[str, tuple[int, ...]],
    examples: Examples | None,
    count: int = CHECK_EXAMPLES,
) -> dict[str, NDArray[np.generic]]:
    """Complete inputs (count, *shape): real examples where there are some, else seeded ones.

    Real data only, if there are any: the ranges of a static int8 model are made for them, and noise
    outside of these ranges would make a good conversion look bad.
    """
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
