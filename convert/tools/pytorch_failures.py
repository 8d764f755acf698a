"""Says why a PyTorch model cannot be exported: which operator, in which module, and what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from convert.errors import ConversionFailed
from convert.tools.pytorch_calls import first_line, raise_if_out_of_memory, run
from convert.tools.pytorch_model import Prepared

Tensor = Any
Module = Any

#: How the exporters name an operator they lack.
_OPERATORS = (
    re.compile(r"operator '([\w:.]+)' to ONNX"),
    re.compile(r"unrecognized namespace ([\w:]+)"),
    re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'"),
    re.compile(r"Lowering not found: ([\w.]+)"),
    re.compile(r"ONNX export of operator (\w+)"),
    re.compile(r"Failed to export a node '.*? = (\w+::\w+)"),
    re.compile(r"Couldn't export operator ([\w:]+)"),
)
#: What tracers make of Python code that leaves torch; says nothing about the model.
_TRACES_OF_PYTHON = ("aten::lift_fresh", "prim::PythonOp", "aten.lift_fresh_copy.default")
_DATA_DEPENDENT = re.compile(r"[Cc]ould not (guard on|extract specialized integer from) data-dependent")
_USER_LINE = re.compile(r'File "([^"]+)", line (\d+), in \w+\n\s*(\S.*)')
_FIXED_BATCH = re.compile(r"Constraints violated|marked batch as dynamic|specialized.*batch", re.IGNORECASE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: The modules and the line that a traced node comes from.
_TRACED_PLACE = re.compile(r"scope: (\S+) # \S*?([^/\s]+:\d+):\d+")
_WHY = re.compile(
    r"operator \w+, (.+?)\. Please feel free|because (it is not constant)"
    r"|operator was (added in version \d+)"
)
_OVERLOAD = re.compile(r"^(\w+\.\w+)\.\w+$")


@dataclass(frozen=True)
class Recorded:
    """What one run of a model showed."""

    #: By name.
    outputs: dict[str, Tensor]
    #: torch.autograd.Function classes in use, in words.
    python_functions: tuple[str, ...]


def check_outputs(model: Prepared, wanted: Sequence[str]) -> Recorded:
    """Runs the model as it is; raises ConversionFailed if it fails or answers other outputs than `wanted`."""
    with _python_functions(model.module) as functions:
        outputs = run(model.module, model.inputs)
    if list(outputs) != list(wanted):
        raise ConversionFailed(
            f"{model.source.name} answers {', '.join(outputs)} with these shapes, before it was "
            + ", ".join(wanted),
            reason="outputs_differ",
            remedy="Let forward() return the same outputs for all inputs",
        )
    return Recorded(outputs, tuple(dict.fromkeys(functions)))


def export_failure(error: Exception, model: Prepared, recorded: Recorded, tool: str) -> ConversionFailed:
    """The error to raise for what an exporter raised."""
    raise_if_out_of_memory(error)
    words = "\n".join(_COLOURS.sub("", str(one)) for one in _causes(error))
    operator = next((found[1] for pattern in _OPERATORS if (found := pattern.search(words))), None)
    if recorded.python_functions and (operator is None or operator in _TRACES_OF_PYTHON):
        return python_function_failure(recorded, tool)
    if operator is not None:
        return _unsupported(operator, words, model, tool)
    if _DATA_DEPENDENT.search(words):
        return _data_dependent(words, tool)
    if _FIXED_BATCH.search(words):
        return ConversionFailed(
            f"the model cannot be exported with an open batch axis by {tool}: {first_line(_root(error))}",
            reason="batch_fixed",
            remedy="Convert for one batch size: --batch",
        )
    root = _root(error)
    return ConversionFailed(
        f"{tool} fails with {type(root).__name__}: {_COLOURS.sub('', first_line(root)).rstrip('.')}",
        reason="conversion_failed",
        remedy="Simplify what forward() does there, or export the model yourself and give the .onnx",
    )


def python_function_failure(recorded: Recorded, tool: str) -> ConversionFailed:
    """The error for a model that computes outside of torch."""
    return ConversionFailed(
        f"{tool} cannot follow {' and '.join(recorded.python_functions)}, whose forward() leaves torch",
        reason="unsupported_operator",
        remedy="Write it with torch functions only: what numpy or Python computes is in no exported graph",
    )


def _unsupported(operator: str, words: str, model: Prepared, tool: str) -> ConversionFailed:
    traced = _TRACED_PLACE.search(words)
    if traced is not None:
        *_, layer = traced[1].split("/")
        place = f" in {layer.split('::')[-1]} ({layer.split('::')[0].split('.')[-1]}, {traced[2]})"
    else:
        scope = scope_of(model, operator)
        place = f" in {scope}" if scope else ""
    why = _WHY.search(words)
    return ConversionFailed(
        f"{tool} does not support the operator {operator}{place}"
        + (f": {next(filter(None, why.groups()))}" if why else ""),
        reason="unsupported_operator",
        remedy="Replace it in the model by operators that the format has",
    )


def _data_dependent(words: str, tool: str) -> ConversionFailed:
    lines = _USER_LINE.findall(words)
    place = f": {lines[-1][2]!r} ({lines[-1][0]}:{lines[-1][1]})" if lines else ""
    return ConversionFailed(
        f"{tool} cannot export a model that decides by the values of its tensors{place}",
        reason="data_dependent",
        remedy="Write the decision with torch.where or torch.cond, or take it out of forward()",
    )


def scope_of(model: Prepared, operator: str) -> str | None:
    """The module in whose forward() an operator is first used, in words; None if that cannot be seen."""
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    wanted = _OVERLOAD.sub(r"\1", operator).replace("::", ".").rsplit(".", 1)[-1]
    seen: dict[str, str] = {}
    scopes: list[str] = []

    def look(name: str) -> None:
        if scopes:
            seen.setdefault(name, scopes[-1])

    class Functions(TorchFunctionMode):  # type: ignore[misc]
        """Sees functions before they are taken apart."""

        def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            look(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    class Operators(TorchDispatchMode):  # type: ignore[misc]
        """Sees the operators that are left then, registered ones of the user's among them."""

        def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            look(func.name().split("::")[-1].split(".")[0])
            return func(*args, **(kwargs or {}))

    # This only looks for words to an error that is there already: whatever goes wrong, nothing was seen.
    with contextlib.suppress(Exception), _scopes(model.module, scopes), Functions(), Operators():
        run(model.module, model.inputs)
    # Functions and operators go by parts of each other's names: special_bessel_j0 and bessel_j0,
    # grid_sample and grid_sampler.
    alike = (name for name in seen if name.endswith(f"_{wanted}") or wanted == f"{name}r")
    name = wanted if wanted in seen else next(alike, None)
    return None if name is None else seen[name]


