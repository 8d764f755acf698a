"""Calls PyTorch modules by the names of their inputs and outputs, the same way in every tool."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from convert.errors import ConversionFailed, ConvertError, InvalidModel

#: torch.Tensor and torch.nn.Module; this file is imported where torch is not.
Tensor = Any
Module = Any

_FIRST_LINE_CHARACTERS = 300


@dataclass(frozen=True)
class Parameters:
    """What forward() of a module takes."""

    #: Names in the order of forward(), those with defaults last.
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    #: Of these, the names that can only be given by keyword.
    keyword_only: tuple[str, ...] = ()
    #: Whether forward() is written as *args, which has no names.
    variadic: bool = False


def parameters_of(module: Module) -> Parameters:
    """The parameters of forward(); of a TorchScript module those of its schema.

    A module whose signature does not say what it takes by keyword has these names in `keyword_inputs`.
    """
    schema = getattr(module.forward, "schema", None)
    if schema is not None:
        taken = [argument for argument in schema.arguments if argument.name != "self"]
        return Parameters(
            tuple(argument.name for argument in taken if not argument.has_default_value()),
            tuple(argument.name for argument in taken if argument.has_default_value()),
        )
    taken = list(inspect.signature(module.forward).parameters.values())
    named = [one for one in taken if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    return Parameters(
        tuple(one.name for one in named if one.default is one.empty),
        tuple(one.name for one in named if one.default is not one.empty),
        getattr(module, "keyword_inputs", ())
        or tuple(one.name for one in named if one.kind is one.KEYWORD_ONLY),
        variadic=any(one.kind is one.VAR_POSITIONAL for one in taken),
    )


def positional(module: Module, names: Sequence[str]) -> Module:
    """`module` as one that takes tensors in the order of `names` and answers a flat tuple of tensors.

    The one form all exporters understand, whatever the module itself takes and answers.
    """
    import torch

    parameters = parameters_of(module)
    order = (*parameters.required, *parameters.optional)
    # What comes in forward()'s own order needs no keyword, and *args has none.
    plain = len(names)
    if not parameters.variadic:
        same = [given == own for given, own in zip(names, order, strict=False)]
        plain = same.index(False) if False in same else len(same)
        plain = min([plain, *(names.index(name) for name in parameters.keyword_only if name in names)])

    class Positional(torch.nn.Module):  # type: ignore[misc]
        """Calls `wrapped` with tensors by their place."""

        def __init__(self) -> None:
            super().__init__()
            self.wrapped = module

        def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
            keywords = dict(zip(names[plain:], tensors[plain:], strict=True))
            return tuple(flatten_outputs(self.wrapped(*tensors[:plain], **keywords)).values())

    return Positional()


def run(module: Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Outputs by name for one set of inputs; raises ConversionFailed `execution_failed`."""
    import torch

    parameters = parameters_of(module)
    try:
        with torch.no_grad():
            if parameters.variadic:
                outputs = module(*inputs.values())
            else:
                by_place = [name for name in parameters.required if name not in parameters.keyword_only]
                leading = [inputs[name] for name in by_place if name in inputs]
                rest = {name: tensor for name, tensor in inputs.items() if name not in by_place}
                outputs = module(*leading, **rest)
    except MemoryError:
        raise
    except Exception as error:  # the code of the model is the user's and raises what it likes
        raise_if_out_of_memory(error)
        shapes = ", ".join(f"{name!r} {tuple(tensor.shape)}" for name, tensor in inputs.items())
        raise ConversionFailed(
            f"the model's forward() fails with inputs {shapes}: {type(error).__name__}: {first_line(error)}",
            reason="execution_failed",
            remedy="Check the shapes (--shape); types other than float32 come from example inputs, which a "
            "factory returns beside the module",
        ) from error
    return flatten_outputs(outputs)


def flatten_outputs(outputs: object) -> dict[str, Tensor]:
    """Tensors by name: a lone one is `output`, of a sequence `output_0`, ..., else keys and fields.

    Nested ones have dotted names, absent ones (None) are left out. Raises InvalidModel
    `non_tensor_output` for anything that is not a tensor.
    """
    import torch

    if isinstance(outputs, torch.Tensor):
        return {"output": outputs}
    parts = _parts(outputs)
    if parts is None:
        raise _non_tensor("output", outputs)
    is_sequence = isinstance(outputs, list | tuple) and not hasattr(outputs, "_fields")
    found: dict[str, Tensor] = {}
    for key, part in parts:
        for name, leaf in _leaves(f"output_{key}" if is_sequence else key, part):
            if not isinstance(leaf, torch.Tensor):
                raise _non_tensor(name, leaf)
            if name in found:
                raise InvalidModel(f"two outputs are both named {name!r}", reason="non_tensor_output")
            found[name] = leaf
    if not found:
        raise InvalidModel("forward() returns no tensor", reason="non_tensor_output")
    return found


def _leaves(name: str, value: object) -> Iterator[tuple[str, object]]:
    if value is None:
        return
    parts = _parts(value)
    if parts is None:
        yield name, value
    else:
        for key, part in parts:
            yield from _leaves(f"{name}.{key}", part)


def _parts(value: object) -> list[tuple[str, object]] | None:
    """Names and values of what holds other values, None for anything else."""
    if isinstance(value, Mapping):
        return [(str(key), part) for key, part in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, list | tuple):
        return [(str(i), part) for i, part in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    return None


def _non_tensor(name: str, value: object) -> InvalidModel:
    return InvalidModel(
        f"output {name!r} is {value!r:.80} ({type(value).__name__}), not a tensor",
        reason="non_tensor_output",
        remedy="Let forward() return tensors only, for example through a small module around the model",
    )


def dtype_name(tensor: Tensor) -> str:
    """The element type as numpy names it."""
    return str(tensor.dtype).removeprefix("torch.")


def first_line(error: BaseException) -> str:
    """The first line of what an error says that is not empty."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:_FIRST_LINE_CHARACTERS]


def raise_if_out_of_memory(error: BaseException) -> None:
    """Raises ConversionFailed `out_of_memory` for what torch says with a RuntimeError."""
    if "can't allocate memory" in str(error) or "bad_alloc" in str(error):
        raise ConversionFailed(
            f"not enough memory on this computer: {first_line(error)}",
            reason="out_of_memory",
            remedy="Free memory or use a smaller model or input",
        ) from error


def require(package: str, error: type[ConvertError] = ConversionFailed) -> None:
    """Raises `error` with reason `tool_missing` unless this interpreter has the package."""
    from importlib.util import find_spec
    from sys import executable

    if find_spec(package) is None:
        raise error(
            f"{executable} has no package {package!r}, which this conversion needs",
            reason="tool_missing",
            remedy=f"Install {package.replace('_', '-')} there, or leave --python out",
        )
