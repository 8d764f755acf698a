"""PyTorch to ONNX by torch's two exporters: the one that traces TorchScript, and the one built on dynamo."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

from convert.errors import ConversionFailed
from convert.steps import StepLog
from convert.tools.exchange import ToolRequest, made, read_request
from convert.tools.pytorch_calls import first_line, require, run
from convert.tools.pytorch_failures import Recorded, check_outputs, export_failure, python_function_failure
from convert.tools.pytorch_model import Prepared, prepare
from convert.tools.pytorch_onnx_graph import MOST_INLINE_BYTES, NO_INPUTS, Interface, finish, opset_of
from convert.tools.pytorch_pooling import exact_pooling

Tensor = Any

#: What is tried where no opset is asked for: the newest one that the TorchScript exporter makes well, then
#: those of older boards.
_OPSETS = (17, 13, 11)
#: The dynamo exporter is written for this opset and later ones.
_DYNAMO_OPSET = 18
_BATCH = "batch"
_MOST_BATCH = 64
_UNEVEN_POOLING = re.compile(
    r"adaptive_avg_pool\w*, (output size that are not factor|since output_size is not)"
)
_HARMLESS = re.compile(r"registered as constants in the trace")
#: Part of an answer's norm. fp32 arithmetic in another order stays far below, a decision frozen far above.
_ANOTHER_ANSWER = 0.01


@dataclass
class _Export:
    """One export: what is asked, the model, and what became known on the way."""

    asked: ToolRequest
    model: Prepared
    recorded: Recorded
    #: Names of outputs whose first axis is the batch.
    batched: tuple[str, ...]
    #: Whether the tracer saw Python code decide or compute, which it keeps as it was once.
    is_suspect: bool = False
    log: StepLog = field(default_factory=StepLog)

    @property
    def interface(self) -> Interface:
        return Interface(self.asked.inputs, self.asked.outputs, self.asked.dynamic_batch)

    @property
    def raw(self) -> Path:
        """What the exporter writes."""
        return self.asked.work / "exported.onnx"


def by_torchscript(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: the .onnx at request["output"] by the exporter that traces TorchScript."""
    export = _prepared(read_request(request), batch=None)
    wanted = export.asked.opset or _OPSETS[0]
    ladder = (wanted, *(opset for opset in _OPSETS if opset < wanted))
    failures: list[tuple[int, Exception]] = []
    for opset in ladder:
        try:
            _trace(export, opset)
            break
        except (MemoryError, ConversionFailed):
            raise
        except Exception as error:  # noqa: BLE001 - exporters raise classes of many kinds; all is told below
            failures.append((opset, error))
    else:
        tried = ", ".join(str(opset) for opset, _ in failures)
        tool = f"torch.onnx's TorchScript exporter (opset {tried})"
        raise export_failure(failures[0][1], export.model, export.recorded, tool) from failures[0][1]
    got = _finish(export)
    if export.is_suspect:
        _check_answers(export)
    _warn_of_opset(export, wanted, got, failures[0][1] if failures else None)
    return made(export.log)


