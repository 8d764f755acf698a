"""Names the first layer at which two graphs of one network part.

Every tensor of the reference gets a partner in the candidate and an agreement in dB: by name where both
graphs use the same names (a model and its quantised form), else by content, whatever the layout. Where
converters fuse operators, a tensor has no partner, which is no fault; so a layer counts as well as the best
tensor that is computed from it. Along the way to an output that is wrong this figure can only fall, and
the layer where it falls is where the graphs part.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.fingerprint import content_error
from convert.traces import DEFAULT_LIMITS, INPUT, TracedTensor, TraceLimits
from convert.verification import LOWEST_COSINE, LOWEST_SQNR_DB, compare_outputs

#: Below this an output is wrong. fp32 is judged harder than in verification.py: a base may differ from its
#: framework by 1e-5 only (100 dB), and what an approximated function does (60 to 80 dB) has to be found.
#: Correct conversions of MobileNetV2 and BiSeNet agree to 95 dB or better in every tensor.
_BOUND_DB = {**LOWEST_SQNR_DB, "fp32": 80.0}
#: Better is as good as equal: rounding, which falls and rises from layer to layer.
_CEILING_DB = {"fp32": 100.0, "fp16": 60.0, "int8": 30.0, "int8-dynamic": 30.0}
#: Worse is as bad as unrelated.
_FLOOR_DB = -20.0
#: An error that grows by less from one layer to the next is not one layer's doing.
_LEAST_FALL_DB = 6.0
#: Graphs that share so many of their names call the same things by them.
_SHARED_NAMES = 0.5
#: Where the reference has zeros only, this much is rounding (verification.py has the same).
_ZERO = {"fp32": 1e-4, "fp16": 1e-2}
#: Operators that compute nothing; one that has no partner was folded into the operator after it.
_MOVING = {"pad", "padv2", "mirrorpad", "transpose", "reshape", "cast", "identity", "squeeze", "unsqueeze"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Divergence:
    """The first layer of the reference that the candidate computes differently."""

    layer: str
    operator: str
    #: The last layer before it whose values the candidate has.
    agreed_until: str | None
    figures: str


@dataclass(frozen=True)
class _Agreement:
    """How one tensor is found in the other graph."""

    db: float
    partner: TracedTensor
    #: By name only: content alone has no direction.
    cosine: float | None = None
    by_name: bool = False
    #: Equal constants, of which every graph has some.
    says_nothing: bool = False


@dataclass(frozen=True)
class _Graph:
    """A trace with what its tensors are worth."""

    tensors: Sequence[TracedTensor]
    #: Positions of what each is computed from; without edges, of the one before.
    parents: Sequence[tuple[int, ...]]
    agreements: Sequence[_Agreement | None]
    #: The best agreement of a tensor or of anything computed from it.
    worth: Sequence[float]


def first_divergence(
    reference: Sequence[TracedTensor], candidate: Sequence[TracedTensor], precision: str
) -> Divergence | None:
    """The first layer of `reference` that is wrong in `candidate`; None where all outputs agree.

    A trace without edges is one chain; then the other's edges decide, if it has any.
    """
    ours, theirs = _graph(reference, candidate, precision), _graph(candidate, reference, precision)
    there = _first_fall(theirs, precision) if _has_edges(candidate) else None
    if _has_edges(reference) or not _has_edges(candidate):
        here = _first_fall(ours, precision)
    else:
        here = None if there is None else _counterpart(ours, theirs, there, precision)
    if here is None:
        return None
    here = _past_moving(ours, here)
    return Divergence(
        layer=ours.tensors[here].layer,
        operator=ours.tensors[here].operator,
        agreed_until=_last_agreeing(ours, here, precision),
        figures=_figures(ours, here, None if there is None else theirs.tensors[there]),
    )


def describe(divergence: Divergence) -> str:
    """One sentence without its full stop."""
    until = divergence.agreed_until
    return f"first differs at {divergence.layer} ({divergence.operator}): {divergence.figures}; " + (
        f"agrees up to {until}" if until else "nothing before it could be compared"
    )


def explain(
    reference_kind: str,
    reference_path: Path,
    candidate_kind: str,
    candidate_path: Path,
    reference_feed: Mapping[str, NDArray[np.generic]],
    candidate_feed: Mapping[str, NDArray[np.generic]],
    precision: str,
    limits: TraceLimits = DEFAULT_LIMITS,
) -> str | None:
    """Where two graphs part for one example, as a sentence; None if that cannot be told.

    Feeds are complete inputs by name, in each graph's own layout and types. Never raises: it explains a
    failure that is reported anyway. Runs in the worker process only.
    """
    try:
        reference = _tracer(reference_kind)(reference_path, reference_feed, limits)
        candidate = _tracer(candidate_kind)(candidate_path, candidate_feed, limits)
        divergence = first_divergence(reference, candidate, precision)
    except Exception as error:  # noqa: BLE001 - a graph that cannot be traced must not hide the failure
        _log.warning("%s cannot be compared layer by layer: %s", candidate_path.name, error)
        return None
    if divergence is None:
        _log.warning(
            "%s agrees with %s in every layer of the first example when nothing is optimised",
            candidate_path.name,
            reference_path.name,
        )
        return None
    return describe(divergence)


def _tracer(
    kind: str,
) -> Callable[[Path, Mapping[str, NDArray[np.generic]], TraceLimits], list[TracedTensor]]:
    # Only the runtime of the format at hand is loaded.
    if kind == "onnx":
        from convert.onnx_trace import trace_onnx

        return trace_onnx
    if kind == "tflite":
        from convert.tflite_trace import trace_tflite

        return trace_tflite
    raise ValueError(f"a model of kind {kind!r} is traced by its own framework")


def _graph(tensors: Sequence[TracedTensor], others: Sequence[TracedTensor], precision: str) -> _Graph:
    agreements = _agreements(tensors, others, precision)
    parents = _parents(tensors)
    worth = [found.db if found is not None and not found.says_nothing else _FLOOR_DB for found in agreements]
    for position in reversed(range(len(tensors))):
        for parent in parents[position]:
            worth[parent] = max(worth[parent], worth[position])
    return _Graph(tensors, parents, agreements, worth)


def _has_edges(tensors: Sequence[TracedTensor]) -> bool:
    return any(tensor.inputs for tensor in tensors)


def _parents(tensors: Sequence[TracedTensor]) -> list[tuple[int, ...]]:
    if not _has_edges(tensors):
        return [(position - 1,) if position else () for position in range(len(tensors))]
    places = {tensor.name: position for position, tensor in enumerate(tensors)}
    return [
        tuple(places[name] for name in tensor.inputs if places.get(name, position) < position)
        for position, tensor in enumerate(tensors)
    ]


def _agreements(
    tensors: Sequence[TracedTensor], others: Sequence[TracedTensor], precision: str
) -> list[_Agreement | None]:
    named = _by_name(tensors, others)
    by_size: dict[int, list[TracedTensor]] = {}
    for other in others:
        by_size.setdefault(other.fingerprint.elements, []).append(other)
    found: list[_Agreement | None] = []
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


def _named_agreement(tensor: TracedTensor, partner: TracedTensor, precision: str) -> _Agreement:
    ours, theirs = tensor.fingerprint, partner.fingerprint
    if ours.shape != theirs.shape:
        return replace(_content_agreement(tensor, partner, precision), by_name=True)
    (found,) = compare_outputs({"": ours.sample}, {"": theirs.sample})
    if theirs.lost > ours.lost:
        return _Agreement(_FLOOR_DB, partner, found.cosine, by_name=True)
    if found.cosine is None:  # zeros, or nothing but NaN
        equal = found.max_abs_error <= _ZERO.get(precision, math.inf)
        return _Agreement(_FLOOR_DB, partner, by_name=True, says_nothing=equal)
    db = _clamped(math.inf if found.sqnr_db is None else found.sqnr_db, precision)
    alike = ours.is_constant and theirs.is_constant and db >= _BOUND_DB[precision]
    return _Agreement(db, partner, found.cosine, by_name=True, says_nothing=alike)


def _found_by_content(
    tensor: TracedTensor, others: Sequence[TracedTensor], precision: str
) -> _Agreement | None:
    found = [_content_agreement(tensor, other, precision) for other in others]
    return max(found, key=lambda agreement: (agreement.says_nothing, agreement.db), default=None)


def _content_agreement(tensor: TracedTensor, other: TracedTensor, precision: str) -> _Agreement:
    error = content_error(tensor.fingerprint, other.fingerprint)
    db = -20.0 * math.log10(error) if error > 0.0 else math.inf
    constant = error == 0.0 and tensor.fingerprint.is_constant
    return _Agreement(_clamped(db, precision), other, says_nothing=constant)


def _clamped(db: float, precision: str) -> float:
    return min(max(db, _FLOOR_DB), _CEILING_DB[precision])


def _is_wrong(found: _Agreement | None, precision: str) -> bool:
    if found is None or found.says_nothing:
        return found is None
    crooked = found.cosine is not None and found.cosine < LOWEST_COSINE[precision]
    return crooked or found.db < _BOUND_DB[precision]


def _first_fall(graph: _Graph, precision: str) -> int | None:
    """Position of the first layer, on the way to a wrong output, where the worth falls for good."""
    concerned = _leading_to(graph, _wrong_outputs(graph, precision))
    falls = {position: _before(graph, position, precision) - graph.worth[position] for position in concerned}
    if not falls:
        return None
    largest = max(falls.values())
    if largest < _LEAST_FALL_DB:
        return next((p for p in concerned if graph.worth[p] < _BOUND_DB[precision]), concerned[-1])
    # Of several faults the first, unless it is slight beside a later one.
    return next(position for position in concerned if falls[position] >= largest / 2)


def _before(graph: _Graph, position: int, precision: str) -> float:
    """The worth of what a layer is computed from."""
    return min((graph.worth[parent] for parent in graph.parents[position]), default=_CEILING_DB[precision])


def _wrong_outputs(graph: _Graph, precision: str) -> list[int]:
    tensors = graph.tensors
    ends = [position for position, tensor in enumerate(tensors) if tensor.is_output]
    return [
        position
        for position in ends or range(len(tensors))[-1:]
        if _is_wrong(graph.agreements[position], precision)
    ]


def _leading_to(graph: _Graph, ends: Sequence[int]) -> list[int]:
    """The ends and all they are computed from, in order."""
    concerned = set(ends)
    for position in reversed(range(len(graph.tensors))):
        if position in concerned:
            concerned.update(graph.parents[position])
    return sorted(concerned)


def _agrees_as_before(graph: _Graph, position: int, fallen: int, precision: str) -> bool:
    """Whether the tensor itself is nearer to the agreement before the fall than to that after it."""
    found = graph.agreements[position]
    middle = (_before(graph, fallen, precision) + graph.worth[fallen]) / 2
    return found is not None and not found.says_nothing and found.db > middle


def _last_agreeing(graph: _Graph, fallen: int, precision: str) -> str | None:
    before = _leading_to(graph, graph.parents[fallen])
    agreeing = [position for position in before if _agrees_as_before(graph, position, fallen, precision)]
    return graph.tensors[agreeing[-1]].layer if agreeing else None


def _past_moving(graph: _Graph, fallen: int) -> int:
    """The layer itself, or the one that an operator which computes nothing was folded into."""
    while _plain(graph.tensors[fallen].operator) in _MOVING and not _is_compared(graph, fallen):
        after = [p for p in range(fallen + 1, len(graph.tensors)) if fallen in graph.parents[p]]
        if len(after) != 1 or graph.worth[after[0]] != graph.worth[fallen]:
            break
        fallen = after[0]
    return fallen


def _plain(operator: str) -> str:
    return operator.lower().replace("_", "")


def _is_compared(graph: _Graph, position: int) -> bool:
    found = graph.agreements[position]
    return found is not None and found.by_name


def _counterpart(ours: _Graph, theirs: _Graph, at: int, precision: str) -> int | None:
    """The layer of a chain that is computed where `theirs` falls: the first without a partner after the
    last that the layers before the fall are partners of, of the same size if there is one.
    """
    places = {tensor.name: position for position, tensor in enumerate(ours.tensors)}
    before = [
        places[found.partner.name]
        for position in _leading_to(theirs, theirs.parents[at])
        if (found := theirs.agreements[position]) is not None
        and _agrees_as_before(theirs, position, at, precision)
    ]
    start = max(before, default=-1) + 1
    missing = [p for p in range(start, len(ours.tensors)) if _is_wrong(ours.agreements[p], precision)]
    size = theirs.tensors[at].fingerprint.elements
    alike = [p for p in missing if ours.tensors[p].fingerprint.elements == size]
    return next(iter(alike or missing), None)


def _figures(graph: _Graph, fallen: int, there: TracedTensor | None) -> str:
    """Figures of the tensor, or of the first one after it that has a partner by name."""
    for position in range(fallen, len(graph.tensors)):
        found = graph.agreements[position]
        if found is not None and found.by_name and fallen in _leading_to(graph, [position]):
            cosine = f"cosine {found.cosine:.4f}, " if found.cosine is not None else ""
            where = "" if position == fallen else f" at {graph.tensors[position].layer}"
            return f"{cosine}{found.db:.1f} dB signal to noise{where}"
    found = graph.agreements[fallen]
    alike = "nothing alike" if found is None else f"at best {found.db:.0f} dB alike"
    where = f", first differs at {there.layer} ({there.operator})" if there is not None else ""
    return f"its values are not in the converted graph ({alike}{where})"
