"""Ranges of the activations of an ONNX graph on calibration samples, in onnxruntime's terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convert.converters.onnx_graphs import first_line, is_large
from convert.converters.sample_ranges import Extremes
from convert.job import Arrays, Job

#: Its histograms are of all activations, so large networks go without it.
_PERCENTILE = 99.99
PERCENTILE_WORDS = "99.99 percentile"
#: Histograms of 32 images hold tens of millions of values of the larger tensors.
_MOST_HISTOGRAM_SAMPLES = 32
#: Values put into histograms, at 15 ns each: a minute.
_MOST_HISTOGRAM_VALUES = 4_000_000_000
#: All activations of one sample are in memory together, twice, as float32: 2 GB.
_MOST_VALUES_AT_ONCE = 250_000_000
#: Fewer samples say nothing about the tails of a histogram.
_LEAST_HISTOGRAM_SAMPLES = 8


def activation_extremes(model: Path, samples: Sequence[Arrays], job: Job) -> dict[str, Extremes]:
    """Lowest and highest value (samples, 2) of each float tensor between the layers."""
    from onnxruntime.quantization import CalibrationMethod

    calibrator = _calibrator(model, job, CalibrationMethod.MinMax, {})
    found: dict[str, list[tuple[float, float]]] = {}
    for sample in samples:
        calibrator.calibrate_tensors_range = None  # else it goes on with what it has
        calibrator.collect_data(_Reader(sample))
        for name, data in calibrator.compute_data().items():
            low, high = data.range_value
            found.setdefault(name, []).append((float(np.min(low)), float(np.max(high))))
    return {name: np.array(pairs) for name, pairs in found.items()}


def ranges_by(extremes: Mapping[str, Extremes], rule: Callable[[Extremes], tuple[float, float]]) -> Any:
    """The ranges as onnxruntime's quantiser takes them."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import TensorsData

    ranges = {name: rule(pairs) for name, pairs in extremes.items()}
    typed = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, typed)


def percentile_ranges(job: Job, model: Path, samples: list[Arrays]) -> Any:
    """The ranges that clip the outermost values of each activation; None where that cannot be found out."""
    from onnxruntime.quantization import CalibrationMethod

    used = _histogram_samples(job, model, samples)
    if not used:
        return None
    # Of the values as they are: it takes their absolute values unless told otherwise.
    options = {"percentile": _PERCENTILE, "symmetric": False}
    try:
        with job.log.step("onnxruntime", f"histograms of the activations in {len(used)} samples"):
            calibrator = _calibrator(model, job, CalibrationMethod.Percentile, options)
            for sample in used:  # one by one: together their activations would all be in memory
                calibrator.collect_data(_Reader(sample))
            return calibrator.compute_data()
    except Exception as error:  # noqa: BLE001 - numpy and it raise what they like; there are other candidates
        job.log.warnings.append(f"ranges by {PERCENTILE_WORDS} failed: {first_line(error)}")
        return None


def _histogram_samples(job: Job, model: Path, samples: list[Arrays]) -> list[Arrays]:
    """Samples for the way that needs histograms of all activations; none where they would take too much."""
    values = max(activation_values(model, samples[0]), 1)
    affordable = min(len(samples), _MOST_HISTOGRAM_SAMPLES, _MOST_HISTOGRAM_VALUES // values)
    if values > _MOST_VALUES_AT_ONCE or affordable < min(len(samples), _LEAST_HISTOGRAM_SAMPLES):
        job.log.warnings.append(
            f"ranges by {PERCENTILE_WORDS} were not tried: "
            f"one sample has {values / 1e6:,.1f} million values to count"
        )
        return []
    return evenly(samples, affordable)


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


def _calibrator(model: Path, job: Job, method: Any, options: dict[str, Any]) -> Any:
    from onnxruntime.quantization.calibrate import create_calibrator

    return create_calibrator(
        model,
        quantised_operators(),
        augmented_model_path=str(job.folder / "augmented.onnx"),
        calibrate_method=method,
        use_external_data_format=is_large(job),
        extra_options=options,
    )


class _Reader:
    """One sample as onnxruntime reads calibration data."""

    def __init__(self, sample: Arrays) -> None:
        self._sample: Arrays | None = sample

    def get_next(self) -> Arrays | None:
        sample, self._sample = self._sample, None
        return sample


def quantised_operators() -> list[str]:
    """All that onnxruntime quantises, as quantize_static takes them."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QLinearOpsRegistry, *QDQRegistry})


def evenly(samples: list[Arrays], count: int) -> list[Arrays]:
    """`count` of the samples, or all, taken evenly."""
    if len(samples) <= count:
        return samples
    return [samples[i * len(samples) // count] for i in range(count)]
