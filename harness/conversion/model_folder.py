"""Converts every model of a folder, each in a process of its own, and goes on where it stopped.

DIR/conversions.json        every model with its status, failure, artifacts, seconds and peak memory
DIR/<path of the model>/    what `bench convert` makes of it, see conversion_files.py
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.conversion.conversion_files import FILE_NAME, ConversionFolder, as_text
from harness.conversion.conversion_records import failure_record
from harness.conversion.convert_model import find_finished
from harness.conversion.folder_models import find_folder_models
from harness.conversion.model_process import ProcessEnd, run_bench
from harness.conversion.wanted import ConversionOptions, Wanted, find_wanted, with_own_data
from harness.errors import BenchError, UsageError
from harness.models import BenchModel, find_models
from reports.files import write_atomically

FORMAT_VERSION = 1
SUMMARY_NAME = "conversions.json"

Record = dict[str, Any]


@dataclass(frozen=True)
class FolderOrder:
    """What is to be made of every model of a folder."""

    folder: Path
    out: Path
    targets: tuple[str, ...] | None
    precisions: tuple[str, ...]
    io: str
    options: ConversionOptions
    shapes: Mapping[str, tuple[int, ...]]
    calibration: Path | None
    trust_pickle: bool
    python: Path | None
    compatibility: bool
    toolchains: Path
    #: Options of the child `bench convert`, all but the model and its folder.
    arguments: tuple[str, ...]
    deadline_s: float | None
    memory_limit: int | None


class FolderObserver(Protocol):
    """Is told how it goes."""

    def started(self, number: int, total: int, model: str) -> None:
        """A model's process is started."""

    def line(self, text: str) -> None:
        """What the process says meanwhile."""

    def ended(self, number: int, total: int, record: Record, *, found: bool) -> None:
        """A model is through; `found`: it was done before."""


def convert_folder(order: FolderOrder, observer: FolderObserver) -> Record:
    """The content of conversions.json, which is written after each model. Raises UsageError."""
    paths = find_folder_models(order.folder, order.out)
    if not paths:
        raise UsageError(f"--all {order.folder}: there is no model in it")
    earlier = _earlier(order.out / SUMMARY_NAME)
    records: dict[str, Record] = {}
    for number, path in enumerate(paths, 1):
        record = _finished(order, path, earlier.get(str(path)))
        found = record is not None
        if record is None:
            observer.started(number, len(paths), str(path))
            record = _convert(order, path, observer.line)
        records[str(path)] = record
        if not found or number == len(paths):
            # Those still to come keep what is known of them, should we be interrupted.
            later = [earlier[str(other)] for other in paths[number:] if str(other) in earlier]
            content = _write(order, [*records.values(), *later])
        observer.ended(number, len(paths), record, found=found)
    return content


def _finished(order: FolderOrder, path: Path, earlier: Record | None) -> Record | None:
    """The record of a model of which everything is there already."""
    try:
        model, wanted = _asked(order, path)
        folder = ConversionFolder(order.out / path)
        done = find_finished(
            model, wanted, order.options, folder, order.toolchains, compatibility=order.compatibility
        )
    except BenchError:
        return None
    if len(done) < len(wanted):
        return None
    record = _record(path, None, [_brief(done[entry]) for entry in wanted])
    for name in ("seconds", "peak_memory_bytes"):
        record[name] = earlier.get(name) if earlier else None
    return record


def _asked(order: FolderOrder, path: Path) -> tuple[BenchModel, tuple[Wanted, ...]]:
    (model,) = find_models([str(order.folder / path)])
    model = with_own_data(
        model,
        order.shapes,
        order.calibration,
        trust_pickle=order.trust_pickle,
        python=order.python,
    )
    return model, find_wanted(model, order.targets, order.precisions, order.io)


