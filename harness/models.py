"""What the user calls a model: a file, a model.toml, a folder with one, or a built-in name."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from convert.errors import InvalidModel
from convert.sources.source import Source, SourceKind, find_source, is_factory
from convert.sources.source_digest import source_sha256
from harness.errors import ConfigurationError, UsageError
from profiles.model_spec import (
    ModelSpec,
    PreprocessingSpec,
    Sources,
    builtin_model,
    builtin_models,
    load_model_spec,
)
from profiles.strict_toml import InvalidFile


@dataclass(frozen=True)
class BenchModel:
    """A model with its data, wherever they were named. `sources` are the same network by kind."""

    name: str
    sources: Mapping[SourceKind, Source]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    metric: str | None = None
    dataset: Path | None = None
    calibration: Path | None = None
    preprocessing: PreprocessingSpec | None = None

    def identity(self) -> str:
        """A digest of everything that a measurement of this model depends on."""
        digest = hashlib.sha256(
            repr((self.name, dict(self.shapes), self.metric, self.preprocessing)).encode()
        )
        for kind, source in sorted(self.sources.items()):
            digest.update(f"{kind}:{_source_digest(source)}".encode())
        for data in (self.dataset, self.calibration):
            digest.update(f"{data and _content(data)}".encode())
        return digest.hexdigest()


def find_models(words: Sequence[str]) -> list[BenchModel]:
    """The models of the command line, each with a name of its own."""
    models: list[BenchModel] = []
    for word in words:
        model = _find(word)
        if model in models:
            continue
        if any(other.name == model.name for other in models):
            # Two files called model.onnx are told apart by their folders.
            model = replace(model, name=f"{Path(word).resolve().parent.name}/{model.name}")
        if any(other.name == model.name for other in models):
            raise UsageError(f"two models are called {model.name!r}", "give them different file names")
        models.append(model)
    return models


def _find(word: str) -> BenchModel:
    path = Path(word)
    if word in builtin_models() and not path.is_file():
        return _of_spec(builtin_model(word))
    if path.is_dir() and (path / "model.toml").is_file():
        path = path / "model.toml"
    if not path.exists() and not is_factory(word):
        known = builtin_models()
        near = difflib.get_close_matches(word, known, 1)
        known_words = f"did you mean {near[0]!r}?" if near else f"built in: {', '.join(known)}"
        raise UsageError(
            f"model {word!r}: no such file",
            f"give a model file, a model.toml or package.module:factory; {known_words}",
        )
    if path.suffix == ".toml" and path.is_file():
        try:
            return _of_spec(load_model_spec(path))
        except InvalidFile as error:
            raise ConfigurationError(error.faults) from error
    try:
        source = find_source(word)
    except InvalidModel as error:
        raise UsageError(f"model {word!r}: {error.message}", error.remedy) from error
    return model_of(source)


def model_of(source: Source) -> BenchModel:
    """A model without data of its own, named after its file or factory."""
    name = source.path.stem if source.path is not None else str(source.factory).rpartition(":")[2]
    return BenchModel(name, {source.kind: source})


def _of_spec(spec: ModelSpec) -> BenchModel:
    try:
        sources = _sources(spec.sources, spec.folder)
    except InvalidModel as error:
        raise ConfigurationError([f"{spec.name}: {error.message}"], error.remedy) from error
    return BenchModel(
        name=spec.name,
        sources={source.kind: source for source in sources},
        shapes={name: given.shape for name, given in spec.inputs.items()},
        metric=spec.metric,
        dataset=spec.dataset and spec.path(spec.dataset),
        calibration=spec.calibration and spec.path(spec.calibration),
        preprocessing=spec.preprocessing,
    )


def _sources(named: Sources, folder: Path) -> list[Source]:
    """A factory is imported from the folder of its model.toml."""
    python = None if named.python is None else folder / named.python
    found = [
        find_source(str(folder / file))
        for file in (
            named.onnx,
            named.tflite,
            named.keras,
            named.saved_model,
            named.torchscript,
            named.exported,
        )
        if file is not None
    ]
    if named.pytorch is not None:
        weights = None if named.weights is None else folder / named.weights
        found.append(Source("pytorch", weights, named.pytorch, python=python, search=folder.absolute()))
    return found


def _source_digest(source: Source) -> str:
    try:
        return source_sha256(source)
    except InvalidModel:
        return ""  # told when the model is read


def _content(path: Path) -> str:
    """A digest of a file, or of a folder's names, sizes and times."""
    if path.is_dir():
        entries = sorted(
            (str(item.relative_to(path)), item.stat().st_size, item.stat().st_mtime_ns)
            for item in path.rglob("*")
        )
        return hashlib.sha256(repr(entries).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
