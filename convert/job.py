"""What a conversion path is given to work with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.sources.inspection import ModelInfo
from convert.steps import StepLog

#: The description of a way that changes nothing.
UNCHANGED = "the source file as it is"

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Job:
    """One conversion in the worker process."""

    source: ModelInfo
    #: Empty at first; files made on the way stay here, the artifact goes into `output`.
    folder: Path
    output: Path
    #: Complete inputs (samples, *shape of batch 1), None if the path needs none.
    calibration: Arrays | None
    log: StepLog
    #: Types at the ends of an int8 TFLite file: float, int8 or uint8.
    io: str = "float"
    #: The ONNX opset to end with; None: the source's own.
    opset: int | None = None

    def calibration_samples(self) -> Iterator[Arrays]:
        """One complete input at a time."""
        calibration = self.calibration or {}
        for i in range(len(next(iter(calibration.values()), ()))):
            yield {name: np.asarray(array[i]) for name, array in calibration.items()}


@dataclass(frozen=True)
class Way:
    """One way to make an artifact: the function that writes job.output, and the line that describes it."""

    make: Callable[[Job], None]
    #: `{name}` is replaced by the version of the package of that name.
    description: str
    needs_calibration: bool = False
