"""Full-integer TFLite by ai-edge-quantizer, with ranges that come nearest to fp32.

The quantizer's own calibration keeps a moving average of each tensor's extremes, which clips: MobileNetV2
with real weights then knows 5 of 20 photos. So every sample is calibrated on its own, ranges are taken
from all the extremes by each of the rules, and the model that comes nearest to fp32 is kept.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.converters.sample_ranges import OUTPUT_MARGIN, RANGE_RULES, Extremes, widest
from convert.job import Arrays

RangeRule = Callable[[Extremes], tuple[float, float]]

_EVERYWHERE = ".*"
_THREADS = 1
#: Samples that candidates are judged by; more change no choice and cost an inference each.
_MOST_JUDGED = 64


@dataclass(frozen=True)
class QuantizedModel:
    """The nearest of the candidates."""

    content: bytes
    #: The rule of its ranges with its figure, and those of the others.
    choice: str


def quantize_nearest(content: bytearray, signature: str, samples: Sequence[Arrays]) -> QuantizedModel:
    """The full-integer model with float ends that is nearest to `content` on the samples.

    `samples` are complete inputs by the names of `signature`.
    """
    each = [_quantizer(content).calibrate({signature: [sample]}, num_threads=_THREADS) for sample in samples]
    inputs, outputs = _ends(content)
    judged = samples[:: max(1, len(samples) // _MOST_JUDGED)][:_MOST_JUDGED]
    candidates: dict[str, bytes] = {}
    for words, rule in RANGE_RULES.items():
        statistics = {
            name: _with_range(first, _range(name, _extremes(each, name), rule, inputs, outputs))
            if "min" in first
            else first
            for name, first in each[0].items()
        }
        made = _quantizer(content).quantize(
            statistics, enable_progress_bar=False, enable_progress_report=False
        )
        candidates[words] = bytes(made.quantized_model)
    nearness = _signal_to_noise(bytes(content), candidates, judged)
    best = max(candidates, key=lambda words: nearness[words])
    others = ", ".join(f"{words} {nearness[words]:.1f}" for words in candidates if words != best)
    return QuantizedModel(candidates[best], f"{best}, {nearness[best]:.1f} dB ({others})")


def _range(
    name: str, extremes: Extremes, rule: RangeRule, inputs: set[str], outputs: set[str]
) -> tuple[float, float]:
    """Ends of the graph must not clip: nothing before or after them makes up for it."""
    low, high = (widest if name in inputs or name in outputs else rule)(extremes)
    margin = OUTPUT_MARGIN if name in outputs else 1.0
    return low * margin, high * margin


def _with_range(found: Mapping[str, Any], bounds: tuple[float, float]) -> dict[str, Any]:
    low, high = bounds
    return {**found, "min": np.full_like(found["min"], low), "max": np.full_like(found["max"], high)}


def _quantizer(content: bytearray) -> Any:
    from ai_edge_quantizer import qtyping, quantizer, recipe

    tool = quantizer.Quantizer(content, recipe.static_wi8_ai8())
    for side in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        tool.update_quantization_recipe(_EVERYWHERE, side, algorithm_key="no_quantize")
    return tool


def _extremes(each: Sequence[Mapping[str, Any]], name: str) -> Extremes:
    """(samples, 2): the lowest and the highest value of a tensor in each sample."""
    return np.array(
        [[float(np.squeeze(found[name]["min"])), float(np.squeeze(found[name]["max"]))] for found in each]
    )


def _ends(content: bytearray) -> tuple[set[str], set[str]]:
    """Names of the graph's own input and output tensors."""
    interpreter = _interpreter(bytes(content))
    return (
        {detail["name"] for detail in interpreter.get_input_details()},
        {detail["name"] for detail in interpreter.get_output_details()},
    )


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content, num_threads=_THREADS)


def _signal_to_noise(
    reference: bytes, candidates: Mapping[str, bytes], samples: Sequence[Arrays]
) -> dict[str, float]:
    """For each candidate the dB of the output that is farthest from the reference's, over all samples."""
    expect = _runner(reference)
    runners = {words: _runner(candidate) for words, candidate in candidates.items()}
    signal: defaultdict[str, float] = defaultdict(float)
    noise = {words: defaultdict[str, float](float) for words in candidates}
    for sample in samples:  # one at a time: outputs of a segmentation network are tens of megabytes
        expected = {name: array for name, array in expect(sample).items() if array.dtype.kind == "f"}
        for name, array in expected.items():
            signal[name] += _energy(array)
        for words, run in runners.items():
            answers = run(sample)
            for name, array in expected.items():
                noise[words][name] += _energy(np.subtract(array, answers[name], dtype=np.float64))
    return {
        words: min(
            (_decibels(energy, noise[words][name]) for name, energy in signal.items() if energy > 0.0),
            default=math.inf,
        )
        for words in candidates
    }


def _runner(content: bytes) -> Callable[[Arrays], Arrays]:
    interpreter = _interpreter(content)
    (runner,) = (interpreter.get_signature_runner(key) for key in interpreter.get_signature_list())
    # What a runner returns lies in memory that its next call writes to.
    return lambda sample: {name: np.array(value) for name, value in runner(**sample).items()}


def _energy(array: NDArray[np.generic]) -> float:
    flat = np.ravel(array).astype(np.float64)
    return float(np.dot(flat, flat))


def _decibels(signal: float, noise: float) -> float:
    if not math.isfinite(noise):
        return -math.inf
    return 10.0 * math.log10(signal / noise) if noise > 0.0 else math.inf
