"""What is kept of a tensor so that it can be found again in another graph.

Whole activations of a large network are gigabytes. Kept are figures that a change of layout (NCHW or
NHWC, added axes of 1, a transpose) does not touch: the sorted values at even ranks, and the mean along
each axis, which tells a transposed tensor from a scrambled one. Beside them a sample of elements at
fixed places, for two tensors of one layout.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Ranks at which sorted values are kept.
_RANKS = 1024
#: Elements sampled; of so many, the SQNR of Gaussian noise is known to 0.1 dB.
_SAMPLE = 16_384
#: A longer axis is a flattened tensor, whose order another format need not keep.
_LONGEST_AXIS = 8_192
#: An axis whose means spread less than this share of the values' own deviation tells no order.
_LEAST_SPREAD = 0.01
#: Larger values are masks ("minus infinity" of an attention), whose size would hide all others.
_LARGEST_VALUE = 1e9
#: More equal sides than this are not told apart.
_MOST_EQUAL_AXES = 4


@dataclass(frozen=True)
class Fingerprint:
    """Figures of one tensor, from a few hundred bytes to 100 KB."""

    #: Without the axes of 1.
    shape: tuple[int, ...]
    elements: int
    #: NaN, infinite, or a mask's huge value.
    lost: int
    #: Elements at fixed places of the tensor in its own order, NaN and infinities among them.
    sample: NDArray[np.float32]
    #: Values at even ranks, lost ones aside.
    ranks: NDArray[np.float64]
    #: Mean of each row of each axis, in the order of `shape`; empty for an axis that is too long.
    axes: tuple[NDArray[np.float64], ...]
    mean: float
    #: Standard deviation.
    deviation: float

    @property
    def is_constant(self) -> bool:
        """Whether it has but one value, which says nothing about where it came from."""
        return self.ranks.size == 0 or float(np.ptp(self.ranks)) == 0.0


def take_fingerprint(values: NDArray[np.generic]) -> Fingerprint:
    """The fingerprint of a float tensor of any shape."""
    shape = tuple(size for size in values.shape if size != 1)
    flat = np.asarray(values, dtype=np.float32).reshape(-1)
    kept = np.isfinite(flat) & (np.abs(flat) < _LARGEST_VALUE)
    lost = int(flat.size - np.count_nonzero(kept))
    good = flat[kept] if lost else flat
    cleaned = np.where(kept, flat, np.float32(0.0)) if lost else flat
    return Fingerprint(
        shape=shape,
        elements=int(flat.size),
        lost=lost,
        sample=flat[_places(flat.size)],
        ranks=_ranked(good),
        axes=_axis_means(cleaned.reshape(shape)),
        mean=float(good.mean(dtype=np.float64)) if good.size else 0.0,
        deviation=float(good.std(dtype=np.float64)) if good.size else 0.0,
    )


def content_error(expected: Fingerprint, actual: Fingerprint) -> float:
    """How far two tensors are from holding the same values in some layout; 0 if they do, 1 if unrelated.

    In standard deviations of the expected one; infinite where sizes or lost elements differ, and for a
    constant, which only an equal constant is like.
    """
    if expected.elements != actual.elements or expected.lost != actual.lost:
        return math.inf
    if expected.is_constant or actual.is_constant:
        both = expected.is_constant and actual.is_constant
        alike = math.isclose(expected.mean, actual.mean, rel_tol=1e-5, abs_tol=1e-6)
        return 0.0 if both and alike else math.inf
    by_rank = _rms(expected.ranks - actual.ranks) / expected.deviation
    return max(by_rank, _error_of_order(expected, actual))


def _places(elements: int) -> NDArray[np.intp]:
    """The same places for all tensors of a size."""
    if elements <= _SAMPLE:
        return np.arange(elements)
    return np.sort(np.random.default_rng(elements).integers(0, elements, _SAMPLE))


def _ranked(values: NDArray[np.float32]) -> NDArray[np.float64]:
    if not values.size:
        return np.empty(0)
    places = np.linspace(0, values.size - 1, min(values.size, _RANKS)).round().astype(np.intp)
    ranked: NDArray[np.float64] = np.sort(values)[places].astype(np.float64)
    return ranked


def _axis_means(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], ...]:
    return tuple(
        values.mean(axis=tuple(other for other in range(values.ndim) if other != axis), dtype=np.float64)
        if size <= _LONGEST_AXIS
        else np.empty(0)
        for axis, size in enumerate(values.shape)
    )


def _error_of_order(expected: Fingerprint, actual: Fingerprint) -> float:
    """Of the axis whose means agree least, axes of equal length being paired as they agree best.

    Axes of a length that the other tensor has not, or not as often, were made by a reshape: they tell
    nothing.
    """
    least = _LEAST_SPREAD * expected.deviation
    worst = 0.0
    for size in set(expected.shape):
        ours = [means for means in expected.axes if means.size == size]
        theirs = [means for means in actual.axes if means.size == size]
        if 0 < len(ours) == len(theirs) <= _MOST_EQUAL_AXES:
            pairings = (zip(ours, order, strict=True) for order in itertools.permutations(theirs))
            worst = max(
                worst,
                min(max(_rms(a - b) / max(float(a.std()), least) for a, b in pairs) for pairs in pairings),
            )
    return worst


def _rms(values: NDArray[np.float64]) -> float:
    return math.sqrt(float(np.square(values).mean()))
