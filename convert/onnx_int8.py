"""Static int8 of an ONNX graph: several ways to find the ranges of activations, and the best one is kept.

No way to find ranges is best for every network. With 28 photos, signal to noise of the outputs against
fp32 on these photos in dB (and top-1 of 20 other, labelled photos), u8 activations:
                      min-max      mean min-max  99.99 %      entropy
MobileNetV2           10.3 (17)    14.1 (18)     13.4 (17)    14.8 (17)     fp32: 18
EfficientNet-Lite0    13.9 (18)    12.8 (17)     14.7 (17)    13.3 (18)     fp32: 18
So the quantised graph is made with each, and the one nearest to fp32 on the calibration samples wins. No
label has a say in it.

Outputs stay in float. Their range on the calibration samples is not their range: the largest logit of the
20 photos was 28.6, that of the 28 calibration photos 21.1, and clipped logits tie. With quantised outputs
MobileNetV2 had 16 of 20 right by min-max, and 3 by mean min-max.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.errors import ConversionFailed
from convert.float_outputs import keep_outputs_float
from convert.job import Arrays, Job
from convert.onnx_graphs import drop_unused_domains, first_line, is_large, preprocessed
from convert.onnx_opset import check_opset, with_opset

#: Per-channel quantisation needs QuantizeLinear-13.
_LEAST_QDQ_OPSET = 13
#: What the candidates are judged on; more change the figures in the second digit.
_MOST_JUDGED_SAMPLES = 32
#: Histograms of 64 images hold a hundred million values of the larger tensors.
_MOST_HISTOGRAM_SAMPLES = 64
#: Values put into histograms for one candidate, at 15 ns each: a minute.
_MOST_HISTOGRAM_VALUES = 4_000_000_000
#: All activations of one sample are in memory together, twice, as float32: 2 GB.
_MOST_VALUES_AT_ONCE = 250_000_000
#: Fewer samples say nothing about the tails of a histogram.
_LEAST_HISTOGRAM_SAMPLES = 8


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


@dataclass(frozen=True)
class _Ranges:
    """A way to find the ranges of activations."""

    words: str
    #: Name of onnxruntime.quantization.CalibrationMethod.
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    histograms: bool = False


_MIN_MAX = _Ranges("min-max", "MinMax")
_RANGES = (
    _MIN_MAX,
    # Over all samples at once its "moving" average is their plain mean.
    _Ranges("mean min-max", "MinMax", {"CalibMovingAverage": True}),
    # Percentiles are taken of absolute values unless told otherwise.
    _Ranges(
        "99.99 percentile",
        "Percentile",
        {"CalibPercentile": 99.99, "CalibTensorRangeSymmetric": False, "CalibStridedMinMax": 1},
        histograms=True,
    ),
    # One sample at a time: otherwise the activations of all are held in memory.
    _Ranges("entropy", "Entropy", {"CalibStridedMinMax": 1}, histograms=True),
)


class Samples:
    """Calibration samples as onnxruntime reads them: one by one, then None."""

    def __init__(self, samples: Sequence[Arrays]) -> None:
        self._samples = samples
        self._next, self._end = 0, len(samples)

    def __len__(self) -> int:
        return len(self._samples)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Reads from here to there only."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> Arrays | None:
        """The next sample by input name."""
        if self._next >= self._end:
            return None
        self._next += 1
        return self._samples[self._next - 1]


def to_static_int8(job: Job, graph: Path, form: Int8Form) -> None:
    """The artifact from `graph`, with the ranges that bring it nearest to fp32."""
    model = preprocessed(job, _with_per_channel(job, graph))
    samples = list(job.calibration_samples())
    if is_large(job):
        job.log.warnings.append("ranges by min-max alone: the model is too large to try others")
        _quantized(job, model, samples, form, _MIN_MAX, job.output)
        check_opset(job)
        return
    candidates = dict(_candidates(job, model, samples, form))
    judged = _evenly(samples, _MOST_JUDGED_SAMPLES)
    with job.log.step("onnxruntime", f"candidates against fp32 on {len(judged)} samples"):
        nearness = signal_to_noise(model, candidates, judged)
    best = max(candidates, key=lambda words: nearness[words])
    others = ", ".join(f"{words} {nearness[words]:.1f}" for words in candidates if words != best)
    with job.log.step("onnxruntime", f"{form.words}; ranges by {best}, {nearness[best]:.1f} dB ({others})"):
        shutil.copyfile(candidates[best], job.output)
    check_opset(job)


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


def _candidates(job: Job, model: Path, samples: list[Arrays], form: Int8Form) -> Iterator[tuple[str, Path]]:
    """A quantised graph for each way to find ranges, by its words."""
    for_histograms = _histogram_samples(job, model, samples)
    for number, ranges in enumerate(_RANGES):
        target = job.folder / f"int8-{number}.onnx"
        used = for_histograms if ranges.histograms else samples
        if not used:
            continue
        try:
            _quantized(job, model, used, form, ranges, target)
        except Exception as error:  # a calibrator raises what it likes; without it there are still others
            if ranges is _MIN_MAX:
                raise
            job.log.warnings.append(f"ranges by {ranges.words} failed: {first_line(error)}")
            continue
        yield ranges.words, target


def _quantized(
    job: Job, model: Path, samples: Sequence[Arrays], form: Int8Form, ranges: _Ranges, target: Path
) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    words = f"quantize_static, ranges by {ranges.words} of {len(samples)} samples"
    with job.log.step("onnxruntime", words):
        quantize_static(
            model,
            target,
            Samples(samples),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType[form.activations],
            weight_type=QuantType[form.weights],
            calibrate_method=CalibrationMethod[ranges.method],
            use_external_data_format=is_large(job),
            extra_options={**form.options, **ranges.options},
        )
        keep_outputs_float(target)
        drop_unused_domains(target)


def _histogram_samples(job: Job, model: Path, samples: list[Arrays]) -> list[Arrays]:
    """Samples for the ways that need histograms of all activations; none where they would take too much."""
    values = max(activation_values(model, samples[0]), 1)
    affordable = min(len(samples), _MOST_HISTOGRAM_SAMPLES, _MOST_HISTOGRAM_VALUES // values)
    if values > _MOST_VALUES_AT_ONCE or affordable < min(len(samples), _LEAST_HISTOGRAM_SAMPLES):
        job.log.warnings.append(
            f"ranges by percentile and entropy were not tried: one sample has {values / 1e6:,.0f} million "
            "values to count"
        )
        return []
    return _evenly(samples, affordable)


def activation_values(model: Path, sample: Arrays) -> int:
    """Elements of all float tensors between the layers for one sample, as far as shapes can be inferred."""
    import onnx

    graph_model = onnx.load(model, load_external_data=False)
    graph = graph_model.graph
    for entry in graph.input:
        if entry.name in sample:
            del entry.type.tensor_type.shape.dim[:]
            for size in sample[entry.name].shape:
                entry.type.tensor_type.shape.dim.add().dim_value = size
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(graph_model, data_prop=True).graph
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    tensors = [
        entry.type.tensor_type
        for entry in (*inferred.value_info, *inferred.output)
        if entry.type.tensor_type.elem_type in floats
    ]
    return sum(math.prod(dim.dim_value for dim in tensor.shape.dim) for tensor in tensors)


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
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Without VNNI this host would saturate; what is judged is the graph, which is made for other processors.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    numeric = [output.name for output in session.get_outputs() if output.type != "tensor(string)"]

    def infer(sample: Arrays) -> Arrays:
        return dict(zip(numeric, map(np.asarray, session.run(numeric, sample)), strict=True))

    return infer


def _energy(expected: NDArray[np.generic], actual: NDArray[np.generic]) -> float:
    """Sum of squared differences where `expected` is finite; of integers and booleans, how many differ."""
    if expected.dtype.kind != "f":
        return float(np.count_nonzero(expected != actual))
    finite = np.isfinite(expected)
    difference = expected[finite].astype(np.float64) - actual[finite].astype(np.float64)
    energy = float(np.square(difference).sum())
    return energy if math.isfinite(energy) else math.inf


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return math.inf
    return -math.inf if math.isinf(noise) else 10.0 * math.log10(signal / noise)


def _evenly(samples: list[Arrays], count: int) -> list[Arrays]:
    """`count` of the samples, or all, taken evenly."""
    if len(samples) <= count:
        return samples
    return [samples[i * len(samples) // count] for i in range(count)]
