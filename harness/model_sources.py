"""Which source of a model an artifact is made from, and how its images become inputs."""

from __future__ import annotations

from collections.abc import Mapping

from convert.data.preprocessing import Preprocessing
from convert.sources.inspection import ModelInfo, inspect_source
from convert.sources.source import Source, SourceKind
from convert.workshop import Workshop
from harness.errors import UsageError
from harness.models import BenchModel
from profiles.model_spec import PreprocessingSpec

#: Kinds whose inputs have the shapes of the example that they were called with, and no others to tell of.
EXAMPLE_SHAPED = ("pytorch", "torchscript", "pt2")

#: The kinds that serve a format, best first: the fewest steps, then what its converters do best.
_SERVING: dict[str, tuple[SourceKind, ...]] = {
    "onnx": ("onnx", "pytorch", "pt2", "torchscript", "savedmodel", "keras", "tflite"),
    "tflite": ("tflite", "keras", "savedmodel", "pytorch", "pt2", "onnx", "torchscript"),
}


def nearest_source(model: BenchModel, target_format: str) -> Source:
    """The source of the model that artifacts of a format (onnx or tflite) are made from."""
    kinds = _SERVING.get(target_format, _SERVING["onnx"])
    return next(model.sources[kind] for kind in kinds if kind in model.sources)


def inspect_at_batch(
    source: Source, workshop: Workshop, shapes: Mapping[str, tuple[int, ...]], batch: int | None
) -> ModelInfo:
    """The model of a source; one that takes what it is called with is looked at as it will be called.

    `batch` None keeps the batch size of `shapes` or of the example. Raises what inspect_source does.
    """
    info = inspect_source(source, workshop, shapes)
    if source.kind not in EXAMPLE_SHAPED or batch is None:
        return info
    if all(tensor.shape[:1] in ((), (batch,)) for tensor in info.inputs):
        return info
    concrete = {
        tensor.name: tuple(size for size in tensor.shape if isinstance(size, int)) for tensor in info.inputs
    }
    return inspect_source(
        source, workshop, {name: (batch, *shape[1:]) if shape else () for name, shape in concrete.items()}
    )


def preprocessing_of(spec: PreprocessingSpec | None) -> Preprocessing | None:
    """A model.toml's preprocessing as the converter takes it."""
    if spec is None:
        return None
    return Preprocessing(
        resize=_size(spec.resize),
        crop=_size(spec.crop),
        scale=spec.scale,
        mean=spec.mean,
        std=spec.std,
        colour_order=spec.colour_order,
        layout=spec.layout,
        interpolation=spec.interpolation,
    )


def _size(numbers: tuple[int, ...] | None) -> int | tuple[int, int] | None:
    if numbers is None or len(numbers) == 1:
        return numbers and numbers[0]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    raise UsageError(f"a size is [side] or [height, width], not {list(numbers)}")
