"""Whether two runs of a model agree: figures for each output, and what counts as broken.

Lowest cosine between reference and candidate, over all examples, and lowest signal to noise, which
also sees a wrong scale:
fp32   0.9999  37 dB  the same arithmetic in another order; converters that work differ by 1e-6 (120 dB)
fp16   0.999   27 dB  11 bits of mantissa leave about 60 dB in a deep network
int8   0.80     0 dB  quantisation that is merely inaccurate is for the accuracy figure to show, so only
                      what cannot be told from unrelated outputs counts as broken: independent positive
                      values (of a softmax or ReLU) have an expected cosine of 0.64 to 0.75, and at
                      0 dB the error is as large as the output
Below `DOUBTFUL_COSINE` a conversion is kept but warned about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.errors import ConvertError

LOWEST_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.80, "int8-dynamic": 0.80}
LOWEST_SQNR_DB = {"fp32": 37.0, "fp16": 27.0, "int8": 0.0, "int8-dynamic": 0.0}
DOUBTFUL_COSINE = {"fp32": 0.99999, "fp16": 0.9995, "int8": 0.95, "int8-dynamic": 0.95}
#: Share of integer or boolean elements that must be equal; near ties may flip by rounding.
LOWEST_EQUAL_SHARE = {"fp32": 0.99, "fp16": 0.90, "int8": 0.50, "int8-dynamic": 0.50}
#: An output of zeros has no cosine; then an absolute error up to this is rounding.
_ROUNDING = {"fp32": 1e-4, "fp16": 1e-2}
#: Examples, batch, and a map's classes, height and width.
_MAP_RANK = 5
#: A reference that varies less than this between examples may be constant after quantisation.
_NOTABLE_VARIATION = 0.1


@dataclass(frozen=True)
class OutputAgreement:
    """How one output agrees with the reference, over all examples."""

    name: str
    #: None where it is undefined: outputs that are not floats, or a reference of zeros.
    cosine: float | None
    max_abs_error: float
    sqnr_db: float | None
    #: Share of rows along the classes with the same largest element; None for non-floats, single elements.
    argmax_agreement: float | None
    #: Share of equal elements of an output that is not float.
    equal_share: float | None = None
    #: Why the output is broken whatever the precision: zeros, constant, not finite.
    defect: str | None = None


Arrays = Mapping[str, NDArray[np.generic]]


def compare_outputs(
    reference: Arrays,
    candidate: Arrays,
    aliases: Mapping[str, tuple[str, ...]] | None = None,
    quantization: Mapping[str, tuple[float, int]] | None = None,
) -> tuple[OutputAgreement, ...]:
    """Agreement of each reference output, arrays (examples, *shape).

    Outputs are matched by name or by one of its `aliases`, then by a shape only one of each side has;
    never by position. Outputs with a `quantization` (scale, zero point) are compared as the numbers they
    stand for: kernels differ in the last step. Raises ConvertError `outputs_differ` when an output has
    no partner.
    """
    pairs = _matched(reference, candidate, aliases or {})
    scales = quantization or {}
    return tuple(
        _agreement(
            name,
            _dequantized(reference[name], scales.get(name)),
            _dequantized(candidate[pairs[name]], scales.get(name)),
        )
        for name in reference
    )


def find_fault(agreements: tuple[OutputAgreement, ...], precision: str) -> str | None:
    """None if the outputs will do for `precision`, else a sentence naming the output and its figures."""
    for agreement in agreements:
        fault = agreement.defect or _below_bounds(agreement, precision)
        if fault:
            return f"output {agreement.name!r} {fault} ({figures(agreement)})"
    return None


def find_doubt(agreements: tuple[OutputAgreement, ...], precision: str) -> str | None:
    """A sentence about an output that passes but agrees less than a good conversion does."""
    for agreement in agreements:
        if agreement.cosine is not None and agreement.cosine < DOUBTFUL_COSINE[precision]:
            return f"output {agreement.name!r} agrees only loosely with fp32 ({figures(agreement)})"
    return None


def figures(agreement: OutputAgreement) -> str:
    """The figures of one output in a few words."""
    parts = []
    if agreement.cosine is not None:
        parts.append(f"cosine {agreement.cosine:.5f}")
    if agreement.sqnr_db is not None:
        parts.append(f"{agreement.sqnr_db:.1f} dB")
    if agreement.equal_share is not None:
        parts.append(f"{agreement.equal_share:.1%} of elements equal")
    parts.append(f"largest error {agreement.max_abs_error:.4g}")
    if agreement.argmax_agreement is not None:
        parts.append(f"same largest element in {agreement.argmax_agreement:.1%} of rows")
    return ", ".join(parts)


def _dequantized(array: NDArray[np.generic], scale: tuple[float, int] | None) -> NDArray[np.generic]:
    if scale is None or array.dtype.kind not in "iu":
        return array
    real: NDArray[np.generic] = (array.astype(np.float64) - scale[1]) * scale[0]
    return real


def _below_bounds(agreement: OutputAgreement, precision: str) -> str | None:
    lowest = LOWEST_COSINE[precision]
    if agreement.cosine is not None and agreement.cosine < lowest:
        return f"disagrees with the fp32 reference: {precision} has to reach a cosine of {lowest}"
    least = LOWEST_SQNR_DB[precision]
    if agreement.sqnr_db is not None and agreement.sqnr_db < least:
        return f"disagrees with the fp32 reference: {precision} has to reach {least:.0f} dB signal to noise"
    share = LOWEST_EQUAL_SHARE[precision]
    if agreement.equal_share is not None and agreement.equal_share < share:
        return f"disagrees with the fp32 reference: {precision} has to equal it in {share:.0%} of elements"
    undefined = agreement.cosine is None and agreement.equal_share is None
    if undefined and agreement.max_abs_error > _ROUNDING.get(precision, math.inf):
        return "should be all zeros as the fp32 reference is"
    return None


def _matched(reference: Arrays, candidate: Arrays, aliases: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Reference name -> candidate name."""
    pairs: dict[str, str] = {}
    for name in reference:
        for known_as in (name, *aliases.get(name, ())):
            if known_as in candidate and known_as not in pairs.values():
                pairs[name] = known_as
                break
    open_here = [name for name in reference if name not in pairs]
    open_there = [name for name in candidate if name not in pairs.values()]
    for name in open_here:
        shape = reference[name].shape
        alike = [other for other in open_here if reference[other].shape == shape]
        partners = [other for other in open_there if candidate[other].shape == shape]
        if len(alike) == 1 and len(partners) == 1:
            pairs[name] = partners[0]
    unmatched = [name for name in reference if name not in pairs]
    differing = [n for n, other in pairs.items() if reference[n].shape != candidate[other].shape]
    if unmatched or differing:
        raise ConvertError(
            f"the outputs differ: the reference has {_described(reference)}, "
            f"the candidate {_described(candidate)}",
            reason="outputs_differ",
            remedy=f"No partner of the same name or shape for {', '.join(map(repr, unmatched + differing))}",
        )
    return pairs


