"""`bench convert`: make of a model what runtimes take, each artifact verified against its source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import typer

from convert.base import DEFAULT_TOLERANCE, Format
from convert.sources.source import Source
from harness.commands import console
from harness.commands.asked_model import asked_model
from harness.commands.conversion_tables import ConversionDisplay, FolderDisplay, show_folder, show_records
from harness.commands.option_values import memory_size, numbers, shapes, words
from harness.commands.prepare_toolchains import prepare_toolchains
from harness.conversion.conversion_files import ConversionFolder
from harness.conversion.conversion_records import failure_record
from harness.conversion.convert_model import convert_model
from harness.conversion.model_folder import FolderOrder, convert_folder
from harness.conversion.wanted import ConversionOptions, find_wanted, with_own_data
from harness.errors import BenchError, UsageError
from harness.models import BenchModel
from harness.places import toolchains_home, workshop

EXIT_FAILED = 3

EPILOG = (
    "Example: bench convert model.onnx --to tflite,onnx --precision fp32,fp16,int8 --calibration photos/ "
    "-o converted/"
)


@dataclass(frozen=True)
class _Asked:
    """The command line, read."""

    word: str
    out: Path
    targets: tuple[str, ...] | None
    precisions: tuple[str, ...]
    io: str
    options: ConversionOptions
    shapes: Mapping[str, tuple[int, ...]]
    calibration: Path | None
    factory: str | None
    weights: Path | None
    python: Path | None
    trust_pickle: bool
    compatibility: bool
    memory_limit: int | None
    timeout: float | None
    as_json: bool


def convert(
    model: str | None = typer.Argument(
        None,
        metavar="MODEL",
        help="A model file, SavedModel folder, model.toml, package.module:factory or built-in model.",
    ),
    out: Path | None = typer.Option(None, "--out", "-o", metavar="DIR", help="Where the artifacts go."),
    to: str | None = typer.Option(
        None,
        metavar="T,..",
        help="onnx, tflite, tensorrt, onnx-optimized; several with commas. Default: tflite for TFLite, Keras "
        "and SavedModel, onnx for the others.",
    ),
    precision: str = typer.Option("fp32", metavar="P,..", help="fp32, fp16, int8, int8-dynamic."),
    calibration: Path | None = typer.Option(
        None,
        metavar="PATH",
        help="An .npz or image folder that int8 is calibrated on, and all verified with.",
    ),
    allow_random_calibration: bool = typer.Option(
        False, "--allow-random-calibration", help="Calibrate int8 on noise when there is no data."
    ),
    io: str = typer.Option("float", metavar="T", help="Ends of int8 TFLite models: float, uint8 or int8."),
    opset: int | None = typer.Option(None, metavar="N", help="ONNX opset to end with."),
    batch: int | None = typer.Option(None, metavar="N", min=1, help="Batch size to convert for. Default: 1."),
    dynamic_batch: str | None = typer.Option(
        None, metavar="N,..", help="Batch sizes an ONNX model has to take; for TensorRT least, usual, most."
    ),
    shape: list[str] = typer.Option(
        [], metavar="NAME=1,3,..", help="Shape of an input that leaves it open: name=1,3,224,224; repeatable."
    ),
    tolerance: float = typer.Option(
        DEFAULT_TOLERANCE, metavar="X", help="Largest difference that an fp32 conversion may make."
    ),
    via: str | None = typer.Option(
        None, metavar="onnx", help="To TFLite by way of ONNX, where there is a shorter way too."
    ),
    factory: str | None = typer.Option(
        None, metavar="P.M:F", help="The function that makes the network for the weights in MODEL."
    ),
    weights: Path | None = typer.Option(
        None, metavar="FILE", help="A state_dict for the network that the factory MODEL makes."
    ),
    python: Path | None = typer.Option(
        None, metavar="PATH", help="The interpreter that has what a factory imports."
    ),
    trust_pickle: bool = typer.Option(
        False, "--trust-pickle", help="Load pickled modules and exported programs; runs code that is in them."
    ),
    memory_limit: str | None = typer.Option(
        None, metavar="SIZE", help="What each converting process may hold, such as 4GB."
    ),
    timeout: float | None = typer.Option(
        None, metavar="SECONDS", min=1, help="Time for each step; with --all for each model."
    ),
    no_compatibility: bool = typer.Option(
        False, "--no-compatibility", help="Do not try the artifacts in tflite-runtime and TensorRT's parser."
    ),
    all_models: bool = typer.Option(
        False, "--all", help="MODEL is a folder: convert every model in it, each in its own process."
    ),
    prepare: bool = typer.Option(
        False, "--prepare", help="Make the toolchains named in place of MODEL, or the usual ones, ahead."
    ),
    prune: bool = typer.Option(
        False, "--prune", help="With --prepare: remove toolchains of other versions of edgebench first."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print conversion.json instead of the table."),
    shared_shapes: bool = typer.Option(False, "--shared-shapes", hidden=True),
) -> None:
    """Convert a model for TFLite, ONNX Runtime and TensorRT; each artifact is verified against its source.

    A second time it only makes what is missing or would now come out differently.
    """
    if prepare:
        prepare_toolchains(words(model), prune=prune)
        return
    try:
        asked = _Asked(
            word=_given("MODEL", model, "bench convert model.onnx -o converted/"),
            out=Path(_given("-o DIR", out, "bench convert model.onnx -o converted/")),
            targets=words(to),
            precisions=words(precision) or ("fp32",),
            io=io,
            options=ConversionOptions(
                batch=batch,
                dynamic_batch=_batches(batch, dynamic_batch),
                opset=opset,
                tolerance=tolerance,
                via=_via(via),
                allow_random_calibration=allow_random_calibration,
                shared_shapes=shared_shapes or all_models,
            ),
            shapes=shapes(shape),
            calibration=calibration,
            factory=factory,
            weights=weights,
            python=python,
            trust_pickle=trust_pickle,
            compatibility=not no_compatibility,
            memory_limit=memory_size("--memory-limit", memory_limit),
            timeout=timeout,
            as_json=as_json,
        )
        complete = _convert_folder(asked) if all_models else _convert_one(asked)
    except BenchError as error:
        if as_json:
            _print({"format_version": 1, "artifacts": [], "failure": failure_record(error)})
        raise
    if not complete:
        raise typer.Exit(EXIT_FAILED)


def _convert_one(asked: _Asked) -> bool:
    """Whether everything could be made."""
    model = with_own_data(
        asked_model(asked.word, asked.factory, asked.weights),
        asked.shapes,
        asked.calibration,
        trust_pickle=asked.trust_pickle,
        python=asked.python,
    )
    wanted = find_wanted(model, asked.targets, asked.precisions, asked.io)
    place = workshop(console.note)
    place = replace(place, memory_limit=asked.memory_limit, deadline_s=asked.timeout or place.deadline_s)
    folder = ConversionFolder(asked.out)
    with ConversionDisplay(model.name) as display:
        outcome = convert_model(
            model, wanted, asked.options, folder, place, display, compatibility=asked.compatibility
        )
    if asked.as_json:
        _print(folder.content())
    else:
        show_records(outcome, asked.out)
    return outcome.complete


def _convert_folder(asked: _Asked) -> bool:
    """Whether everything could be made of every model."""
    for option, value in (("--factory", asked.factory), ("--weights", asked.weights)):
        if value is not None:
            raise UsageError(
                f"{option} {value}: it is for one model, and --all means every model of a folder",
                "describe the network in a model.toml in that folder",
            )
    order = FolderOrder(
        folder=Path(asked.word),
        out=asked.out,
        targets=asked.targets,
        precisions=asked.precisions,
        io=asked.io,
        options=asked.options,
        shapes=asked.shapes,
        calibration=asked.calibration,
        trust_pickle=asked.trust_pickle,
        python=asked.python,
        compatibility=asked.compatibility,
        toolchains=toolchains_home(),
        arguments=_arguments(asked),
        deadline_s=asked.timeout,
        memory_limit=asked.memory_limit,
    )
    _check_words(asked)
    content = convert_folder(order, FolderDisplay())
    if asked.as_json:
        _print(content)
    else:
        show_folder(content, asked.out)
    return all(record["status"] == "ok" for record in content["models"])


def _check_words(asked: _Asked) -> None:
    """What is wrong for every model is told once, before any is converted."""
    any_model = BenchModel("any", {"onnx": Source("onnx", Path("any.onnx"))})
    find_wanted(any_model, asked.targets, asked.precisions, asked.io)
    with_own_data(any_model, {}, asked.calibration, trust_pickle=False, python=asked.python)


def _arguments(asked: _Asked) -> tuple[str, ...]:
    """The command line of a child that does one model of the folder."""
    options = asked.options
    valued = {
        "--to": asked.targets and ",".join(asked.targets),
        "--precision": ",".join(asked.precisions),
        "--io": asked.io,
        "--calibration": asked.calibration,
        "--opset": options.opset,
        "--batch": options.batch,
        "--dynamic-batch": ",".join(map(str, options.dynamic_batch)) or None,
        "--tolerance": repr(options.tolerance),
        "--via": options.via,
        "--python": asked.python,
        "--memory-limit": asked.memory_limit,
        "--timeout": asked.timeout,
    }
    flags = {
        "--allow-random-calibration": options.allow_random_calibration,
        "--trust-pickle": asked.trust_pickle,
        "--no-compatibility": not asked.compatibility,
        "--shared-shapes": True,
    }
    shapes_given = [f"{name}={','.join(map(str, shape))}" for name, shape in asked.shapes.items()]
    return (
        *(str(word) for name, value in valued.items() if value is not None for word in (name, value)),
        *(name for name, wanted in flags.items() if wanted),
        *(word for shape in shapes_given for word in ("--shape", shape)),
    )


def _batches(batch: int | None, dynamic_batch: str | None) -> tuple[int, ...]:
    found = numbers("--dynamic-batch", dynamic_batch) or ()
    if found and batch is not None:
        raise UsageError("--batch and --dynamic-batch contradict each other", "give one of them")
    return found


def _via(word: str | None) -> Format | None:
    if word not in (None, "onnx"):
        raise UsageError(f"--via {word}: there is no such way", "give onnx, or leave it out")
    return cast("Format | None", word)


def _given(name: str, value: Any, example: str) -> Any:
    if value is None:
        raise UsageError(f"{name} is missing", f"for example: {example}; see bench convert --help")
    return value


def _print(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
