"""How near quantised ONNX graphs come to the graph they are made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.job import Arrays
from convert.proofs.onnx_session import precise_session


def signal_to_noise(
    reference: Path, candidates: Mapping[str, Path], samples: Sequence[Arrays]
) -> dict[str, float]:
    """For each candidate the dB of the output that is farthest from the reference's, over all samples.

    Infinite where nothing differs; minus infinity where a candidate's output is not finite.
    """
    run = _session(reference)
    sessions = {words: _session(path) for words, path in candidates.items()}
    signal: dict[str, float] = {}
    noise: dict[str, dict[str, float]] = {words: {} for words in candidates}
    for sample in samples:  # one at a time: outputs of a segmentation network are tens of megabytes
        expected = run(sample)
        for name, array in expected.items():
            signal[name] = signal.get(name, 0.0) + _energy(array, np.zeros_like(array))
        for words, session in sessions.items():
            for name, array in session(sample).items():
                noise[words][name] = noise[words].get(name, 0.0) + _energy(expected[name], array)
    return {
        words: min((_decibels(signal[name], lost[name]) for name in signal if signal[name]), default=math.inf)
        for words, lost in noise.items()
    }


def _session(path: Path) -> Callable[[Arrays], Arrays]:
    session = precise_session(path)
    numeric = [output.name for output in session.get_outputs() if output.type != "tensor(string)"]

    def infer(sample: Arrays) -> Arrays:
        return dict(zip(numeric, map(np.asarray, session.run(numeric, sample)), strict=True))

    return infer


def _energy(expected: NDArray[np.generic], actual: NDArray[np.generic]) -> float:
    """Sum of squared differences where `expected` is finite; of integers and booleans, how many differ."""
    if expected.dtype.kind != "f":
        return float(np.count_nonzero(expected != actual))
    finite = np.isfinite(expected)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.subtract(expected, actual, dtype=np.float64)
        kept = difference.ravel() if finite.all() else difference[finite]
        energy = float(np.dot(kept, kept))
    return energy if math.isfinite(energy) else math.inf


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return math.inf
    return -math.inf if math.isinf(noise) else 10.0 * math.log10(signal / noise)
