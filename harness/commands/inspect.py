"""`bench inspect`: what a model holds, and what each runtime will say to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from convert.data.shapes import shape_text
from convert.sources.inspection import ModelInfo, TensorInfo, inspect_source
from harness.commands import console
from harness.commands.asked_model import asked_model
from harness.commands.option_values import shapes
from harness.conversion.conversion_records import failure_record, source_record
from harness.conversion.runtime_outlook import Outlook, outlooks
from harness.conversion.wanted import with_own_data
from harness.converter_errors import translated
from harness.errors import BenchError
from harness.places import workshop
from reports.plain_text import plain
from reports.units import size

EPILOG = "Example: bench inspect model.onnx"

#: Operators shown on a terminal; JSON has all.
_MOST_OPERATORS = 12
_VERDICT_STYLES = {"loads": "green", "by conversion": "none", "not": "red"}


def inspect(
    model: str = typer.Argument(
        metavar="MODEL",
        help="A model file, SavedModel folder, model.toml, package.module:factory or built-in model.",
    ),
    shape: list[str] = typer.Option(
        [], metavar="NAME=1,3,..", help="Shape of an input that leaves it open: name=1,3,224,224; repeatable."
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
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead."),
) -> None:
    """Show inputs, outputs, operators and size of a model, and what each runtime will say to it."""
    try:
        asked = with_own_data(
            asked_model(model, factory, weights),
            shapes(shape),
            None,
            trust_pickle=trust_pickle,
            python=python,
        )
        place = workshop(console.note)
        with translated(asked.name):
            infos = [inspect_source(source, place, asked.shapes) for source in asked.sources.values()]
    except BenchError as error:
        if as_json:
            _print({"format_version": 1, "sources": [], "failure": failure_record(error)})
        raise
    answers = [outlooks(info, place) for info in infos]
    if as_json:
        sources = [_content(asked.name, info, answer) for info, answer in zip(infos, answers, strict=True)]
        _print({"format_version": 1, "sources": sources})
        return
    for number, (info, answer) in enumerate(zip(infos, answers, strict=True)):
        if number:
            console.out.print()
        _show(info, answer)


def _content(name: str, info: ModelInfo, answers: Sequence[Outlook]) -> dict[str, Any]:
    return {
        **source_record(name, info),
        "bytes": sum(file.bytes for file in info.files),
        "operators": info.operators,
        "runtimes": [asdict(answer) for answer in answers],
    }


def _print(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))


def _show(info: ModelInfo, answers: Sequence[Outlook]) -> None:
    console.out.print(f"[bold]{_safe(info.source.name if info.source else info.path.name)}[/]")
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(info):
        facts.add_row(name, value)
    console.out.print(facts)
    table = Table(box=None, pad_edge=False)
    for name in ("runtime", "takes it", "can be made for it"):
        table.add_column(name, no_wrap=True)
    table.add_column("by")
    for answer in answers:
        style = _VERDICT_STYLES[answer.verdict]
        table.add_row(
            answer.runtime,
            f"[{style}]{answer.verdict}[/]",
            ", ".join(answer.precisions),
            "; else ".join(answer.routes),
        )
    console.out.print()
    console.out.print(table)
    for answer in answers:
        if answer.detail is not None:
            console.out.print(f"{answer.runtime}: {escape(plain(answer.detail, 2000))}", soft_wrap=True)


def _facts(info: ModelInfo) -> list[tuple[str, str]]:
    """Name and value of every line; text from the file made harmless."""
    facts = [("kind", info.kind), ("precision", info.precision)]
    facts += [("file" if number == 0 else "", line) for number, line in enumerate(_files(info))]
    facts.append(("sha256", info.sha256))
    if info.opset is not None:
        facts.append(("opset", str(info.opset)))
    if info.parameters is not None:
        facts.append(("parameters", f"{info.parameters:,}"))
    for side, tensors in (("inputs", info.inputs), ("outputs", info.outputs)):
        facts += [(side if number == 0 else "", _tensor(tensor)) for number, tensor in enumerate(tensors)]
    facts.append(("operators", _operators(info)))
    return facts


def _files(info: ModelInfo) -> list[str]:
    """Each file with its size, and their sum: the graph of a large ONNX model is the smaller part of it."""
    lines = [f"{_safe(file.name)}  {_bytes(file.bytes)}" for file in info.files]
    if len(info.files) > 1:
        lines.append(f"together  {_bytes(sum(file.bytes for file in info.files))}")
    return lines


def _bytes(count: int) -> str:
    return f"{size(count)} ({count:,} bytes)" if count >= 1024 else f"{count} bytes"


def _tensor(tensor: TensorInfo) -> str:
    words = [_safe(tensor.name), escape(plain(shape_text(tensor.shape))), tensor.dtype]
    if tensor.quantization is not None:
        words.append(f"scale {tensor.quantization[0]:g}, zero point {tensor.quantization[1]}")
    return "  ".join(words)


def _operators(info: ModelInfo) -> str:
    if not info.operators:
        return "not known"
    ordered = sorted(info.operators.items(), key=lambda entry: (-entry[1], entry[0]))
    shown = ", ".join(f"{_safe(name)} {count}" for name, count in ordered[:_MOST_OPERATORS])
    rest = len(ordered) - _MOST_OPERATORS
    return shown + (f" and {rest} more kinds" if rest > 0 else "")


def _safe(text: str) -> str:
    return escape(plain(text, 200))