def _described(arrays: Arrays) -> str:
    return ", ".join(f"{name!r} {array.shape}" for name, array in arrays.items()) or "none"


def _agreement(name: str, reference: NDArray[np.generic], candidate: NDArray[np.generic]) -> OutputAgreement:
    if reference.dtype.kind != "f" or candidate.dtype.kind != "f":
        return _exact_agreement(name, reference, candidate)
    expected = reference.astype(np.float64)
    actual = candidate.astype(np.float64)
    finite = np.isfinite(expected)
    lost = int(np.count_nonzero(finite & ~np.isfinite(actual)))
    if lost:
        defect = f"has {lost} elements that are NaN or infinite where the reference is not"
        return OutputAgreement(name, 0.0, math.inf, None, _argmax_agreement(expected, actual), None, defect)
    # Where the reference itself is NaN or infinite there is nothing to agree with.
    expected_values, actual_values = expected[finite], actual[finite]
    difference = np.abs(expected_values - actual_values)
    return OutputAgreement(
        name=name,
        cosine=_cosine(expected_values, actual_values),
        max_abs_error=float(difference.max()) if difference.size else 0.0,
        sqnr_db=_sqnr_db(expected_values, difference),
        argmax_agreement=_argmax_agreement(expected, actual),
        defect=_defect(np.where(finite, expected, 0.0), np.where(finite, actual, 0.0)),
    )