@contextmanager
def _scopes(module: Module, scopes: list[str]) -> Iterator[None]:
    """Keeps in `scopes` which modules are running, the innermost last."""
    import torch

    hooks = []
    layers = [] if isinstance(module, torch.jit.ScriptModule) else list(module.named_modules())
    for name, layer in layers:
        label = f"{name} ({type(layer).__name__})" if name else type(layer).__name__
        hooks.append(layer.register_forward_pre_hook(lambda *_, label=label: scopes.append(label)))
        hooks.append(layer.register_forward_hook(lambda *_: scopes.pop() and None, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _python_functions(module: Module) -> Iterator[list[str]]:
    """The torch.autograd.Function classes that are applied meanwhile, and where."""
    import torch

    seen: list[str] = []
    scopes: list[str] = []
    original = torch.autograd.Function.__dict__["apply"]

    def apply(function: Any, *arguments: Any, **keywords: Any) -> Any:
        place = f" in {scopes[-1]}" if scopes else ""
        seen.append(f"{function.__name__} (a torch.autograd.Function{place})")
        return original.__func__(function, *arguments, **keywords)

    torch.autograd.Function.apply = classmethod(apply)
    try:
        with _scopes(module, scopes):
            yield seen
    finally:
        torch.autograd.Function.apply = original


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, itself first."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _root(error: BaseException) -> BaseException:
    return list(_causes(error))[-1]
