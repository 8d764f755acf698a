"""How accuracy is computed: by a built-in metric, or by a function of the user's own."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from reports.accuracy import METRICS, MetricError, score
from reports.record import Accuracy

Array = NDArray[np.generic]
Metric = Callable[[Mapping[str, Array], Array], Accuracy]


def check_metric(name: str) -> None:
    """Find out before hours of measuring that there is no such metric; raises UsageError."""
    try:
        find_metric(name)
    except MetricError as error:
        raise UsageError(error.message, error.remedy) from error


def find_metric(name: str) -> Metric:
    """The metric of outputs by name and labels; raises MetricError if there is none, as it does itself."""
    if ":" in name:
        return _own_metric(name)
    if name not in METRICS:
        raise MetricError(
            f"there is no metric {name!r}",
            f"choose one of {', '.join(METRICS)}, or name a function of your own as package.module:function",
        )
    return functools.partial(score, name)


def _own_metric(name: str) -> Metric:
    """A user's `package.module:function`, which takes outputs and labels and returns the metric's value."""
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        # At the end: nothing that lies about in the current folder replaces an installed package.
        sys.path.append(here)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # somebody else's code, which may do anything when imported
        raise MetricError(
            f"metric {name!r} cannot be imported: {error}",
            "give package.module:function, on the Python path or in the current folder",
        ) from error

    def metric(outputs: Mapping[str, Array], labels: Array) -> Accuracy:
        try:
            return Accuracy(name, float(function(dict(outputs), labels)), len(labels), None)
        except Exception as error:  # somebody else's code; it must not stop the other cases
            raise MetricError(
                f"metric {name!r} failed: {type(error).__name__}: {error}",
                "it is called with the outputs by name and the labels, and returns a number",
            ) from error

    return metric
