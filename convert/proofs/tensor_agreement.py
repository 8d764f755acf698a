"""Finds each tensor of one trace in another, and how well it agrees there.

By name where both graphs use the same names (a model and its quantised form), else by content, whatever
the layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from convert.proofs.fingerprint import content_error
from convert.proofs.traces import INPUT, TracedTensor
from convert.proofs.verification import LOWEST_COSINE, LOWEST_SQNR_DB, compare_outputs

#: Below this an output is wrong. fp32 is judged harder than in verification.py: a base may differ from its
#: framework by 1e-5 only (100 dB), and what an approximated function does (60 to 80 dB) has to be found.
#: Correct conversions of MobileNetV2 and BiSeNet agree to 95 dB or better in every tensor.
BOUND_DB = {**LOWEST_SQNR_DB, "fp32": 80.0}
#: Better is as good as equal: rounding, which falls and rises from layer to layer.
CEILING_DB = {"fp32": 100.0, "fp16": 60.0, "int8": 30.0, "int8-dynamic": 30.0}
#: Worse is as bad as unrelated.
FLOOR_DB = -20.0
#: Graphs that share so many of their names call the same things by them.
_SHARED_NAMES = 0.5
#: Where the reference has zeros only, this much is rounding (verification.py has the same).
_ZERO = {"fp32": 1e-4, "fp16": 1e-2}


@dataclass(frozen=True)
class Agreement:
    """How one tensor is found in the other graph."""

    db: float
    partner: TracedTensor
    #: By name only: content alone has no direction.
    cosine: float | None = None
    by_name: bool = False
    #: Equal constants, of which every graph has some.
    says_nothing: bool = False


def find_partners(
    tensors: Sequence[TracedTensor], others: Sequence[TracedTensor], precision: str
) -> list[Agreement | None]:
    """The best agreement of each of `tensors` in the other trace; None where nothing has its size."""
    named = _by_name(tensors, others)
    by_size: dict[int, list[TracedTensor]] = {}
    for other in others:
        by_size.setdefault(other.fingerprint.elements, []).append(other)
    found: list[Agreement | None] = []
    for tensor in tensors:
        partner = named.get(tensor.name)
        if partner is not None:
            found.append(_named_agreement(tensor, partner, precision))
        elif not named or tensor.is_output or precision in ("fp32", "fp16"):
            found.append(_found_by_content(tensor, by_size.get(tensor.fingerprint.elements, ()), precision))
        else:  # eight bits leave too little of a tensor to find it among others
            found.append(None)
    return found


def _by_name(tensors: Sequence[TracedTensor], others: Sequence[TracedTensor]) -> dict[str, TracedTensor]:
    """Partners by name; none unless the two graphs share most of their names, the inputs aside."""
    theirs = {other.name: other for other in others}
    pairs = {
        tensor.name: theirs[tensor.name]
        for tensor in tensors
        if tensor.name in theirs and theirs[tensor.name].fingerprint.elements == tensor.fingerprint.elements
    }
    inner = [len([t for t in side if t.operator != INPUT]) for side in (tensors, others)]
    shared = sum(theirs[name].operator != INPUT for name in pairs)
    return pairs if shared >= _SHARED_NAMES * max(1, min(inner)) else {}


def _named_agreement(tensor: TracedTensor, partner: TracedTensor, precision: str) -> Agreement:
    ours, theirs = tensor.fingerprint, partner.fingerprint
    if ours.shape != theirs.shape:
        return replace(_content_agreement(tensor, partner, precision), by_name=True)
    (found,) = compare_outputs({"": ours.sample}, {"": theirs.sample})
    if theirs.lost > ours.lost:
        return Agreement(FLOOR_DB, partner, found.cosine, by_name=True)
    if found.cosine is None:  # zeros, or nothing but NaN
        equal = found.max_abs_error <= _ZERO.get(precision, math.inf)
        return Agreement(FLOOR_DB, partner, by_name=True, says_nothing=equal)
    db = _clamped(math.inf if found.sqnr_db is None else found.sqnr_db, precision)
    alike = ours.is_constant and theirs.is_constant and db >= BOUND_DB[precision]
    return Agreement(db, partner, found.cosine, by_name=True, says_nothing=alike)


def _found_by_content(
    tensor: TracedTensor, others: Sequence[TracedTensor], precision: str
) -> Agreement | None:
    found = [_content_agreement(tensor, other, precision) for other in others]
    return max(found, key=lambda agreement: (agreement.says_nothing, agreement.db), default=None)


def _content_agreement(tensor: TracedTensor, other: TracedTensor, precision: str) -> Agreement:
    error = content_error(tensor.fingerprint, other.fingerprint)
    db = -20.0 * math.log10(error) if error > 0.0 else math.inf
    constant = error == 0.0 and tensor.fingerprint.is_constant
    return Agreement(_clamped(db, precision), other, says_nothing=constant)


def _clamped(db: float, precision: str) -> float:
    return min(max(db, FLOOR_DB), CEILING_DB[precision])


def is_wrong(found: Agreement | None, precision: str) -> bool:
    """Whether a tensor is missing in the other trace, or worse than `precision` may make it."""
    if found is None or found.says_nothing:
        return found is None
    crooked = found.cosine is not None and found.cosine < LOWEST_COSINE[precision]
    return crooked or found.db < BOUND_DB[precision]
