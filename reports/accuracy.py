"""Task metrics on labelled data, computed on the host from the timed engine's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.intervals import wilson
from reports.record import Accuracy
from reports.segmentation import mean_iou
from reports.task_outputs import MetricError, class_labels, class_scores
from reports.units import percent

__all__ = ["METRICS", "MetricError", "label_hint", "score"]

Outputs = Mapping[str, NDArray[Any]]

#: Below this share correct something is wrong with the labels or the preprocessing, ...
_HOPELESS = 0.05
#: ... and if shifting the labels by one brings it above this, it is the labels.
_CONVINCING = 0.50


def score(metric: str, outputs: Outputs, labels: NDArray[Any]) -> Accuracy:
    """The named metric of outputs (n, *output shape) against labels; n must agree.

    top1, top5  labels (n,) of class numbers, or one-hot (n, classes); interval by Wilson
    mean_iou    labels (n, height, width) of class numbers; interval by resampling images
    Raises MetricError, with a remedy, when the outputs or labels do not fit the metric.
    """
    measure = METRICS.get(metric)
    if measure is None:
        raise MetricError(
            f"there is no metric {metric!r}",
            f"choose one of {', '.join(METRICS)}, or name a function of your own as package.module:function",
        )
    if not outputs:
        raise MetricError("the model has no outputs to score", "check the evaluation's outputs")
    return measure(outputs, np.asarray(labels))


def label_hint(outputs: Outputs, labels: NDArray[Any]) -> str | None:
    """Why the accuracy may be hopeless: labels that count from 1 or with a background class, in words.

    None when the accuracy is not hopeless (5 % or more), shifting does not help, or it cannot be told.
    """
    try:
        scores = class_scores(outputs, len(labels))
        wanted = class_labels(np.asarray(labels), None)
    except MetricError:
        return None
    predicted = np.argmax(scores, axis=1)
    plain_share = float(np.mean(predicted == wanted))
    if plain_share >= _HOPELESS:
        return None
    for shift, cause in ((1, "the model has a background class 0"), (-1, "the labels count from 1")):
        share = float(np.mean(predicted == wanted + shift))
        if share > _CONVINCING:
            return (
                f"adding {shift:+d} to every label raises top-1 from {percent(plain_share)} to "
                f"{percent(share)}: probably {cause}"
            )
    return None


def _top(metric: str, k: int) -> Callable[[Outputs, NDArray[Any]], Accuracy]:
    def measure(outputs: Outputs, labels: NDArray[Any]) -> Accuracy:
        scores = class_scores(outputs, len(labels))
        wanted = class_labels(labels, scores.shape[1])
        correct = _correct_within(scores, wanted, k)
        n = len(wanted)
        return Accuracy(metric=metric, value=correct / n, n=n, ci95=wilson(correct, n))

    return measure


def _correct_within(scores: NDArray[Any], wanted: NDArray[np.int64], k: int) -> int:
    """How many examples have the wanted class among the k best scores.

    Equal scores rank by class number, as argmax does; an example with a score that is not a number is wrong
    (argmax would call its first NaN the best class).
    """
    own = scores[np.arange(len(wanted)), wanted][:, None]
    earlier = np.arange(scores.shape[1])[None, :] < wanted[:, None]
    rank = np.sum((scores > own) | ((scores == own) & earlier), axis=1)
    usable = ~np.isnan(scores.astype(np.float64, copy=False)).any(axis=1)
    return int(np.sum((rank < k) & usable))


def _mean_iou(outputs: Outputs, labels: NDArray[Any]) -> Accuracy:
    value, interval = mean_iou(outputs, labels)
    return Accuracy(metric="mean_iou", value=value, n=len(labels), ci95=interval)


#: Every built-in metric.
METRICS: dict[str, Callable[[Outputs, NDArray[Any]], Accuracy]] = {
    "top1": _top("top1", 1),
    "top5": _top("top5", 5),
    "mean_iou": _mean_iou,
}
