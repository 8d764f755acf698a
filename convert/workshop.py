"""Where conversions happen: the caches, the toolchains, and the limits of every child process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import ConversionFailed, ConvertError
from convert.processes.child import DEADLINE_S, Limits, run_child
from convert.processes.toolchain import prepare_toolchain
from convert.sources.source import TOOLCHAIN_OF, Source


def _silent(_line: str) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True)
class Workshop:
    """What every conversion needs beside its request."""

    #: Artifacts, inspections, references; keyed by content.
    cache: Path
    #: Pinned environments.
    toolchains: Path
    #: Told what takes long: a toolchain that is being made.
    tell: Callable[[str], None] = _silent
    #: Bytes of memory a child and its own children may hold together; None: all there is.
    memory_limit: int | None = None
    deadline_s: float = DEADLINE_S

    def run(
        self,
        task: str,
        request: Mapping[str, Any],
        *,
        toolchain: str | None = None,
        python: Path | None = None,
        error: type[ConvertError] = ConversionFailed,
    ) -> dict[str, Any]:
        """The answer of a child process: of `python`, of a toolchain, or of this environment."""
        if python is None and toolchain is not None:
            python = prepare_toolchain(toolchain, self.toolchains, self.tell)
        limits = Limits(self.deadline_s, self.memory_limit)
        return run_child(task, request, error=error, limits=limits, python=python)

    def run_framework(
        self, task: str, request: Mapping[str, Any], source: Source, *, error: type[ConvertError]
    ) -> dict[str, Any]:
        """The answer of a child that has the framework `source` is written for."""
        return self.run(task, request, toolchain=TOOLCHAIN_OF[source.kind], python=source.python, error=error)
