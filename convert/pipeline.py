"""One conversion in the worker process: walk the ways until one makes an artifact that agrees."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convert.cache import file_sha256
from convert.data.arrays import load_arrays
from convert.errors import ConversionFailed, ConvertError
from convert.interface import as_fed, as_numbers
from convert.job import Arrays, Job, Way
from convert.paths import find_ways
from convert.proofs.divergence import explain
from convert.proofs.execution import run_model
from convert.proofs.verification import OutputAgreement, compare_outputs, find_doubt, find_fault
from convert.sources.inspection import (
    ModelFile,
    ModelInfo,
    combined_sha256,
    info_from_inspection,
    info_from_json,
    info_to_json,
)
from convert.steps import StepLog

_RUNTIME_PACKAGE = {"onnx": "onnxruntime", "tflite": "ai-edge-litert"}


class _Task:
    """The request of the parent: what to convert, to what, and what it is judged by."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.source = info_from_json(request["info"], Path(request["source"]))
        self.target: str = request["target"]
        self.precision: str = request["precision"]
        self.io: str = request["io"]
        self.opset: int | None = request["opset"]
        self.folder = Path(request["folder"])
        self.checks = _arrays(request["checks"])
        self.calibration = _arrays(request["calibration"]) if request["calibration"] else None
        self.log = StepLog()
        if request["reference"]:
            self.reference = _arrays(request["reference"])
        else:
            with self.log.step(_RUNTIME_PACKAGE[self.source.kind], "fp32 reference"):
                self.reference = run_model(self.source, self.checks)
        #: Inputs that are not square and the reference for them; None where sides are fixed.
        self.wide = self._wide(request["wide"])

    def _wide(self, saved: list[Any] | None) -> tuple[Arrays, Arrays] | None:
        if saved is None:
            return None
        inputs = _arrays(saved)
        try:
            return inputs, run_model(self.source, inputs)
        except ConvertError:
            # Sides that are open in the file but not in truth (a flatten behind them): nothing to compare.
            return None


def make_artifact(request: dict[str, Any]) -> dict[str, Any]:
    """The content of the artifact's cache entry; its files lie in request["folder"]."""
    task = _Task(request)
    failures: list[ConvertError] = []
    for way in find_ways(task.source, task.target, task.precision):
        work, result = task.folder / "work", task.folder / "result"
        for place in (work, result):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        output = result / f"model.{task.source.kind}"
        job = Job(task.source, work, output, task.calibration, task.log, task.io, task.opset)
        try:
            _make(way, job)
            content = _verified(output, task)
        except ConvertError as error:
            failures.append(error)
            task.log.warnings.append(f"{_described(way)} failed: {error.message}")
            continue
        shutil.rmtree(work)
        return {**content, "converter": _described(way)}
    raise _all_failed(task, failures)


def verify_artifact(request: dict[str, Any]) -> dict[str, Any]:
    """The content of the entry of a file that a tool has made, request["made"].

    Where only its toolchain can run it, request["answers"] has what it answered to the checks.
    """
    task, made = _Task(request), Path(request["made"])
    if request.get("answers"):
        return _verified_by_answers(made, task, _arrays(request["answers"]))
    return _verified(made, task)


def _verified_by_answers(output: Path, task: _Task, answers: Arrays) -> dict[str, Any]:
    agreement = compare_outputs(task.reference, answers)
    fault = find_fault(agreement, task.precision)
    if fault:
        raise ConversionFailed(fault, reason="verification_failed")
    others = (file for file in output.parent.iterdir() if file != output)
    files = tuple(_file(path) for path in (output, *sorted(others)))
    info = replace(
        task.source,
        kind="openvino",
        path=output,
        files=files,
        sha256=combined_sha256(files[0], files[1:]),
        opset=None,
        precision=task.precision,
        source=None,
    )
    return _entry(task, output, info, agreement)


def _file(path: Path) -> ModelFile:
    return ModelFile(path.name, path, file_sha256(path), path.stat().st_size)


def _entry(
    task: _Task, output: Path, info: ModelInfo, agreement: tuple[OutputAgreement, ...]
) -> dict[str, Any]:
    doubt = find_doubt(agreement, task.precision)
    return {
        "file": str(output.relative_to(task.folder)),
        "info": info_to_json(info),
        "steps": [asdict(step) for step in task.log.steps],
        "agreement": [asdict(output) for output in agreement],
        "warnings": [*task.log.warnings, *([doubt] if doubt else [])],
    }


def _make(way: Way, job: Job) -> None:
    try:
        way.make(job)
    except ConvertError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # converters raise what they like; the next way is tried
        raise ConversionFailed(f"{type(error).__name__}: {error}", reason="conversion_failed") from error


