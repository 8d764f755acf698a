"""The model that a command line names, where weights and the network they belong to may be apart."""

from __future__ import annotations

from pathlib import Path

from convert.errors import InvalidModel
from convert.sources.source import find_source
from harness.errors import UsageError
from harness.models import BenchModel, find_models, model_of


def asked_model(word: str, factory: str | None, weights: Path | None) -> BenchModel:
    """The model of MODEL, `--factory` and `--weights`; raises UsageError or ConfigurationError."""
    if factory is None and weights is None:
        (model,) = find_models([word])
        return model
    if factory is not None and weights is not None:
        raise UsageError(
            "--factory and --weights contradict each other",
            "give a factory as MODEL with --weights, or weights as MODEL with --factory",
        )
    file, network = (str(weights), word) if weights is not None else (word, factory)
    try:
        return model_of(find_source(file, factory=network))
    except InvalidModel as error:
        raise UsageError(f"model {word!r}: {error.message}", error.remedy) from error
