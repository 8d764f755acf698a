"""Which output of a model holds the class scores, and what its labels mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class MetricError(ValueError):
    """A metric that cannot be computed from these outputs and labels: what was found, and what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


def class_scores(outputs: Mapping[str, NDArray[Any]], n: int) -> NDArray[Any]:
    """The scores (n, classes): the only output of that shape once axes of length 1 are dropped.

    Of several, those that agree on the best class of every example count as one (logits beside
    probabilities). Raises MetricError when there is none, or when several disagree.
    """
    found = {
        name: scores for name, output in outputs.items() if (scores := _as_scores(output, n)) is not None
    }
    if not found:
        raise MetricError(
            f"no output holds scores of {n} examples by class: {_shapes(outputs)}",
            "top-k metrics need one output of shape (examples, classes); check that the dataset has as many "
            "labels as examples, or name a function of your own as package.module:function",
        )
    # Quantised models may carry integer scores, so floats are preferred, not required.
    floats = {name: scores for name, scores in found.items() if np.issubdtype(scores.dtype, np.floating)}
    candidates = list((floats or found).values())
    first = np.argmax(candidates[0], axis=1)
    if any(not np.array_equal(np.argmax(other, axis=1), first) for other in candidates[1:]):
        raise MetricError(
            f"{len(candidates)} outputs look like class scores and disagree: {_shapes(found)}",
            "keep one of them in the model, or name a function of your own as package.module:function",
        )
    return candidates[0]


def class_labels(labels: NDArray[Any], classes: int | None) -> NDArray[np.int64]:
    """Labels as class numbers (n,), from numbers in any numeric type or from one-hot rows.

    Raises MetricError for labels that are no class of the model; `classes` None skips that check.
    """
    if labels.ndim > 1:
        labels = labels.reshape(len(labels), -1)
        labels = labels[:, 0] if labels.shape[1] == 1 else _from_one_hot(labels)
    if labels.size == 0:
        raise MetricError("there are no labels", "give a dataset with at least one labelled example")
    if labels.dtype.kind not in "biuf" or not np.array_equal(labels, np.floor(labels)):
        raise MetricError(f"labels of type {labels.dtype} are not class numbers", "use whole numbers from 0")
    numbers = labels.astype(np.int64)
    if classes is not None and (numbers.min() < 0 or numbers.max() >= classes):
        raise MetricError(
            f"labels range from {numbers.min()} to {numbers.max()}, but the model has {classes} classes "
            f"(0 to {classes - 1})",
            "number the labels as the model does: from 0, and with or without its background class",
        )
    return numbers


def _as_scores(output: NDArray[Any], n: int) -> NDArray[Any] | None:
    if output.ndim < 2 or len(output) != n or output.dtype.kind not in "iuf":
        return None
    shape = [length for length in output.shape[1:] if length != 1]
    return output.reshape(n, shape[0]) if len(shape) == 1 else None


def _from_one_hot(labels: NDArray[Any]) -> NDArray[Any]:
    if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
        raise MetricError(
            f"labels of shape {labels.shape} are neither class numbers nor one-hot rows",
            "give one whole number per example",
        )
    return np.asarray(np.argmax(labels, axis=1))


def _shapes(outputs: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {output.dtype}{list(output.shape)}" for name, output in outputs.items())
