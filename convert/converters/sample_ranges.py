"""Ranges of activations for static int8, from the extremes that each calibration sample reaches.

The widest range over all samples is that of the oddest sample, and costs all others resolution. In the
middle lie ranges that clip the oddest samples. Which of them is best depends on the network, so a
quantiser tries each and keeps what comes nearest to fp32 on the samples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Extremes = NDArray[np.float64]

#: How much wider an output's range has to be where outputs must be quantised: nothing after it forgives
#: clipping, and other samples reach farther (ImageNet logits 28.6, of 28 calibration photos 21.1).
OUTPUT_MARGIN = 1.25


def _middle(
    function: Callable[[NDArray[np.float64]], np.floating],
) -> Callable[[Extremes], tuple[float, float]]:
    def rule(extremes: Extremes) -> tuple[float, float]:
        return float(function(extremes[:, 0])), float(function(extremes[:, 1]))

    return rule


def widest(extremes: Extremes) -> tuple[float, float]:
    """From the lowest to the highest value of all samples."""
    return float(extremes[:, 0].min()), float(extremes[:, 1].max())


#: Extremes (samples, 2), lowest and highest value of each sample -> the range, by the words for it.
RANGE_RULES: dict[str, Callable[[Extremes], tuple[float, float]]] = {
    "min-max": widest,
    "mean min-max": _middle(np.mean),
    "median min-max": _middle(np.median),
}
