"""Finds how a converted model's inputs and outputs lie against its source's, and proves it by values.

Converters to TFLite move channels to the end. Shapes tell where, except when sides are equal; then every
reading that fits the shapes is tried, and the values decide. Runs in the worker process only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.errors import ConversionFailed
from convert.interface import Arrays, TensorMap, to_artifact
from convert.proofs.execution import run_model
from convert.proofs.verification import OutputAgreement, compare_outputs
from convert.sources.inspection import ModelInfo

#: More readings than this are not tried; five inputs with equal sides do not occur.
_MOST_READINGS = 16


@dataclass(frozen=True)
class Reading:
    """One way to lie: maps, and how well the outputs agree that way."""

    inputs: tuple[TensorMap, ...]
    outputs: tuple[TensorMap, ...]
    agreement: tuple[OutputAgreement, ...]
    #: The model's own outputs, (examples, *shape) by its names.
    answers: Arrays

    @property
    def largest_error(self) -> float:
        """Over all outputs."""
        return max((output.max_abs_error for output in self.agreement), default=0.0)


def best_reading(
    info: ModelInfo, checks: Mapping[str, NDArray[np.generic]], reference: Mapping[str, NDArray[np.generic]]
) -> Reading:
    """The reading of `info` that agrees best with the source's outputs `reference` for inputs `checks`.

    Both (examples, *shape) in the source's names and layout. Raises ConversionFailed `interface_changed`
    when names or shapes cannot be brought together.
    """
    made = {tensor.name: tensor.shape for tensor in info.inputs}
    given = {name: array.shape[1:] for name, array in checks.items()}
    choices = [
        [TensorMap(name, source, permutation) for permutation in _permutations(given[source], made[name])]
        for name, source in _partners(made, given, "inputs", info)
    ]
    best: Reading | None = None
    for maps in itertools.islice(itertools.product(*choices), _MOST_READINGS):
        reading = _read(info, maps, checks, reference)
        if best is None or reading.largest_error < best.largest_error:
            best = reading
    assert best is not None
    return best


def _read(
    info: ModelInfo,
    inputs: tuple[TensorMap, ...],
    checks: Mapping[str, NDArray[np.generic]],
    reference: Mapping[str, NDArray[np.generic]],
) -> Reading:
    answers = run_model(info, to_artifact(checks, inputs))
    made = {name: array.shape[1:] for name, array in answers.items()}
    wanted = {name: array.shape[1:] for name, array in reference.items()}
    outputs, agreement = [], []
    for name, source in _partners(made, wanted, "outputs", info):
        readings = [
            TensorMap(name, source, permutation) for permutation in _permutations(wanted[source], made[name])
        ]
        compared = [_compared(answers[name], entry, reference[source]) for entry in readings]
        best = min(range(len(readings)), key=lambda i: compared[i].max_abs_error)
        outputs.append(readings[best])
        agreement.append(compared[best])
    return Reading(inputs, tuple(outputs), tuple(agreement), answers)


def _compared(
    answer: NDArray[np.generic], entry: TensorMap, reference: NDArray[np.generic]
) -> OutputAgreement:
    axes = [0, *(axis + 1 for axis in entry.permutation)] if entry.permutation else None
    there = answer if axes is None else np.transpose(answer, np.argsort(axes))
    return compare_outputs({entry.source: reference}, {entry.source: there})[0]


def _partners(
    made: Mapping[str, tuple[int | str | None, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    side: str,
    info: ModelInfo,
) -> Iterator[tuple[str, str]]:
    """(name in the made model, name in the source), by name, then by a shape only one of each has."""
    open_sources = [name for name in wanted if name not in made]
    if len(made) == len(wanted):
        for name, shape in made.items():
            if name in wanted and any(True for _ in _permutations(wanted[name], shape)):
                yield name, name
                continue
            fitting = [s for s in open_sources if any(True for _ in _permutations(wanted[s], shape))]
            rivals = [
                n
                for n in made
                if n not in wanted
                and fitting
                and any(True for _ in _permutations(wanted[fitting[0]], made[n]))
            ]
            if len(fitting) != 1 or len(rivals) != 1:
                break
            yield name, fitting[0]
        else:
            return
    raise ConversionFailed(
        f"the {side} of {info.path.name} are no longer those of the source: "
        f"{_described(wanted)} became {_described(made)}",
        reason="interface_changed",
    )


def _described(shapes: Mapping[str, Sequence[int | str | None]]) -> str:
    return ", ".join(f"{name!r} {tuple(shape)}" for name, shape in shapes.items()) or "none"


def _permutations(
    source: tuple[int, ...], made: tuple[int | str | None, ...]
) -> Iterator[tuple[int, ...] | None]:
    """How a tensor of shape `source` can have become one of shape `made`; None stands for unchanged."""
    rank = len(source)
    if rank != len(made):
        return
    if _compatible(source, made):
        yield None
    if rank < 3:
        return
    to_last = (0, *range(2, rank), 1)
    to_first = (0, rank - 1, *range(1, rank - 1))
    for permutation in dict.fromkeys((to_last, to_first)):
        if _compatible(tuple(source[axis] for axis in permutation), made):
            yield permutation


def _compatible(shape: tuple[int, ...], made: tuple[int | str | None, ...]) -> bool:
    return all(not isinstance(size, int) or size == wanted for wanted, size in zip(shape, made, strict=True))