def by_dynamo(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: the .onnx at request["output"] by the exporter built on torch.export."""
    asked = read_request(request)
    if asked.source.kind == "torchscript":
        raise ConversionFailed(
            f"{asked.source.name} is TorchScript, which torch.export does not read",
            reason="unsupported_source",
            remedy="The TorchScript exporter takes it",
        )
    require("onnxscript")
    # torch.export takes sizes of 1 as fixed, so an open axis is shown with another one.
    export = _prepared(asked, batch=2)
    try:
        _export_by_dynamo(export, max(_DYNAMO_OPSET, asked.opset or 0))
    except (MemoryError, ConversionFailed):
        raise
    except Exception as error:  # torch.export, its decompositions and onnxscript raise what they like
        tool = "torch.onnx's dynamo exporter"
        raise export_failure(error, export.model, export.recorded, tool) from error
    wanted = asked.opset or opset_of(export.raw)
    _warn_of_opset(export, wanted, _finish(export, wanted), None)
    return made(export.log)


def _prepared(asked: ToolRequest, batch: int | None) -> _Export:
    """The model, run once as it is, and with an open batch axis at another batch size too."""
    require("onnx")
    model = prepare(asked.source, asked.inputs)
    recorded = check_outputs(model, asked.outputs)
    if not asked.dynamic_batch:
        return _Export(asked, model, recorded, ())
    larger = {name: _with_batch(tensor, len(tensor) + 1) for name, tensor in model.inputs.items()}
    try:
        outputs = run(model.module, larger)
    except ConversionFailed as error:
        raise ConversionFailed(
            f"{asked.source.name} takes no other batch size: {error.message}",
            reason="batch_fixed",
            remedy="Convert for one batch size: --batch",
        ) from error
    batched = tuple(name for name in outputs if outputs[name].shape[:1] != recorded.outputs[name].shape[:1])
    if batch is not None:
        inputs = {name: _with_batch(tensor, max(batch, len(tensor))) for name, tensor in model.inputs.items()}
        model = Prepared(model.source, model.module, inputs)
    return _Export(asked, model, recorded, batched)


def _with_batch(tensor: Tensor, size: int) -> Tensor:
    """The tensor with its examples repeated up to `size`."""
    import torch

    if tensor.ndim == 0 or len(tensor) == 0:
        return tensor
    return torch.cat([tensor] * (-(-size // len(tensor))))[:size].contiguous()


def _trace(export: _Export, opset: int) -> None:
    """Writes export.raw, with uneven pooling by matrices where that is what the exporter stumbles over."""
    try:
        _trace_with(export, opset, contextlib.nullcontext())
    except Exception as error:  # the exporter raises what it likes; all but one cause goes on as it is
        if not _UNEVEN_POOLING.search(str(error)):
            raise
        replaced: list[str] = []
        _trace_with(export, opset, exact_pooling(replaced))
        for label in replaced:
            export.log.warnings.append(
                f"adaptive average pooling from {label} has windows of different sizes, which ONNX has no "
                "operator for: it became matrix products of the same result"
            )


def _trace_with(export: _Export, opset: int, mode: Any) -> None:
    import torch

    interface = export.interface
    dynamic = {name: {0: _BATCH} for name in (*interface.input_names, *export.batched)}
    module = export.model.positional().eval()
    if export.asked.source.kind == "torchscript":
        # The exporter takes a script as it is, but does not find its way into one that is a part of a module.
        module = torch.jit.trace(module, export.model.examples, check_trace=False)
    with (
        export.log.step("torch", f"torch.onnx.export, TorchScript, opset {opset}"),
        _tracer_warnings() as said,
        mode,
    ):
        torch.onnx.export(
            module,
            export.model.examples,
            str(export.raw),
            opset_version=opset,
            input_names=interface.input_names,
            output_names=list(interface.outputs),
            dynamic_axes=dynamic if export.asked.dynamic_batch else None,
            do_constant_folding=True,
            # Older versions of torch have this exporter only, and no word for it.
            **({"dynamo": False} if "dynamo" in signature(torch.onnx.export).parameters else {}),
        )
    export.is_suspect = bool(said or export.recorded.python_functions)
    export.log.warnings.extend(line for line in said if line not in export.log.warnings)


@contextmanager
def _tracer_warnings() -> Iterator[list[str]]:
    """What the tracer says meanwhile about lines of the model; about torch's own it is harmless."""
    import torch

    own = str(Path(torch.__file__).parent)
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    for one in caught:
        about_user = issubclass(one.category, torch.jit.TracerWarning) and not one.filename.startswith(own)
        if about_user and not _HARMLESS.search(str(one.message)):
            line = f"{Path(one.filename).name}:{one.lineno}: {str(one.message).split('. ')[0]}"
            if line not in said:
                said.append(line)


def _check_answers(export: _Export) -> None:
    """Raises ConversionFailed where the file answers other inputs than it was traced with in another way."""
    import numpy as np

    if find_spec("onnxruntime") is None:
        return  # an environment of the user's; the file is verified again by whoever asked for it
    import onnxruntime

    session = onnxruntime.InferenceSession(str(export.asked.output), providers=["CPUExecutionProvider"])
    for others in _other_inputs(export.model.examples):
        inputs = dict(zip(export.model.inputs, others, strict=True))
        try:
            wanted = [tensor.numpy() for tensor in run(export.model.module, inputs).values()]
        except ConversionFailed:
            continue  # made-up values may be none that the model takes
        feed = {name: tensor.numpy() for name, tensor in inputs.items()}
        for own, got in zip(wanted, session.run(None, feed), strict=True):
            far = own.shape != got.shape or np.linalg.norm(
                np.nan_to_num(own.astype(np.float64) - got).ravel()
            ) > _ANOTHER_ANSWER * np.linalg.norm(np.nan_to_num(own).ravel())
            if far:
                raise _unfaithful(export)


def _other_inputs(examples: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Inputs of the same shapes and other values, one with all signs the other way round."""
    return [
        tuple(-one if one.is_floating_point() else one for one in examples),
        tuple(one.flip(-1) * 0.5 + 1 if one.is_floating_point() and one.ndim else one for one in examples),
    ]


def _unfaithful(export: _Export) -> ConversionFailed:
    if export.recorded.python_functions:
        return python_function_failure(export.recorded, "torch.onnx's TorchScript exporter")
    return ConversionFailed(
        f"{export.model.source.name} decides by the values of its tensors, and a trace keeps one way only: "
        "for other inputs it answers something else",
        reason="data_dependent",
        remedy="Write the decision with torch.where or torch.cond, or take it out of forward()",
    )


def _export_by_dynamo(export: _Export, opset: int) -> None:
    import torch

    interface = export.interface
    shapes: Any = None
    if export.asked.dynamic_batch:
        batch = torch.export.Dim(_BATCH, min=1, max=_MOST_BATCH)
        # One entry, because the module takes all its tensors as *tensors.
        shapes = (tuple({0: batch} if one.ndim else {} for one in export.model.examples),)
    with export.log.step("torch", f"torch.onnx.export, dynamo, opset {opset}"), _no_progress():
        program = torch.onnx.export(
            export.model.positional().eval(),
            export.model.examples,
            dynamo=True,
            opset_version=opset,
            input_names=interface.input_names,
            output_names=list(interface.outputs),
            dynamic_shapes=shapes,
            verbose=False,
        )
        # Weights stay in the graph's own file where they fit: one without its data is worth nothing.
        program.save(str(export.raw), external_data=_is_large(export.model.module))


@contextmanager
def _no_progress() -> Iterator[None]:
    """The exporter tells its progress on stdout and warns of names it changes, which are put right later."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _is_large(module: Any) -> bool:
    tensors = (*module.parameters(), *module.buffers())
    total: int = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return total > MOST_INLINE_BYTES


def _finish(export: _Export, wanted: int | None = None) -> int:
    """Writes the file that was asked for, and says its opset."""
    with export.log.step("onnx", "names, checker"):
        try:
            return finish(export.raw, export.asked.output, export.interface, wanted, export.log.warnings)
        except ConversionFailed as error:
            if error.reason == NO_INPUTS and export.recorded.python_functions:
                raise python_function_failure(export.recorded, "torch.onnx") from error
            raise


def _warn_of_opset(export: _Export, wanted: int, got: int, why: Exception | None) -> None:
    if export.asked.opset is None and why is None:
        return
    if got != wanted:
        because = f": {first_line(why)}" if why is not None else ""
        asked = "asked for" if export.asked.opset is not None else "tried first"
        export.log.warnings.append(f"opset {wanted} was {asked}, the file has opset {got}{because}")
