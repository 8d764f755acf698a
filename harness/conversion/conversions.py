"""One model: what to make of it, and made. Where the files go is conversion_files.py's business."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.calibration import calibration_samples
from convert.conversion import Artifact, ConversionRequest, convert, needs_fixed_batch
from convert.data.datasets import Examples, load_examples
from convert.data.sample_inputs import resolve_shapes
from convert.errors import ConvertError, DataError
from convert.interface import to_artifact
from convert.paths import FORMAT_OF
from convert.proofs.compatibility import RuntimeCheck
from convert.sources.inspection import ModelInfo, TensorInfo, inspect_source
from convert.sources.source import Source
from convert.workshop import Workshop
from harness.conversion.runtime_checks import check_runtimes
from harness.conversion.wanted import ConversionOptions, Wanted
from harness.converter_errors import translated
from harness.errors import BenchError, CaseError, ConversionFailed, UsageError
from harness.model_sources import EXAMPLE_SHAPED, inspect_at_batch, nearest_source, preprocessing_of
from harness.models import BenchModel

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Made:
    """An artifact, and what belongs with it."""

    wanted: Wanted
    artifact: Artifact
    info: ModelInfo
    #: Concrete, of the source's inputs, as it was converted and verified.
    shapes: Mapping[str, Shape]
    #: Complete inputs (samples, *shape) by the artifact's names, for a runtime that calibrates itself.
    calibration: Mapping[str, NDArray[np.generic]] | None
    #: What other runtimes say to it; None if they were not asked.
    runtimes: tuple[RuntimeCheck, ...] | None
    seconds: float


@dataclass(frozen=True)
class _Material:
    """What the artifacts of one target share."""

    info: ModelInfo
    shapes: dict[str, Shape]
    examples: Examples | None
    guessed: Mapping[str, str]


class ModelConversion:
    """Makes the artifacts of one model; what they share is read once."""

    def __init__(
        self,
        model: BenchModel,
        options: ConversionOptions,
        workshop: Workshop,
        *,
        compatibility: bool,
    ) -> None:
        self.model = model
        self._options = options
        self._workshop = workshop
        self._compatibility = compatibility
        self._unavailable: dict[str, tuple[RuntimeCheck, ...]] = {}
        self._infos: dict[Source, ModelInfo | ConvertError] = {}
        self._examples: dict[tuple[Source, tuple[Shape, ...]], Examples] = {}
        self._materials: dict[str, _Material | ConvertError] = {}

    def read(self, wanted: Sequence[Wanted]) -> tuple[str, ...]:
        """Reads sources and calibration data; returns notes on what was assumed.

        Raises UsageError for shapes and data that do not fit the model. A model that cannot be read is
        told when its artifacts are made.
        """
        for target in dict.fromkeys(entry.target for entry in wanted):
            try:
                with translated(self.model.name):
                    self._material(target)
            except CaseError:
                continue
        return self._notes()

    def make(self, wanted: Wanted) -> Made:
        """The artifact; raises CaseError with the reason why there is none."""
        started = time.perf_counter()
        try:
            with translated(self.model.name):
                material = self._material(wanted.target)
                request = self._request(material, wanted)
                artifact = convert(request, self._workshop)
                calibration = _own_calibration(request, artifact)
                runtimes = self._runtimes(request, artifact)
        except OSError as error:
            raise _storage_failed(error, self._workshop.cache) from error
        except UsageError as error:
            # What does not fit the model was told by `read`; this is one artifact's own trouble.
            raise ConversionFailed(error.message, error.remedy, reason_of(error)) from error
        seconds = time.perf_counter() - started
        return Made(wanted, artifact, material.info, material.shapes, calibration, runtimes, seconds)

    def sources(self) -> tuple[ModelInfo, ...]:
        """The sources that could be read."""
        return tuple(info for info in self._infos.values() if isinstance(info, ModelInfo))

    def _request(self, material: _Material, wanted: Wanted) -> ConversionRequest:
        options = self._options
        return ConversionRequest(
            info=material.info,
            target=wanted.target,
            precision=wanted.precision,
            shapes=material.shapes,
            calibration=material.examples,
            allow_random_calibration=options.allow_random_calibration,
            io=wanted.io,
            opset=options.opset,
            dynamic_batch=options.dynamic_batch,
            tolerance=options.tolerance,
            via=options.via,
        )

    def _runtimes(self, request: ConversionRequest, artifact: Artifact) -> tuple[RuntimeCheck, ...] | None:
        if not self._compatibility:
            return None
        unavailable = self._unavailable.get(artifact.target)
        if unavailable is not None:
            return unavailable
        found = check_runtimes(artifact, request, self._options.batches, self._workshop)
        if any(check.status == "not_checked" for check in found):
            # A toolchain that could not be made once is not tried again for every artifact.
            self._unavailable[artifact.target] = found
        return found

    def _material(self, target: str) -> _Material:
        if target not in self._materials:
            try:
                self._materials[target] = self._read(target)
            except ConvertError as error:
                self._materials[target] = error
        found = self._materials[target]
        if isinstance(found, ConvertError):
            raise found
        return found

    def _read(self, target: str) -> _Material:
        source = nearest_source(self.model, FORMAT_OF[target])
        info = self._info(source)
        given = self._given(info)
        batch = self._options.batch or 1
        resolved = resolve_shapes(info, given, 1 if source.kind in EXAMPLE_SHAPED else batch)
        shapes = resolved.shapes
        if not needs_fixed_batch(info, target):
            # The artifact takes the source's batch sizes, all of them; those asked for must be among them.
            for size in self._options.dynamic_batch:
                resolve_shapes(info, given, size)
            shapes = resolve_shapes(info, given, 1).shapes
        return _Material(info, shapes, self._loaded(source, info, shapes), resolved.guessed)

    def _given(self, info: ModelInfo) -> dict[str, Shape]:
        """The shapes that were given for inputs of this model."""
        shapes = dict(self.model.shapes)
        if info.kind in EXAMPLE_SHAPED:
            # They are in the inspection already, at the batch size asked for.
            return {}
        if not self._options.shared_shapes:
            return shapes
        own = {name: tensor for tensor in info.inputs for name in (tensor.name, *tensor.aliases)}
        return {name: shape for name, shape in shapes.items() if name in own and _fits(shape, own[name])}

    def _info(self, source: Source) -> ModelInfo:
        if source not in self._infos:
            try:
                self._infos[source] = self._inspected(source)
            except ConvertError as error:
                self._infos[source] = error
        found = self._infos[source]
        if isinstance(found, ConvertError):
            raise found
        return found

    def _inspected(self, source: Source) -> ModelInfo:
        if source.kind not in EXAMPLE_SHAPED:
            return inspect_source(source, self._workshop, self.model.shapes)
        candidates = self._candidate_shapes()
        for shapes in candidates[:-1]:
            try:
                return inspect_at_batch(source, self._workshop, shapes, self._options.batch)
            except DataError as error:
                if error.reason != "unknown_input":
                    raise
        return inspect_at_batch(source, self._workshop, candidates[-1], self._options.batch)

    def _candidate_shapes(self) -> list[dict[str, Shape]]:
        shapes = dict(self.model.shapes)
        if not self._options.shared_shapes:
            return [shapes]
        # Which names forward() has is known only by asking.
        return [shapes, *({name: shape} for name, shape in shapes.items()), {}]

    def _loaded(self, source: Source, info: ModelInfo, shapes: dict[str, Shape]) -> Examples | None:
        """Real inputs to calibrate on and verify with; the evaluation's own where there are no others."""
        path = self.model.calibration or self.model.dataset
        if path is None:
            return None
        key = (source, tuple(shapes.values()))
        if key not in self._examples:
            self._examples[key] = load_examples(
                path, info, shapes, preprocessing_of(self.model.preprocessing)
            )
        return self._examples[key]

    def _notes(self) -> tuple[str, ...]:
        guesses = {
            guess: None
            for material in self._materials.values()
            if isinstance(material, _Material)
            for guess in material.guessed.values()
        }
        notes = [f"assumed {guess}; give --shape to say otherwise" for guess in guesses]
        if self.model.dataset is not None and self.model.calibration is None:
            notes.append("calibrated on the evaluation data; give --calibration to say otherwise")
        return tuple(f"{self.model.name}: {note}" for note in notes)


def reason_of(error: BenchError) -> str:
    """The stable word of any failure."""
    if isinstance(error, CaseError):
        return error.reason
    cause = error.__cause__
    return cause.reason if isinstance(cause, ConvertError) else "usage"


def _own_calibration(
    request: ConversionRequest, artifact: Artifact
) -> Mapping[str, NDArray[np.generic]] | None:
    """TensorRT up to 10 can calibrate itself, on the same samples."""
    if request.target != "tensorrt" or artifact.calibration is None:
        return None
    samples, _, _ = calibration_samples(request.info, request.shapes, request.calibration)
    return to_artifact(samples, artifact.inputs)


def _fits(shape: Shape, tensor: TensorInfo) -> bool:
    """Whether a shape agrees with all sizes that an input has fixed, but for the first, the batch."""
    return len(shape) == len(tensor.shape) and all(
        axis == 0 or not isinstance(size, int) or size == shape[axis]
        for axis, size in enumerate(tensor.shape)
    )


def _storage_failed(error: OSError, cache: Path) -> CaseError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ConversionFailed(
        f"{error.filename or cache}: {error.strerror or error}",
        f"free space where {cache} lies" if full else f"see that {cache} can be written to",
        "disk_full" if full else "not_writable",
    )
