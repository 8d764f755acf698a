"""Generations of operating systems on boards: what each brings, and what its Python can install at most."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from profiles import strict_toml

FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class SystemGeneration:
    """One generation; systems.toml says what a version means. None: no ceiling, or nothing of that kind."""

    #: As people say it, "JetPack 4.6.1 to 4.6.6".
    name: str
    #: How PRETTY_NAME of /etc/os-release begins.
    os: str
    #: The system's own Python, major.minor.
    python: str
    glibc: str
    #: Jetson: releases of its Linux for Tegra; "32.7" stands for every 32.7.x.
    l4t: tuple[str, ...] = ()
    cuda: str | None = None
    cudnn: str | None = None
    tensorrt: str | None = None
    onnxruntime_max: str | None = None
    numpy_max: str | None = None
    pip_max: str | None = None
    #: Requirements of the package index that serve TFLite there, best first; empty where none does.
    tflite: tuple[str, ...] = ()

    def has_l4t(self, release: str) -> bool:
        """Whether an L4T release is of this generation."""
        return any(release == known or release.startswith(known + ".") for known in self.l4t)


@cache
def system_generations() -> dict[str, SystemGeneration]:
    """All generations by their names in device profiles."""
    return strict_toml.load(FILE, dict[str, SystemGeneration])


def generation_of(
    generations: Iterable[SystemGeneration], l4t: str | None, os: str | None
) -> SystemGeneration | None:
    """The one a board runs: by its L4T release where it has one, else by its PRETTY_NAME."""
    if l4t is not None:
        return next((found for found in generations if found.has_l4t(l4t)), None)
    # "Debian GNU/Linux 1" is not the beginning of "Debian GNU/Linux 12": a version ends where it ends.
    return next((found for found in generations if re.match(re.escape(found.os) + r"(?!\d)", os or "")), None)
