"""The converter's errors as this side's: one place where they cross the border."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from convert.errors import ConvertError, DataError, InvalidModel
from harness.errors import BenchError, ConversionFailed, ModelError, UsageError


@contextmanager
def translated(model: str) -> Iterator[None]:
    """Errors of the converter raised in the block become the harness's own, naming the model."""
    try:
        yield
    except ConvertError as error:
        raise as_bench_error(error, model) from error


def as_bench_error(error: ConvertError, model: str) -> BenchError:
    """The error that stands for a converter's on this side."""
    if isinstance(error, InvalidModel):
        return ModelError(error.message, error.remedy, error.reason)
    if isinstance(error, DataError):
        return UsageError(f"{model}: {error.message}", error.remedy)
    return ConversionFailed(f"{model}: {error.message}", error.remedy, error.reason)
