"""From a model to what a board is given: artifact, inputs to check, data to evaluate. Needs no board.

Everything comes from caches keyed by content, so doing it again costs next to nothing. The leaves' own
errors become ours here.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from convert.conversion import Artifact, ConversionRequest, Io, Precision, Target, convert, needs_fixed_batch
from convert.data.arrays import save_arrays
from convert.data.check_inputs import check_inputs
from convert.data.datasets import Examples, load_examples
from convert.data.sample_inputs import ResolvedShapes, resolve_shapes
from convert.errors import DataError, InvalidModel
from convert.held_folders import held_folder
from convert.interface import TensorMap, as_fed, as_numbers, to_artifact, to_source
from convert.paths import FORMAT_OF
from convert.proofs.reference import reference_outputs
from convert.sources.inspection import ModelInfo, TensorInfo, inspect_source
from convert.workshop import Workshop
from device_agents.protocol import BlobRef, Dataset, TensorSpec
from harness.converter_errors import translated
from harness.errors import ConversionFailed, UsageError
from harness.link.deployment import Blob
from harness.model_sources import EXAMPLE_SHAPED, inspect_at_batch, nearest_source, preprocessing_of
from harness.models import BenchModel
from harness.negotiation import ArtifactForm

Arrays = Mapping[str, NDArray[np.generic]]

#: How many complete inputs are checked against the fp32 reference, and what all of them may weigh.
CHECK_EXAMPLES = 8
CHECK_BYTES = 32 << 20


@dataclass(frozen=True)
class Workload:
    """What a board needs for one (model, runtime, precision, batch size), and how its outputs are judged."""

    artifact: Artifact | None = None
    artifact_refs: tuple[BlobRef, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    check: Dataset | None = None
    evaluation: Dataset | None = None
    #: For runtimes that calibrate on the board.
    calibration: Dataset | None = None
    #: What the job is told of the artifact's form.
    options: Mapping[str, str] = field(default_factory=dict)
    #: The fp32 source's outputs for the check inputs, (examples, *output shape) by canonical name.
    reference: Arrays | None = None
    #: How the artifact's outputs lie against the source's.
    output_maps: tuple[TensorMap, ...] = ()
    #: What else the reference's outputs are called, and the scale of quantised ones.
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    quantization: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    labels: NDArray[np.generic] | None = None
    metric: str | None = None
    #: Files by hash, for the board that lacks them.
    blobs: Mapping[str, Blob] = field(default_factory=dict)
    #: What had to be guessed or is doubtful, for the user.
    notes: tuple[str, ...] = ()

    def in_source_terms(self, outputs: Arrays, *, stacked: bool) -> Arrays:
        """A board's outputs, by the artifact's names, in the names, layout and numbers of the source."""
        if self.artifact is None:
            return outputs
        integers = {name for name, array in (self.reference or {}).items() if array.dtype.kind in "iu"}
        floats = [t for t in self.artifact.info.outputs if t.name not in integers]
        numbers = as_numbers(outputs, floats)
        return to_source(numbers, self.output_maps, stacked=stacked)


@dataclass(frozen=True)
class _Material:
    """What all precisions of a (source, batch size) share; arrays in the source's terms."""

    info: ModelInfo
    shapes: dict[str, tuple[int, ...]]
    #: Complete inputs (examples, *shape).
    check: Arrays
    reference: Arrays
    calibration: Examples | None
    dataset: Examples | None
    notes: tuple[str, ...]


