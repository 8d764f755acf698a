"""Full-integer TFLite by ai-edge-quantizer, with ranges that come nearest to fp32.

The quantizer's own calibration keeps a moving average of each tensor's extremes, which clips: MobileNetV2
with real weights then knows 5 of 20 photos. So every sample is calibrated on its own, ranges are taken
from all the extremes by each of the rules, and the model that comes nearest to fp32 is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    reference = _answers(bytes(content), judged)
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
    nearness = {
        words: _signal_to_noise(reference, _answers(candidate, judged))
        for words, candidate in candidates.items()
    }
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


def _answers(content: bytes, samples: Sequence[Arrays]) -> list[Arrays]:
    interpreter = _interpreter(content)
    (runner,) = (interpreter.get_signature_runner(key) for key in interpreter.get_signature_list())
    return [{name: np.array(value) for name, value in runner(**sample).items()} for sample in samples]


def _signal_to_noise(reference: Sequence[Arrays], answers: Sequence[Arrays]) -> float:
    """DB of the output that is farthest from the reference's, over all samples."""
    weakest = math.inf
    for name, array in reference[0].items():
        if array.dtype.kind != "f":
            continue
        expected = np.stack([outputs[name] for outputs in reference]).astype(np.float64)
        noise = expected - np.stack([outputs[name] for outputs in answers])
        signal, lost = float(np.square(expected).sum()), float(np.square(noise).sum())
        if not math.isfinite(lost):
            return -math.inf
        if signal > 0.0 and lost > 0.0:
            weakest = min(weakest, 10.0 * math.log10(signal / lost))
    return weakest
