"""What to run: a plan file or the command line's options, as a list of cases."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from convert.sources.source import SourceKind
from harness.board_options import BoardOptions
from harness.errors import ConfigurationError, UsageError
from harness.models import BenchModel
from profiles import strict_toml
from profiles.measurement import MeasurementProfile
from profiles.strict_toml import InvalidFile
from reports.record import Case

RUNTIMES = ("onnxruntime", "tflite", "tensorrt", "null")
PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")

#: The runtimes that take a source of each kind without a heavy converter.
#: The runtime a kind of source is nearest to, measured where the user names none.
NATIVE_RUNTIME: dict[SourceKind, str] = {
    "onnx": "onnxruntime",
    "pytorch": "onnxruntime",
    "torchscript": "onnxruntime",
    "pt2": "onnxruntime",
    "tflite": "tflite",
    "keras": "tflite",
    "savedmodel": "tflite",
}

#: The null runtime runs no model; its one case a device goes by these words.
NULL_MODEL = "null"


@dataclass(frozen=True)
class PlanFile:
    """plan.toml, what a nightly run is given."""

    devices: tuple[str, ...] = ("local",)
    models: tuple[str, ...] = ()
    runtimes: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    batch_sizes: tuple[int, ...] = (1,)
    num_threads: tuple[int, ...] = (1,)
    measurement: str = "standard"


@dataclass(frozen=True)
class Selection:
    """What to combine. None means: everything that makes sense for the model."""

    runtimes: tuple[str, ...] | None
    precisions: tuple[str, ...] | None
    batch_sizes: tuple[int, ...]
    num_threads: tuple[int, ...]


@dataclass(frozen=True)
class PlannedCase:
    """A case with its model; `asked` tells whether runtime or precision were named by the user."""

    case: Case
    model: BenchModel | None
    runtime_asked: bool
    precision_asked: bool


def load_plan_file(path: Path) -> PlanFile:
    """The plan at `path`; raises ConfigurationError with every fault."""
    try:
        return strict_toml.load(path, PlanFile)
    except InvalidFile as error:
        raise ConfigurationError(error.faults) from error


def check_selection(selection: Selection) -> None:
    """Raises UsageError for words and numbers that mean nothing."""
    for word, values, known in (
        ("runtime", selection.runtimes or (), RUNTIMES),
        ("precision", selection.precisions or (), PRECISIONS),
    ):
        unknown = [value for value in values if value not in known]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, 1, 0.5)
            raise UsageError(
                f"unknown {word} {', '.join(map(repr, unknown))}",
                (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known)}",
            )
    for word, numbers in (
        ("batch size", selection.batch_sizes),
        ("number of threads", selection.num_threads),
    ):
        wrong = [number for number in numbers if number < 1]
        if wrong:
            raise UsageError(f"{word} {wrong[0]} is less than 1")


def cases(devices: Sequence[str], models: Sequence[BenchModel], selection: Selection) -> list[PlannedCase]:
    """Every case once, those of a device together and in a fixed order."""
    check_selection(selection)
    every = [planned for device in devices for planned in _cases_of(device, models, selection)]
    return list({planned.case: planned for planned in every}.values())


def _cases_of(device: str, models: Sequence[BenchModel], selection: Selection) -> Iterator[PlannedCase]:
    asked = selection.runtimes is not None
    if not asked or "null" in (selection.runtimes or ()):
        # What the harness itself adds, published with every run.
        yield PlannedCase(Case(device, NULL_MODEL, "null", "fp32"), None, asked, precision_asked=False)
    for model in models:
        for runtime in selection.runtimes or _native_runtimes(model):
            if runtime == "null":
                continue
            for precision in selection.precisions or PRECISIONS:
                for batch_size in selection.batch_sizes:
                    for threads in selection.num_threads:
                        case = Case(device, model.name, runtime, precision, batch_size, threads)
                        yield PlannedCase(case, model, asked, selection.precisions is not None)


def _native_runtimes(model: BenchModel) -> tuple[str, ...]:
    return tuple(dict.fromkeys(NATIVE_RUNTIME[kind] for kind in NATIVE_RUNTIME if kind in model.sources))


def digest(planned: Sequence[PlannedCase], measurement: MeasurementProfile, options: BoardOptions) -> str:
    """A plan's identity: cases, how they are measured, and the content of the models' files."""
    content = {
        "cases": [asdict(item.case) for item in planned],
        "measurement": asdict(measurement),
        "options": options.identity(),
        "models": {item.model.name: item.model.identity() for item in planned if item.model is not None},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