class Preparation:
    """Makes workloads; remembers within a run what they share."""

    def __init__(
        self, workshop: Workshop, *, allow_random_calibration: bool = False, io: Io = "float"
    ) -> None:
        self._workshop = workshop
        self._allow_random_calibration = allow_random_calibration
        self._io: Io = io
        self._material = functools.cache(self._make_material)
        # Artifacts with the same interface are fed the same files.
        self._blobs: dict[tuple[object, ...], Blob] = {}

    def workload(
        self, model: BenchModel | None, runtime: str, form: ArtifactForm, batch_size: int
    ) -> Workload:
        """Everything for one case; raises CaseError with the reason why there is none."""
        if model is None:
            return Workload()
        if runtime not in FORMAT_OF:
            raise ConversionFailed(
                f"{runtime}: this version makes no artifacts for it",
                "choose onnxruntime, tflite or tensorrt",
                "no_path",
            )
        with translated(model.name):
            material = self._material(_Key(model), runtime, batch_size)
            artifact = self._artifact(model, material, runtime, form)
            return self._workload(model, material, artifact, form)

    def with_shapes(
        self, models: Sequence[BenchModel], shapes: Mapping[str, tuple[int, ...]]
    ) -> list[BenchModel]:
        """The models, each with those of `shapes` that are for its inputs; UsageError for one of no model."""
        if not shapes:
            return list(models)
        known: dict[str, set[str]] = {model.name: self._input_names(model) for model in models}
        everywhere = sorted(set().union(*known.values()))
        for name in shapes:
            # Where a model cannot be read its inputs are not known, and that is told as its failure.
            if name not in everywhere and all(known.values()):
                raise UsageError(
                    f"--shape {name}: there is no such input; "
                    f"the inputs are {', '.join(map(repr, everywhere))}",
                    "use one of these names",
                )
        return [
            replace(
                model,
                shapes={**model.shapes, **{n: s for n, s in shapes.items() if n in known[model.name]}},
            )
            for model in models
        ]

    def _input_names(self, model: BenchModel) -> set[str]:
        try:
            infos = [inspect_source(s, self._workshop, model.shapes) for s in model.sources.values()]
        except (InvalidModel, DataError):
            return set()
        return {name for info in infos for tensor in info.inputs for name in (tensor.name, *tensor.aliases)}

    def _resolved(self, model: BenchModel, runtime: str, batch_size: int) -> tuple[ModelInfo, ResolvedShapes]:
        """The source that serves a runtime best, and the shapes of its inputs at a batch size."""
        source = nearest_source(model, FORMAT_OF[runtime])
        info = inspect_at_batch(source, self._workshop, model.shapes, batch_size)
        if source.kind in EXAMPLE_SHAPED:
            # The shapes that were asked for are in the inspection already.
            return info, ResolvedShapes({tensor.name: _concrete(tensor) for tensor in info.inputs})
        return info, resolve_shapes(info, model.shapes, batch_size)

    def _artifact(self, model: BenchModel, material: _Material, runtime: str, form: ArtifactForm) -> Artifact:
        shapes = material.shapes
        if not needs_fixed_batch(material.info, runtime):
            shapes = resolve_shapes(material.info, model.shapes, 1).shapes
        return convert(
            ConversionRequest(
                info=material.info,
                target=cast("Target", runtime),
                precision=cast("Precision", form.precision),
                shapes=shapes,
                calibration=material.calibration,
                allow_random_calibration=self._allow_random_calibration,
                io=self._io if (runtime, form.precision) == ("tflite", "int8") else "float",
                opset=_opset(material.info, form.max_opset),
            ),
            self._workshop,
        )

    def _calibration(
        self, model: BenchModel, info: ModelInfo, shapes: Mapping[str, tuple[int, ...]]
    ) -> Examples | None:
        """Real inputs for int8 and for checking outputs; the evaluation's own where there are no others."""
        path = model.calibration or model.dataset
        if path is None:
            return None
        if info.kind not in EXAMPLE_SHAPED:
            shapes = resolve_shapes(info, model.shapes, 1).shapes
        return load_examples(path, info, shapes, preprocessing_of(model.preprocessing))

    def _make_material(self, key: _Key, runtime: str, batch_size: int) -> _Material:
        model = key.model
        info, resolved = self._resolved(model, runtime, batch_size)
        dataset = None
        if model.dataset is not None:
            dataset = load_examples(
                model.dataset, info, resolved.shapes, preprocessing_of(model.preprocessing)
            )
            if dataset.labels is None:
                raise DataError(
                    f"the dataset {model.dataset} has no labels, so it gives no accuracy",
                    reason="no_labels",
                    remedy="Add them (an array 'labels', or labels.csv), or give it as --calibration",
                )
        calibration = self._calibration(model, info, resolved.shapes)
        check = check_inputs(
            info, resolved.shapes, calibration or dataset, _check_count(info, resolved.shapes)
        )
        reference = reference_outputs(info, check, self._workshop)
        fitting = _fitting(reference)
        check = {name: array[:fitting] for name, array in check.items()}
        reference = {name: array[:fitting] for name, array in reference.items()}
        return _Material(
            info=info,
            shapes=resolved.shapes,
            check=check,
            reference=reference,
            calibration=calibration,
            dataset=dataset,
            notes=tuple(_notes(model, resolved.guessed)),
        )

    def _workload(
        self, model: BenchModel, material: _Material, artifact: Artifact, form: ArtifactForm
    ) -> Workload:
        blobs = [Blob(file.sha256, file.bytes, file.path, file.name) for file in artifact.files]
        refs = tuple(_ref(blob) for blob in blobs)
        check = self._fed(material, material.check, artifact, "check.npz", stacked=False)
        blobs.append(check)
        evaluation = None
        dataset = material.dataset
        if dataset is not None:
            examples = self._fed(
                material, dataset.inputs, artifact, "evaluation.npz", stacked=dataset.stacked
            )
            blobs.append(examples)
            evaluation = Dataset(_ref(examples), dataset.examples, dataset.stacked)
        calibration = None
        if form.calibrates_on_board:
            typical = _calibration_data(model, material)
            examples = self._fed(
                material, typical.inputs, artifact, "calibration.npz", stacked=typical.stacked
            )
            blobs.append(examples)
            calibration = Dataset(_ref(examples), typical.examples, typical.stacked)
        shapes = {
            entry.name: _permuted(material.shapes[entry.source], entry.permutation)
            for entry in artifact.inputs
        }
        return Workload(
            artifact=artifact,
            artifact_refs=refs,
            inputs=tuple(_spec(tensor, shapes[tensor.name]) for tensor in artifact.info.inputs),
            outputs=tuple(_spec(tensor, None) for tensor in artifact.info.outputs),
            check=Dataset(_ref(check), len(next(iter(material.check.values()))), stacked=False),
            evaluation=evaluation,
            calibration=calibration,
            options=form.options,
            reference=material.reference,
            output_maps=artifact.outputs,
            aliases={tensor.name: tensor.aliases for tensor in material.info.outputs},
            quantization={
                t.name: t.quantization for t in material.info.outputs if t.quantization is not None
            },
            labels=None if dataset is None else dataset.labels,
            metric=model.metric or "top1",
            blobs={blob.sha256: blob for blob in blobs},
            notes=(*material.notes, *(f"{model.name}: {warning}" for warning in artifact.warnings)),
        )

    def _fed(
        self, material: _Material, arrays: Arrays, artifact: Artifact, name: str, *, stacked: bool
    ) -> Blob:
        """Inputs in the source's terms as the file a board feeds to the artifact."""
        types = tuple((tensor.name, tensor.dtype, tensor.quantization) for tensor in artifact.info.inputs)
        key = (id(material), name, artifact.inputs, types)
        if key not in self._blobs:
            fed = as_fed(to_artifact(arrays, artifact.inputs, stacked=stacked), artifact.info.inputs)
            self._blobs[key] = self._blob(fed, artifact.info.inputs, name)
        return self._blobs[key]

    def _blob(self, arrays: Arrays, order: Sequence[TensorInfo], name: str) -> Blob:
        """Arrays as a file of the cache named by its hash, in the order the board numbers them."""
        folder = self._workshop.cache / "inputs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with held_folder(folder, "part-") as place:
            part = place / "inputs.npz"
            save_arrays(part, {tensor.name: np.ascontiguousarray(arrays[tensor.name]) for tensor in order})
            with part.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            path = folder / f"{sha256}.npz"
            part.replace(path)
        return Blob(sha256, path.stat().st_size, path, name)


