"""What can go wrong on the way from a model file to an artifact.

ConvertError
├── InvalidModel       the model file itself: missing data, truncated, a custom op, an output not a tensor
├── ConversionFailed   the artifact cannot be made: no path, no calibration, a tool failed, wrong outputs
└── DataError          datasets, calibration data and shapes
"""

from __future__ import annotations


class ConvertError(Exception):
    """A failure with a stable word for programs and a sentence, with its remedy, for people."""

    def __init__(self, message: str, *, reason: str, remedy: str | None = None) -> None:
        super().__init__(message, reason, remedy)
        self.message = message
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), self.message, self.reason, self.remedy)


class InvalidModel(ConvertError):
    """The model file is not one that can be run."""


class ConversionFailed(ConvertError):
    """An artifact cannot be made from this model."""


class DataError(ConvertError):
    """A dataset, calibration data or a shape does not fit the model."""


#: Errors by class name, as they travel from the worker process.
ERRORS: dict[str, type[ConvertError]] = {
    error.__name__: error for error in (ConvertError, InvalidModel, ConversionFailed, DataError)
}


def _rebuilt(kind: type[ConvertError], message: str, reason: str, remedy: str | None) -> ConvertError:
    return kind(message, reason=reason, remedy=remedy)
