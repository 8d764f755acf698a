"""Adaptive average pooling whose windows differ in size, as the product of matrices that every target has.

adaptive_avg_pool2d from 7 to 3 averages the rows 0-2, 2-4 and 4-6: no AveragePool has such windows, and the
exporter refuses it. The mean over window i is a row of weights 1/length, so the pooling of an axis is one
matrix, exact but for the order of summation.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = Any


def averaging_matrix(size: int, windows: int) -> NDArray[np.float32]:
    """(windows, size): row i averages the elements floor(i*size/windows) to ceil((i+1)*size/windows)."""
    matrix = np.zeros((windows, size), np.float32)
    for i in range(windows):
        start, end = i * size // windows, -(-(i + 1) * size // windows)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


def exact_pooling(replaced: list[str]) -> Any:
    """A context in which uneven adaptive_avg_pool2d is done by matrices; tells of each in `replaced`."""
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode

    class ExactPooling(TorchFunctionMode):  # type: ignore[misc]
        """Answers the one function and passes all others on."""

        def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is functional.adaptive_avg_pool2d:
                answer = _pooled(replaced, *args, **(kwargs or {}))
                if answer is not None:
                    return answer
            return func(*args, **(kwargs or {}))

    return ExactPooling()


def _pooled(replaced: list[str], input: Tensor, output_size: Any) -> Tensor | None:  # noqa: A002 - torch's
    """The pooled tensor, None where all windows of both axes have one size."""
    import torch

    with warnings.catch_warnings():
        # Sizes are fixed numbers here, which is what the tracer warns of.
        warnings.simplefilter("ignore")
        sizes = [int(size) for size in input.shape[-2:]]
        both = output_size if isinstance(output_size, list | tuple) else (output_size, output_size)
        windows = [size if one is None else int(one) for one, size in zip(both, sizes, strict=True)]
        if all(size % count == 0 for size, count in zip(sizes, windows, strict=True)):
            return None
        rows, columns = (
            torch.from_numpy(averaging_matrix(size, count)).to(input.dtype)
            for size, count in zip(sizes, windows, strict=True)
        )
    label = "x".join(map(str, sizes)) + " to " + "x".join(map(str, windows))
    if label not in replaced:
        replaced.append(label)
    pooled = input if sizes[0] == windows[0] else torch.matmul(rows, input)
    return pooled if sizes[1] == windows[1] else torch.matmul(pooled, columns.T)