class _Key:
    """A model as a key of functools.cache: models are told apart by their names."""

    def __init__(self, model: BenchModel) -> None:
        self.model = model

    def __hash__(self) -> int:
        return hash(self.model.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.model.name == self.model.name


#: The newest opset an exporter gives where none is asked for; a ceiling above it asks nothing of it.
_EXPORTED_OPSET = 18


def _opset(info: ModelInfo, ceiling: int | None) -> int | None:
    """The opset to ask for: the runtime's newest where the model has, or might be exported with, a newer."""
    if ceiling is None or (info.opset or _EXPORTED_OPSET) <= ceiling:
        return None
    return ceiling


def _calibration_data(model: BenchModel, material: _Material) -> Examples:
    if material.calibration is None:
        raise ConversionFailed(
            f"{model.name}: int8 by a calibrator on the board needs calibration data, and none were given",
            "give typical inputs with --calibration (100 or more), or leave --int8-by out",
            "calibration_required",
        )
    return material.calibration


def _concrete(tensor: TensorInfo) -> tuple[int, ...]:
    return tuple(size for size in tensor.shape if isinstance(size, int))


def _permuted(shape: tuple[int, ...], permutation: tuple[int, ...] | None) -> tuple[int, ...]:
    return shape if permutation is None else tuple(shape[axis] for axis in permutation)


def _notes(model: BenchModel, guessed: Mapping[str, str]) -> Iterator[str]:
    """What was assumed, and how to say otherwise."""
    for guess in guessed.values():
        yield f"{model.name}: assumed {guess}; give --shape to say otherwise"
    if model.dataset is not None and model.calibration is None:
        yield f"{model.name}: int8 is calibrated on the evaluation data; give --calibration to say otherwise"


def _check_count(info: ModelInfo, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many complete inputs are checked: as many as agree with the host's own check, within bounds."""
    each = sum(math.prod(shapes[tensor.name]) * np.dtype(tensor.dtype).itemsize for tensor in info.inputs)
    return max(1, min(CHECK_EXAMPLES, CHECK_BYTES // max(each, 1)))


def _fitting(reference: Arrays) -> int:
    """How many examples keep all outputs within what is fetched from a board."""
    examples = min(len(array) for array in reference.values())
    each = sum(array.nbytes for array in reference.values()) / examples
    return max(1, min(examples, int(CHECK_BYTES // max(each, 1))))


def _spec(tensor: TensorInfo, shape: tuple[int, ...] | None) -> TensorSpec:
    sizes = shape if shape is not None else (size if isinstance(size, int) else -1 for size in tensor.shape)
    return TensorSpec([tensor.name, *tensor.aliases], list(sizes), tensor.dtype)


def _ref(blob: Blob) -> BlobRef:
    return BlobRef(blob.sha256, blob.bytes, blob.name)
