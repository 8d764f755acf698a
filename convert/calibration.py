"""The samples that ranges of activations are taken from, and what has to be known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.data.check_inputs import complete_inputs
from convert.data.datasets import Examples
from convert.data.sample_inputs import seeded_inputs
from convert.sources.inspection import ModelInfo

#: Fewer samples than this leave the ranges of activations to chance.
_ENOUGH_SAMPLES = 100
_RANDOM_SAMPLES = 32
_SEED = 0
#: More add minutes and move the ranges little; they are taken evenly from all.
_MOST_SAMPLES = 1000


@dataclass(frozen=True)
class Calibration:
    """Where the ranges of static int8 come from."""

    #: File or folder name; None: random numbers.
    source: str | None
    samples: int
    #: Of all examples of the source; None for random numbers.
    sha256: str | None
    #: Of the random numbers; None for real data.
    seed: int | None

    def __str__(self) -> str:
        if self.source is None:
            return f"{self.samples} random samples, seed {self.seed}"
        return f"{self.samples} samples of {self.source}, sha256 {(self.sha256 or '')[:12]}"


def calibration_samples(
    info: ModelInfo, shapes: Mapping[str, tuple[int, ...]], examples: Examples | None
) -> tuple[dict[str, NDArray[np.generic]], Calibration, list[str]]:
    """Complete inputs (samples, *shape) to calibrate with, what they are, and warnings about them.

    Without examples they are random, which the warning says.
    """
    if examples is None:
        samples = seeded_inputs(info, shapes, _RANDOM_SAMPLES, _SEED)
        warning = "calibrated on random numbers: speed and size are real, outputs and accuracy are not"
        return samples, Calibration(None, _RANDOM_SAMPLES, None, _SEED), [warning]
    batch = next(iter(shapes.values()), (1,))[:1] if examples.stacked else ()
    count = min(_MOST_SAMPLES, examples.examples // (batch[0] if batch else 1)) or 1
    warnings = []
    if examples.examples < _ENOUGH_SAMPLES:
        warnings.append(
            f"calibrated on {examples.examples} samples of {examples.source}; "
            f"below {_ENOUGH_SAMPLES} the ranges of activations are left to chance"
        )
    described = Calibration(examples.source, count, examples.sha256, None)
    return complete_inputs(examples, shapes, count), described, warnings
