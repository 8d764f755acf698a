"""The TensorRT stand-in in this very process, in any of its generations."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from unittest import mock

from tests.standins.placing import SITE

GENERATIONS = ("8.0.1.6", "8.2.1.8", "8.5.2.2", "8.6.1.6", "10.3.0.30", "10.13.0.35", "11.4.1.1")


@contextlib.contextmanager
def tensorrt(version: str, **settings: str) -> Iterator[ModuleType]:
    """The stand-in of that version; `settings` are its variables without STANDIN_, in any case."""
    environment = {f"STANDIN_{name.upper()}": value for name, value in settings.items()}
    others = _taken_out()
    with (
        mock.patch.dict(os.environ, {**environment, "STANDIN_TENSORRT": version}),
        mock.patch.object(sys, "path", [str(SITE), *sys.path]),
    ):
        try:
            yield importlib.import_module("tensorrt")
        finally:
            _taken_out()
            sys.modules.update(others)


def _taken_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.split(".")[0] == "tensorrt"]
    return {name: sys.modules.pop(name) for name in names}
