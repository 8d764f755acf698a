"""The intermediate tensors of a graph for one example, each as its fingerprint, in order of execution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.errors import ConversionFailed
from convert.proofs.fingerprint import Fingerprint, take_fingerprint

Arrays = Mapping[str, NDArray[np.generic]]

#: Operator given to what a graph is fed with.
INPUT = "input"
#: Operators whose result depends on the shape of their input only.
_OF_SHAPES = {"Shape", "Size", "ConstantOfShape", "SHAPE", "RANK"}


@dataclass(frozen=True)
class TracedTensor:
    """One float tensor of a run; a quantised one as the numbers it stands for."""

    #: Of the tensor; a quantised one's is that of the float tensor it replaces.
    name: str
    operator: str
    fingerprint: Fingerprint
    #: What people call the operator that computed it.
    layer: str
    #: Names of the traced tensors it is computed from; empty too where the trace does not tell.
    inputs: tuple[str, ...] = ()
    is_output: bool = False


@dataclass(frozen=True)
class TraceLimits:
    """What explaining a failure may take."""

    seconds: float = 120.0
    #: Bytes of activations held at once.
    memory: int = 1 << 30


DEFAULT_LIMITS = TraceLimits()


@dataclass(frozen=True)
class Operation:
    """A node of either format: names of tensors that are no constants."""

    operator: str
    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def traced(
    arrays: Arrays, operators: Mapping[str, str], inputs: Mapping[str, Sequence[str]] | None = None
) -> list[TracedTensor]:
    """A trace another process made: arrays and operators by layer, in order of execution.

    `inputs` names the layers each is computed from; without, every layer counts as computed from the
    one before.
    """
    edges = inputs or {}
    read = {name for names in edges.values() for name in names}
    return [
        TracedTensor(
            name,
            operators.get(name, "unknown"),
            take_fingerprint(array),
            layer=name,
            inputs=tuple(edges.get(name, ())),
            is_output=bool(edges) and name not in read,
        )
        for name, array in arrays.items()
        if array.dtype.kind == "f"
    ]


def depending_on(operations: Sequence[Operation], sources: Iterable[str]) -> list[str]:
    """Names of the sources and of all that is computed from their values, in order of execution.

    What depends on constants or shapes only is worked out by some converters and left to run by others.
    """
    known = dict.fromkeys(sources)
    for operation in operations:
        if operation.operator not in _OF_SHAPES and any(name in known for name in operation.inputs):
            known.update(dict.fromkeys(operation.outputs))
    return list(known)


def in_order(operations: Sequence[Operation]) -> list[Operation]:
    """The operations so that each comes after those it reads from; files need not keep to it."""
    missing = {name for operation in operations for name in operation.outputs}
    ordered: list[Operation] = []
    waiting = list(operations)
    while waiting:
        held = []
        for operation in waiting:
            if missing.isdisjoint(operation.inputs):
                ordered.append(operation)
                missing.difference_update(operation.outputs)
            else:
                held.append(operation)
        if len(held) == len(waiting):  # a loop, which no runtime accepts
            return [*ordered, *held]
        waiting = held
    return ordered


def merged(
    operations: Sequence[Operation],
    prints: Mapping[str, Fingerprint],
    outputs: Sequence[str],
    stand_ins: Mapping[str, str],
) -> list[TracedTensor]:
    """The tensors with their operators and edges; edges lead through tensors that are not floats.

    `stand_ins` are quantised forms: such a tensor takes the place of the one it stands for.
    """
    made = {name for operation in operations for name in operation.outputs}
    found = {
        name: TracedTensor(name, INPUT, prints[name], name, (), name in outputs)
        for name in prints
        if name not in made
    }
    origins: dict[str, tuple[str, ...]] = {name: (name,) for name in found}
    for operation in operations:
        sources = tuple(dict.fromkeys(s for name in operation.inputs for s in origins.get(name, ())))
        for name in operation.outputs:
            replaced = origins.get(stand_ins.get(name, ""), ())
            if name not in prints:
                origins[name] = () if operation.operator in _OF_SHAPES else sources
            elif len(replaced) == 1:
                original = found[replaced[0]]
                is_output = original.is_output or name in outputs
                found[original.name] = replace(original, fingerprint=prints[name], is_output=is_output)
                origins[name] = replaced
            else:
                found[name] = TracedTensor(
                    name, operation.operator, prints[name], operation.layer or name, sources, name in outputs
                )
                origins[name] = (name,)
    return list(found.values())


def titled(tensors: Sequence[TracedTensor], titles: Mapping[str, str]) -> list[TracedTensor]:
    """The tensors under the names that people and other graphs know them by."""
    return [
        replace(
            tensor,
            name=titles[tensor.name],
            layer=titles.get(tensor.layer, tensor.layer),
            inputs=tuple(titles[name] for name in tensor.inputs),
        )
        for tensor in tensors
    ]


def unique(titles: Mapping[str, str]) -> dict[str, str]:
    """The same without repetitions: nothing forbids two tensors of one name, or of none."""
    taken: set[str] = set()
    told_apart = {}
    for key, title in titles.items():
        told_apart[key] = title if title and title not in taken else f"{title}#{key}"
        taken.add(title)
    return told_apart


def too_large(path: Path, why: str, limits: TraceLimits) -> ConversionFailed:
    """The error for a graph whose trace would take more than the limits."""
    return ConversionFailed(
        f"{path.name} takes {why}; the limits are {limits.seconds:.0f} s and {limits.memory / 1e6:,.0f} MB",
        reason="trace_too_large",
    )
