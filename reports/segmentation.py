"""Mean intersection over union of class maps (semantic segmentation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.intervals import Interval
from reports.task_outputs import MetricError

#: Pixels with this label are not scored; Pascal VOC's and Cityscapes' number for "void".
VOID = 255

#: Resamples of the images for the interval; its ends then wander by about 2 % of its width.
_RESAMPLES = 2000
_SEED = 20261121
#: Resamples drawn at once, so that memory stays small for tens of thousands of images.
_CHUNK = 100

#: More classes than any segmentation data set has; beyond it the output is not a class map.
_MAX_CLASSES = 65536

_REMEDY = (
    "mean_iou needs labels of shape (examples, height, width) and one output of the same size: "
    "(examples, classes, height, width), (examples, height, width, classes) or (examples, height, width)"
)


def mean_iou(outputs: Mapping[str, NDArray[Any]], labels: NDArray[Any]) -> tuple[float, Interval | None]:
    """IoU over all pixels of all images, averaged over the classes that occur in labels or predictions.

    Labels below 0 or equal to 255 are left out. The interval is the 2.5 to 97.5 % range when images are
    resampled with replacement (Efron's percentile bootstrap, fixed seed), None for a single image.
    Raises MetricError when the shapes do not fit.
    """
    if labels.ndim != 3 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise MetricError(f"labels of shape {labels.shape}, type {labels.dtype}, are not class maps", _REMEDY)
    predicted = _predicted_classes(outputs, labels.shape)
    scored = (labels >= 0) & (labels != VOID)
    if not scored.any():
        raise MetricError("every pixel is labelled as not to be scored", "check the labels")
    intersections, unions = _per_image(predicted, labels, scored)
    value = _mean_over_classes(intersections.sum(axis=0), unions.sum(axis=0))
    return value, _resampled(intersections, unions) if len(labels) > 1 else None


def _predicted_classes(outputs: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Class maps of the only output that fits labels (n, height, width)."""
    readings = []
    for output in outputs.values():
        if output.ndim == 4 and output.shape[0] == shape[0]:
            if output.shape[2:] == shape[1:]:
                readings.append(output[:, 0] if output.shape[1] == 1 else np.argmax(output, axis=1))
            if output.shape[1:3] == shape[1:]:
                readings.append(output[..., 0] if output.shape[3] == 1 else np.argmax(output, axis=3))
        elif output.shape == shape and output.dtype.kind in "iu":
            readings.append(output)
    if len(readings) != 1:
        found = ", ".join(f"{name} {list(output.shape)}" for name, output in outputs.items())
        how_many = "no output fits" if not readings else f"{len(readings)} readings fit"
        raise MetricError(f"{how_many} labels of shape {list(shape)}: {found}", _REMEDY)
    return np.asarray(readings[0]).astype(np.int64)


def _per_image(
    predicted: NDArray[np.int64], labels: NDArray[Any], scored: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels of intersection and union, each (images, classes)."""
    classes = int(max(predicted.max(), labels[scored].max())) + 1
    if classes > _MAX_CLASSES:
        raise MetricError(f"class numbers up to {classes - 1} are no class maps", _REMEDY)
    intersections = np.zeros((len(labels), classes))
    unions = np.zeros((len(labels), classes))
    for image in range(len(labels)):
        mask = scored[image]
        truth = labels[image][mask].astype(np.int64)
        # A negative prediction is no class; it takes part in the union of the true class only.
        guess = predicted[image][mask]
        hits = np.bincount(truth[truth == guess], minlength=classes)
        guesses = np.bincount(guess[guess >= 0], minlength=classes)
        intersections[image] = hits
        unions[image] = np.bincount(truth, minlength=classes) + guesses - hits
    return intersections, unions


def _mean_over_classes(intersections: NDArray[np.float64], unions: NDArray[np.float64]) -> float:
    present = unions > 0
    return float(np.mean(intersections[present] / unions[present]))


def _resampled(intersections: NDArray[np.float64], unions: NDArray[np.float64]) -> Interval:
    images = len(intersections)
    rng = np.random.default_rng(_SEED)
    means = []
    for _ in range(_RESAMPLES // _CHUNK):
        weights = rng.multinomial(images, np.full(images, 1.0 / images), _CHUNK)
        tops, bottoms = weights @ intersections, weights @ unions
        ratios = np.divide(tops, bottoms, out=np.full_like(tops, np.nan), where=bottoms > 0)
        means.append(np.nanmean(ratios, axis=1))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)