def _verified(output: Path, task: _Task) -> dict[str, Any]:
    """What is kept of an artifact that agrees; raises ConvertError for one that does not."""
    from convert.sources.model_file import inspect_file

    info = info_from_inspection(inspect_file(output), output)
    _check_interface(task, info)
    _check_precision(task, info)
    with task.log.step(_RUNTIME_PACKAGE[info.kind], "verification"):
        fed = as_fed(task.checks, info.inputs)
        outputs = run_model(info, fed)
    agreement = _agreement(task, info, outputs)
    fault = find_fault(agreement, task.precision) or _wide_fault(task, info)
    if fault:
        where = _where(task, info, fed)
        raise ConversionFailed(fault + (f"; {where}" if where else ""), reason="verification_failed")
    return _entry(task, output, info, agreement)


def _wide_fault(task: _Task, info: ModelInfo) -> str | None:
    """What is wrong with the outputs for inputs that are not square."""
    if task.wide is None:
        return None
    inputs, reference = task.wide
    outputs = run_model(info, as_fed(inputs, info.inputs))
    fault = find_fault(compare_outputs(reference, outputs), task.precision)
    shapes = ", ".join(f"{name!r} {array.shape[1:]}" for name, array in inputs.items())
    return f"with inputs {shapes} {fault}" if fault else None


def _agreement(task: _Task, info: ModelInfo, outputs: Arrays) -> tuple[OutputAgreement, ...]:
    aliases = {output.name: output.aliases for output in task.source.outputs}
    if task.io != "float":
        return compare_outputs(task.reference, as_numbers(outputs, info.outputs), aliases)
    scales = {output.name: output.quantization for output in task.source.outputs if output.quantization}
    return compare_outputs(task.reference, outputs, aliases, scales)


def _where(task: _Task, info: ModelInfo, fed: Arrays) -> str | None:
    """Which layer disagrees first, for the message of a verification that failed."""
    given = {name: array[0] for name, array in task.checks.items()}
    return explain(
        task.source.kind,
        task.source.path,
        info.kind,
        info.path,
        given,
        {name: array[0] for name, array in fed.items()},
        task.precision,
    )


def _check_interface(task: _Task, made: ModelInfo) -> None:
    """An artifact takes and gives what its base does, under the same names, in the types asked for."""
    sides = (("inputs", task.source.inputs, made.inputs), ("outputs", task.source.outputs, made.outputs))
    for side, before, after in sides:
        expected = sorted(
            (tensor.name, len(tensor.shape), _dtype(tensor.dtype, task.io)) for tensor in before
        )
        found = sorted((tensor.name, len(tensor.shape), tensor.dtype) for tensor in after)
        if expected != found:
            raise ConversionFailed(
                f"the {side} changed from {expected} to {found}", reason="verification_failed"
            )
        unscaled = [t.name for t in after if task.io != "float" and t.dtype == task.io and not t.quantization]
        if unscaled:
            raise ConversionFailed(
                f"the {side} {', '.join(map(repr, unscaled))} are {task.io} without a scale",
                reason="verification_failed",
            )


def _dtype(base: str, io: str) -> str:
    return io if io != "float" and base == "float32" else base


def _check_precision(task: _Task, made: ModelInfo) -> None:
    """Quantizers pass over what they do not know; a file that is still fp32 must not be sold as int8.

    Without weights to tell by, unchanged operators tell that nothing was converted.
    """
    source = task.source
    untouched = not source.parameters and made.operators == source.operators
    if made.precision == "fp32" != task.precision and (source.parameters or untouched):
        raise ConversionFailed(
            f"the result is still fp32: hardly any weight of {source.path.name} "
            f"could be made {task.precision}",
            reason="precision_not_reached",
            remedy=f"Its operators are {', '.join(source.operators)}; measure it in fp32",
        )


def _arrays(named: list[Any]) -> Arrays:
    file, names = named
    return load_arrays(Path(file), names)


def _described(way: Way) -> str:
    """The way's description with the versions of the packages it names."""
    text = way.description
    for package in ("onnxslim", "onnxruntime", "ai-edge-quantizer"):
        if f"{{{package}}}" in text:
            text = text.replace(f"{{{package}}}", version(package))
    return text


def _all_failed(task: _Task, failures: list[ConvertError]) -> ConversionFailed:
    last = failures[-1]
    reasons = "; ".join(dict.fromkeys(failure.message for failure in failures))
    return ConversionFailed(
        f"{task.source.path.name} could not be made into {task.precision} for {task.target}: {reasons}",
        reason=last.reason,
        remedy=last.remedy or "Choose another precision, or give a model that has it already",
    )
