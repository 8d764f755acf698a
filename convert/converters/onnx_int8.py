"""Static int8 of an ONNX graph: several ways to find the ranges of activations, and the best one is kept.

No way to find ranges is best for every network. With 28 photos, signal to noise of the outputs against
fp32 on these photos in dB (and top-1 of 20 other, labelled photos; 18 in fp32):
                                 min-max      mean         median       99.99 percentile
MobileNetV2, u8                  10.3 (17)    14.0 (17)    15.2 (17)    13.4 (17)
EfficientNet-Lite0, u8           13.9 (18)    12.8 (17)    14.8 (17)    14.7 (17)
MobileNetV2, s8 symmetric         6.7 (17)    12.3 (17)    12.9 (17)    11.1 (18)
EfficientNet-Lite0, s8 symmetric 13.0 (18)    10.7 (17)    13.1 (17)    13.2 (18)
So the quantised graph is made with each, and the one nearest to fp32 on the calibration samples wins. No
label has a say in it. Entropy reached 14.8, 13.3, 12.2 and 12.2 and takes longer than all others together.

Outputs stay in float. Their range on the calibration samples is not their range: the largest logit of the
20 photos was 28.6, that of the 28 calibration photos 21.1, and clipped logits tie. With quantised outputs
MobileNetV2 had 16 of 20 right by min-max, and 3 by a moving average of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.converters.float_outputs import keep_outputs_float
from convert.converters.onnx_graphs import drop_unused_domains, is_large, preprocessed
from convert.converters.onnx_nearness import signal_to_noise
from convert.converters.onnx_opset import check_opset, with_opset
from convert.converters.onnx_ranges import (
    PERCENTILE_WORDS,
    activation_extremes,
    evenly,
    percentile_ranges,
    quantised_operators,
    ranges_by,
)
from convert.converters.sample_ranges import RANGE_RULES, widest
from convert.errors import ConversionFailed
from convert.job import Arrays, Job

#: Per-channel quantisation needs QuantizeLinear-13.
_LEAST_QDQ_OPSET = 13
#: What the candidates are judged on; more change the figures in the second digit.
_MOST_JUDGED_SAMPLES = 32


@dataclass(frozen=True)
class Int8Form:
    """How a runtime wants its quantised graph."""

    words: str
    #: Names of onnxruntime.quantization.QuantType.
    activations: str
    weights: str
    options: Mapping[str, Any]


# Weights keep all 8 bits. On x86 without VNNI onnxruntime then saturates in u8 times s8 (MobileNetV2 under
# an emulated Haswell: 10.4 dB instead of 19.0); with 7 bits every processor would lose 3 dB, and the boards
# are ARM, where nothing saturates.
ONNXRUNTIME_INT8 = Int8Form("QDQ, u8 activations, s8 weights per channel", "QUInt8", "QInt8", {})


def to_static_int8(job: Job, graph: Path, form: Int8Form) -> None:
    """The artifact from `graph`, with the ranges that bring it nearest to fp32."""
    model = preprocessed(job, _with_per_channel(job, graph))
    samples = list(job.calibration_samples())
    with job.log.step("onnxruntime", f"extremes of the activations in each of {len(samples)} samples"):
        extremes = activation_extremes(model, samples, job)
    if is_large(job):
        job.log.warnings.append("ranges by min-max alone: the model is too large to try others")
        _quantize(job, model, form, ranges_by(extremes, widest), job.output)
        check_opset(job)
        return
    ranges = {words: ranges_by(extremes, rule) for words, rule in RANGE_RULES.items()}
    by_percentile = percentile_ranges(job, model, samples)
    if by_percentile is not None:
        ranges[PERCENTILE_WORDS] = by_percentile
    candidates = {words: job.folder / f"{words}.onnx" for words in ranges}
    for words, path in candidates.items():
        with job.log.step("onnxruntime", f"quantise with ranges by {words}"):
            _quantize(job, model, form, ranges[words], path)
    _keep_nearest(job, model, candidates, evenly(samples, _MOST_JUDGED_SAMPLES), form)
    check_opset(job)


def _keep_nearest(
    job: Job, model: Path, candidates: Mapping[str, Path], samples: list[Arrays], form: Int8Form
) -> None:
    with job.log.step("onnxruntime", f"candidates against fp32 on {len(samples)} samples"):
        nearness = signal_to_noise(model, candidates, samples)
    best = max(candidates, key=lambda words: nearness[words])
    others = ", ".join(f"{words} {nearness[words]:.1f}" for words in candidates if words != best)
    with job.log.step("onnxruntime", f"{form.words}; ranges by {best}, {nearness[best]:.1f} dB ({others})"):
        shutil.copyfile(candidates[best], job.output)


def _with_per_channel(job: Job, graph: Path) -> Path:
    """The graph at an opset that has per-channel quantisation."""
    if job.opset is not None and job.opset < _LEAST_QDQ_OPSET:
        raise ConversionFailed(
            f"int8 with weights per channel needs opset {_LEAST_QDQ_OPSET}, asked for was {job.opset}",
            reason="opset_unavailable",
            remedy=f"Ask for --opset {_LEAST_QDQ_OPSET} or more, or choose another precision",
        )
    has = job.opset or job.source.opset
    return graph if has is None or has >= _LEAST_QDQ_OPSET else with_opset(job, graph, _LEAST_QDQ_OPSET)


def _quantize(job: Job, model: Path, form: Int8Form, ranges: Any, target: Path) -> None:
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType

    # What quantize_static does after its own calibration.
    quantizer = QDQQuantizer(
        onnx.load(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType[form.weights],
        activation_qType=QuantType[form.activations],
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=quantised_operators(),
        extra_options=dict(form.options),
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(target), is_large(job))
    keep_outputs_float(target)
    drop_unused_domains(target)