def _exact_agreement(
    name: str, reference: NDArray[np.generic], candidate: NDArray[np.generic]
) -> OutputAgreement:
    """Agreement of integers, booleans and text, which are right or wrong."""
    equal = np.asarray(reference == candidate)
    share = float(equal.mean()) if equal.size else 1.0
    if reference.dtype.kind not in "iubf" or candidate.dtype.kind not in "iubf":
        return OutputAgreement(name, None, 0.0 if share == 1.0 else math.inf, None, None, share)
    difference = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
    largest = float(difference.max()) if difference.size else 0.0
    return OutputAgreement(name, None, largest, None, None, share)


def _cosine(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float | None:
    """None for a reference of zeros, which has no direction."""
    # Scaled by the largest element first, so that squares neither overflow nor vanish.
    expected_scale = float(np.abs(expected).max()) if expected.size else 0.0
    actual_scale = float(np.abs(actual).max()) if actual.size else 0.0
    if expected_scale == 0.0:
        return None
    if actual_scale == 0.0:
        return 0.0
    left, right = expected / expected_scale, actual / actual_scale
    product = float(np.dot(left, right)) / math.sqrt(float(np.dot(left, left)) * float(np.dot(right, right)))
    return max(-1.0, min(1.0, product))


def _sqnr_db(expected: NDArray[np.float64], difference: NDArray[np.float64]) -> float | None:
    """Signal to quantisation noise; None without signal or without noise."""
    scale = float(np.abs(expected).max()) if expected.size else 0.0
    if scale == 0.0:
        return None
    signal = float(np.square(expected / scale).sum())
    noise = float(np.square(difference / scale).sum())
    return 10.0 * math.log10(signal / noise) if noise > 0.0 and math.isfinite(noise) else None


def _argmax_agreement(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float | None:
    if expected.ndim < 2 or expected.size == 0:
        return None
    axis = _class_axis(expected.shape)
    if expected.shape[axis] < 2:
        return None
    return float(np.mean(expected.argmax(axis=axis) == actual.argmax(axis=axis)))


def _class_axis(shape: tuple[int, ...]) -> int:
    """Where the classes lie in (examples, *shape): last; of maps, also (N, C, H, W), the shortest axis."""
    if len(shape) < _MAP_RANK:
        return len(shape) - 1
    axes = [axis for axis in range(2, len(shape)) if shape[axis] > 1]
    return min(reversed(axes), key=lambda axis: shape[axis], default=len(shape) - 1)


def _defect(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> str | None:
    """What garbage looks like, which a cosine can miss: all outputs of a softmax point the same way."""
    if expected.size == 0 or not expected.any():
        return None
    if not actual.any():
        return "is all zeros where the reference is not"
    rows_expected = expected.reshape(len(expected), -1)
    rows_actual = actual.reshape(len(actual), -1)
    notable = _NOTABLE_VARIATION * float(np.sqrt(np.square(rows_expected).mean()))
    same_rows = bool(np.ptp(rows_actual, axis=0).max() == 0.0)
    if len(rows_actual) > 1 and same_rows and float(rows_expected.std(axis=0).max()) > notable:
        return "is the same for every input where the reference is not"
    same_columns = bool(np.ptp(rows_actual, axis=1).max() == 0.0)
    if rows_actual.shape[1] > 1 and same_columns and float(rows_expected.std(axis=1).max()) > notable:
        return "has the same value everywhere where the reference does not"
    return None
