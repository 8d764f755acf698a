"""What a command line asks to be made of a model, and the key by which it is known to be there already."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

from convert.base import DEFAULT_TOLERANCE, Format
from convert.conversion import CONVERSION_VERSION, Io, Precision, Target
from convert.paths import WAYS
from convert.processes.toolchain import TOOLCHAINS, toolchain_key
from harness.errors import UsageError
from harness.models import BenchModel
from harness.plan import NATIVE_RUNTIME, PRECISIONS
from harness.version import harness_version

#: What a target is called on the command line where that differs from the converter's word for it.
_WORDS = {"onnxruntime": "onnx"}
IO_TYPES = ("float", "uint8", "int8")
#: Packages of this environment that write artifacts.
_PACKAGES = ("onnx", "onnxruntime", "onnxslim", "ai-edge-litert", "ai-edge-quantizer")


@dataclass(frozen=True)
class Wanted:
    """One artifact to make."""

    target: Target
    precision: Precision
    io: Io = "float"

    @property
    def word(self) -> str:
        """The target as the command line calls it."""
        return _WORDS.get(self.target, self.target)


@dataclass(frozen=True)
class ConversionOptions:
    """What all artifacts of a command have in common."""

    #: None: what the model has, 1 where that is open.
    batch: int | None = None
    #: Batch sizes that ONNX artifacts have to take; () for `batch` alone.
    dynamic_batch: tuple[int, ...] = ()
    opset: int | None = None
    tolerance: float = DEFAULT_TOLERANCE
    #: Only by way of this format, where there are several ways.
    via: Format | None = None
    allow_random_calibration: bool = False
    #: Shapes of inputs that the model does not have are for others of the same folder.
    shared_shapes: bool = False

    @property
    def batches(self) -> tuple[int, int, int]:
        """Least, usual and largest batch size; of several the middle one is the usual."""
        sizes = sorted(self.dynamic_batch) or [self.batch or 1]
        return sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1]


def target_words() -> tuple[str, ...]:
    """Targets as the command line calls them."""
    return tuple(_WORDS.get(target, target) for target in WAYS)


def find_wanted(
    model: BenchModel, words: Sequence[str] | None, precisions: Sequence[str], io: str
) -> tuple[Wanted, ...]:
    """Every precision of every target; without `words`, of the targets the model's sources are nearest to.

    `io` is for int8 TFLite models; all others keep their float ends. Raises UsageError for unknown words.
    """
    targets = {_WORDS.get(target, target): target for target in WAYS}
    nearest = [_WORDS.get(NATIVE_RUNTIME[kind], NATIVE_RUNTIME[kind]) for kind in model.sources]
    words = tuple(dict.fromkeys(words or nearest))
    _known("--to", words, targets)
    _known("--precision", precisions, PRECISIONS)
    _known("--io", [io], IO_TYPES)
    wanted = tuple(
        Wanted(
            cast("Target", targets[word]),
            cast("Precision", precision),
            cast("Io", io if (word, precision) == ("tflite", "int8") else "float"),
        )
        for word, precision in itertools.product(words, dict.fromkeys(precisions))
    )
    if io != "float" and all(entry.io == "float" for entry in wanted):
        raise UsageError(
            f"--io {io}: only int8 TFLite models have a choice, and none is asked for",
            "add --to tflite --precision int8, or leave --io out",
        )
    return wanted


def _known(option: str, words: Sequence[str], known: Sequence[str] | Mapping[str, object]) -> None:
    for word in words:
        if word not in known:
            raise UsageError(f"{option} {word}: no such word", f"choose from {', '.join(known)}")


def with_own_data(
    model: BenchModel,
    shapes: Mapping[str, tuple[int, ...]],
    calibration: Path | None,
    *,
    trust_pickle: bool,
    python: Path | None,
) -> BenchModel:
    """The model with what the command line says in place of its own; raises UsageError."""
    for option, path in (("--calibration", calibration), ("--python", python)):
        if path is not None and not path.exists():
            raise UsageError(f"{option} {path}: no such file or folder")
    sources = {
        kind: replace(
            source,
            trust_pickle=source.trust_pickle or trust_pickle,
            python=(python and python.absolute()) or source.python,
        )
        for kind, source in model.sources.items()
    }
    return replace(
        model,
        sources=sources,
        shapes={**model.shapes, **shapes},
        calibration=calibration or model.calibration,
    )


def conversion_keys(
    model: BenchModel, wanted: Sequence[Wanted], options: ConversionOptions
) -> dict[Wanted, str]:
    """Digests of everything that artifacts depend on, found without loading the model or its data."""
    content = {
        "edgebench": [harness_version(), CONVERSION_VERSION],
        "packages": [_version(package) for package in _PACKAGES],
        "toolchains": [toolchain_key(name) for name in sorted(TOOLCHAINS)],
        "model": model.identity(),
        "options": asdict(options),
    }
    return {
        entry: hashlib.sha256(
            json.dumps({**content, "wanted": asdict(entry)}, sort_keys=True).encode()
        ).hexdigest()
        for entry in wanted
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None  # told by the conversion that needs it
