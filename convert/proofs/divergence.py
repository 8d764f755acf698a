"""Names the first layer at which two graphs of one network part.

Every tensor of the reference has an agreement in dB with its partner in the candidate. Where converters
fuse operators a tensor has no partner, which is no fault; so a layer is worth as much as the best tensor that
is computed from it. On the way to a wrong output this worth can only fall, and the layer where it falls is
where the graphs part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.proofs.tensor_agreement import BOUND_DB, CEILING_DB, FLOOR_DB, Agreement, find_partners, is_wrong
from convert.proofs.traces import DEFAULT_LIMITS, TracedTensor, TraceLimits

#: An error that grows by less from one layer to the next is not one layer's doing.
_LEAST_FALL_DB = 6.0
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
class _Graph:
    """A trace with what its tensors are worth."""

    tensors: Sequence[TracedTensor]
    #: Positions of what each is computed from; without edges, of the one before.
    parents: Sequence[tuple[int, ...]]
    agreements: Sequence[Agreement | None]
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
        if here is None:
            return None
        here = _past_moving(ours, here)
        until = _last_agreeing(ours, here, precision)
    else:
        before = [] if there is None else _partners_before(ours, theirs, there, precision)
        here = None if there is None else _counterpart(ours, theirs.tensors[there], before, precision)
        if here is None:
            return None
        until = max(before, default=None)
    return Divergence(
        layer=ours.tensors[here].layer,
        operator=ours.tensors[here].operator,
        agreed_until=None if until is None else ours.tensors[until].layer,
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
            "the outputs of %s agree with those of %s for the first example when nothing is optimised",
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
        from convert.proofs.onnx_trace import trace_onnx

        return trace_onnx
    if kind == "tflite":
        from convert.proofs.tflite_trace import trace_tflite

        return trace_tflite
    raise ValueError(f"a model of kind {kind!r} is traced by its own framework")


def _graph(tensors: Sequence[TracedTensor], others: Sequence[TracedTensor], precision: str) -> _Graph:
    agreements = find_partners(tensors, others, precision)
    parents = _parents(tensors)
    worth = [found.db if found is not None and not found.says_nothing else FLOOR_DB for found in agreements]
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


def _first_fall(graph: _Graph, precision: str) -> int | None:
    """Position of the first layer, on the way to a wrong output, where the worth falls for good."""
    concerned = _leading_to(graph, _wrong_outputs(graph, precision))
    falls = {position: _before(graph, position, precision) - graph.worth[position] for position in concerned}
    if not falls:
        return None
    largest = max(falls.values())
    if largest < _LEAST_FALL_DB:
        return next((p for p in concerned if graph.worth[p] < BOUND_DB[precision]), concerned[-1])
    # Of several faults the first, unless it is slight beside a later one.
    return next(position for position in concerned if falls[position] >= largest / 2)


def _before(graph: _Graph, position: int, precision: str) -> float:
    """The worth of what a layer is computed from."""
    return min((graph.worth[parent] for parent in graph.parents[position]), default=CEILING_DB[precision])


def _wrong_outputs(graph: _Graph, precision: str) -> list[int]:
    tensors = graph.tensors
    ends = [position for position, tensor in enumerate(tensors) if tensor.is_output]
    return [
        position
        for position in ends or range(len(tensors))[-1:]
        if is_wrong(graph.agreements[position], precision)
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


def _last_agreeing(graph: _Graph, fallen: int, precision: str) -> int | None:
    before = _leading_to(graph, graph.parents[fallen])
    agreeing = [position for position in before if _agrees_as_before(graph, position, fallen, precision)]
    return agreeing[-1] if agreeing else None


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


def _partners_before(ours: _Graph, theirs: _Graph, there: int, precision: str) -> list[int]:
    """Positions in `ours` of the partners of what leads to the fall in `theirs`."""
    places = {tensor.name: position for position, tensor in enumerate(ours.tensors)}
    return [
        places[found.partner.name]
        for position in _leading_to(theirs, theirs.parents[there])
        if (found := theirs.agreements[position]) is not None
        and _agrees_as_before(theirs, position, there, precision)
    ]


def _counterpart(ours: _Graph, there: TracedTensor, before: Sequence[int], precision: str) -> int | None:
    """The layer of a chain that is computed where the other graph falls, as far as order and size tell.

    The first without a partner after `before`; a side branch in between may hold some that were fused.
    """
    start = max(before, default=-1) + 1
    missing = [p for p in range(start, len(ours.tensors)) if is_wrong(ours.agreements[p], precision)]
    alike = [p for p in missing if ours.tensors[p].fingerprint.elements == there.fingerprint.elements]
    unexplained = [p for p in alike if not _is_fused(ours, p, precision)]
    return next(iter(unexplained or alike or missing), None)


def _is_fused(chain: _Graph, position: int, precision: str) -> bool:
    """Whether a layer without a partner is followed by one of its size that has one (Conv, ReLU)."""
    size = chain.tensors[position].fingerprint.elements
    passed: set[str] = set()
    for tensor, found in zip(chain.tensors[position:], chain.agreements[position:], strict=True):
        if tensor.fingerprint.elements != size or tensor.operator in passed:
            return False
        if not is_wrong(found, precision):
            return True
        passed.add(tensor.operator)
    return False


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