def _convert(order: FolderOrder, path: Path, tell: Callable[[str], None]) -> Record:
    try:
        model, wanted = _asked(order, path)
    except BenchError as error:
        return _record(path, failure_record(error), [])
    place = order.out / path
    arguments = ["convert", *order.arguments, "--json", "-o", str(place), "--", str(order.folder / path)]
    end = run_bench(arguments, deadline_s=order.deadline_s, memory_limit=order.memory_limit, tell=tell)
    try:
        artifacts = _artifacts(ConversionFolder(place), model.name, wanted)
    except BenchError:
        artifacts = []  # an unreadable conversion.json, which the child told of
    failure = _failure(end, order, path)
    if failure is None:
        failure = next((artifact["failure"] for artifact in artifacts if artifact["failure"]), None)
    record = _record(path, failure, artifacts)
    peaks = [artifact.pop("peak_memory_bytes", None) for artifact in artifacts]
    record["seconds"] = round(end.seconds, 3)
    record["peak_memory_bytes"] = max([end.peak_memory, *(peak for peak in peaks if peak)])
    return record


def _artifacts(folder: ConversionFolder, model: str, wanted: Sequence[Wanted]) -> list[Record]:
    """What the folder holds of the wanted artifacts, for the summary."""
    places = {(model, entry.word, entry.precision, entry.io) for entry in wanted}
    return [
        {**_brief(record), "peak_memory_bytes": record.get("peak_memory_bytes")}
        for record in folder.content()["artifacts"]
        if (record["model"], record["target"], record["precision"], record["io"]) in places
    ]


def _brief(record: Record) -> Record:
    names = ("target", "precision", "io", "status", "failure", "path", "sha256", "bytes")
    return {name: record.get(name) for name in names}


def _record(path: Path, failure: Record | None, artifacts: list[Record]) -> Record:
    return {
        "model": str(path),
        "status": "failed" if failure else "ok",
        "failure": failure,
        "conversion": str(path / FILE_NAME) if artifacts else None,
        "artifacts": artifacts,
        "seconds": None,
        "peak_memory_bytes": None,
    }


def _failure(end: ProcessEnd, order: FolderOrder, path: Path) -> Record | None:
    """What went wrong with the whole process; None where its artifacts tell."""
    if end.over_memory:
        return _named(
            "conversion",
            "out_of_memory",
            f"{path} needs more memory than it may have: bench held {end.peak_memory / 1e6:,.0f} MB, "
            f"the limit is {(order.memory_limit or 0) / 1e6:,.0f} MB",
            "Raise --memory-limit or use a smaller model or less calibration data",
        )
    if end.status is None:
        return _named(
            "timeout",
            "timeout",
            f"{path} did not end within {order.deadline_s:.0f} s and was stopped",
            "Raise --timeout",
        )
    with suppress(ValueError, KeyError, TypeError):
        failure: Record = json.loads(end.out)["failure"]
        return failure
    if end.status in (0, 3):
        return None
    how = f"crashed with {_signal(-end.status)}" if end.status < 0 else f"ended with status {end.status}"
    tail = f"; its last words: {end.last_words}" if end.last_words else ""
    if end.status == -signal.SIGKILL:
        return _named("conversion", "out_of_memory", f"{path}: bench was killed{tail}", "Free memory")
    return _named("infrastructure", "crashed", f"{path}: bench {how}{tail}", None)


def _named(class_: str, reason: str, message: str, remedy: str | None) -> Record:
    return {"class": class_, "reason": reason, "message": message, "remedy": remedy}


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _earlier(file: Path) -> dict[str, Record]:
    """The records of an earlier command by model; none if there is no readable one."""
    try:
        records = json.loads(file.read_text(encoding="utf-8"))["models"]
        return {record["model"]: record for record in records}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(order: FolderOrder, records: Sequence[Record]) -> Record:
    content = {"format_version": FORMAT_VERSION, "folder": str(order.folder), "models": list(records)}
    try:
        order.out.mkdir(parents=True, exist_ok=True)
        write_atomically(order.out / SUMMARY_NAME, as_text(content))
    except OSError as error:
        raise UsageError(f"-o {order.out}: cannot be written to: {error.strerror}") from error
    return content
