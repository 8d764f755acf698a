"""What the user calls a model: a file, a model.toml, a folder with one, or a built-in name."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.errors import ConfigurationError, UsageError
from profiles.model_spec import (
    ModelSpec,
    PreprocessingSpec,
    builtin_model,
    builtin_models,
    load_model_spec,
)
from profiles.strict_toml import InvalidFile

_KINDS = {".onnx": "onnx", ".tflite": "tflite", ".lite": "tflite"}


@dataclass(frozen=True)
class BenchModel:
    """A model with its data, wherever they were named. `sources` are files by kind (onnx, tflite)."""

    name: str
    sources: Mapping[str, Path]
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
        for kind, path in sorted(self.sources.items()):
            digest.update(f"{kind}:{_content(path)}".encode())
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
    if not path.is_file():
        known = builtin_models()
        near = difflib.get_close_matches(word, known, 1)
        known_words = f"did you mean {near[0]!r}?" if near else f"built in: {', '.join(known)}"
        raise UsageError(
            f"model {word!r}: no such file", f"give an .onnx, .tflite or model.toml file; {known_words}"
        )
    if path.suffix == ".toml":
        try:
            return _of_spec(load_model_spec(path))
        except InvalidFile as error:
            raise ConfigurationError(error.faults) from error
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(
            f"model {word!r}: a {path.suffix or 'nameless'} file is not a model that this version takes",
            "give an .onnx, .tflite or model.toml file",
        )
    return BenchModel(path.stem, {kind: path})


def _of_spec(spec: ModelSpec) -> BenchModel:
    files = {"onnx": spec.sources.onnx, "tflite": spec.sources.tflite}
    return BenchModel(
        name=spec.name,
        sources={kind: spec.path(file) for kind, file in files.items() if file is not None},
        shapes={name: given.shape for name, given in spec.inputs.items()},
        metric=spec.metric,
        dataset=spec.dataset and spec.path(spec.dataset),
        calibration=spec.calibration and spec.path(spec.calibration),
        preprocessing=spec.preprocessing,
    )


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
