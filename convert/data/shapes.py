"""A concrete shape for every model input: what was asked for, the batch size, and stated guesses.

Where a dimension is dynamic, in this order:
1  the shape the user gave (`--shape name=1,3,224,224`), whose named dimensions hold everywhere
2  the batch axis becomes the batch size: dimensions named batch, N, ...; else the leading one
3  lengths of a past or cache become 0 (a first call), `a + b` the sum of its parts
4  heights and widths of images become 224, sequence lengths 128
and anything else is an error that shows what to give.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from convert.errors import ConversionFailed, DataError
from convert.sources.inspection import ModelInfo, TensorInfo

#: Inputs that carry the state of an earlier call; zeros are what a first call gives them.
_STATE_NAME = re.compile(r"state|hidden|cell|past|cache|(?:^|[^a-z])[hc]_?[0x](?:$|[^a-z0-9])", re.IGNORECASE)
_BATCH_NAME = re.compile(r"^(n|bs|bsz|.*batch.*)$", re.IGNORECASE)
_PAST_NAME = re.compile(r"past|cache", re.IGNORECASE)
_SEQUENCE_NAME = re.compile(r"seq|length|time|frames|tokens|^(t|l|s)$", re.IGNORECASE)
_IMAGE_SIDE_NAME = re.compile(r"height|width|^(h|w)$|image_size", re.IGNORECASE)
_IMAGE_SIDE = 224
_SEQUENCE_LENGTH = 128
_CHANNELS = (1, 3, 4)

Dim = int | str | None


@dataclass(frozen=True)
class ResolvedShapes:
    """Concrete shapes by input name, and what was guessed: dimension -> words for a person."""

    shapes: dict[str, tuple[int, ...]]
    guessed: dict[str, str] = field(default_factory=dict)


def resolve_shapes(
    info: ModelInfo, requested: Mapping[str, tuple[int, ...]], batch_size: int
) -> ResolvedShapes:
    """Shapes of all inputs at `batch_size`.

    A requested shape wins; its batch axis may be 1, which stands for any batch size. Raises DataError
    (unknown input, rank or fixed dimension that differs, `shape_needed`) and ConversionFailed
    `batch_fixed` when the model cannot run at that batch size.
    """
    return _Resolution(info, requested, batch_size).result()


class _Resolution:
    """The state of resolving one model: values of named dimensions, and guesses made so far."""

    def __init__(self, info: ModelInfo, requested: Mapping[str, tuple[int, ...]], batch_size: int) -> None:
        self.info = info
        self.batch_size = batch_size
        self.symbols: dict[str, int] = {}
        self.guessed: dict[str, str] = {}
        self.batch_axes = _batch_axes(info)
        self.requested = _by_canonical_name(info, requested)
        if batch_size > 1 and not any(self.batch_axes.values()):
            raise _batch_fixed(info, batch_size)

    def result(self) -> ResolvedShapes:
        for tensor in self.info.inputs:
            self._bind_batch(tensor)
            if tensor.name in self.requested:
                self._bind_requested(tensor, self.requested[tensor.name])
        shapes = {tensor.name: self._shape(tensor) for tensor in self.info.inputs}
        return ResolvedShapes(shapes, self.guessed)

    def _bind_batch(self, tensor: TensorInfo) -> None:
        for axis in self.batch_axes[tensor.name]:
            dim = tensor.shape[axis]
            if isinstance(dim, str):
                self.symbols[dim] = self.batch_size

    def _bind_requested(self, tensor: TensorInfo, shape: tuple[int, ...]) -> None:
        """Checks a requested shape and makes its named dimensions hold everywhere."""
        if len(shape) != len(tensor.shape) or any(size < 0 for size in shape):
            raise _mismatch(tensor, shape, f"the model has {len(tensor.shape)} dimensions there")
        for axis, (dim, size) in enumerate(zip(tensor.shape, shape, strict=True)):
            if axis in self.batch_axes[tensor.name]:
                if size not in (1, self.batch_size):
                    raise _mismatch(tensor, shape, f"the batch size is {self.batch_size}")
            elif isinstance(dim, int) and dim != size:
                raise _mismatch(tensor, shape, f"dimension {axis} is fixed at {dim}")
            elif isinstance(dim, str) and self.symbols.setdefault(dim, size) != size:
                raise _mismatch(tensor, shape, f"{dim!r} is {self.symbols[dim]} already")

    def _shape(self, tensor: TensorInfo) -> tuple[int, ...]:
        requested = self.requested.get(tensor.name)
        sizes = []
        for axis, dim in enumerate(tensor.shape):
            if axis in self.batch_axes[tensor.name]:
                sizes.append(self.batch_size)
            elif isinstance(dim, int):
                sizes.append(dim)
            elif requested is not None:
                sizes.append(requested[axis])
            else:
                sizes.append(self._dynamic(tensor, axis))
        return tuple(sizes)

    def _dynamic(self, tensor: TensorInfo, axis: int) -> int:
        dim = tensor.shape[axis]
        if isinstance(dim, str):
            known = self._known(dim)
            if known is not None:
                return known
        size = _default(tensor, axis)
        if size is None:
            raise _shape_needed(tensor, self.batch_size, self.batch_axes[tensor.name])
        if isinstance(dim, str):
            self.symbols[dim] = size
        label = dim if isinstance(dim, str) else f"{tensor.name}[{axis}]"
        self.guessed[label] = f"{label} = {size}"
        return size

    def _known(self, symbol: str) -> int | None:
        """The value of a named dimension, or of a sum of named dimensions and numbers."""
        if symbol in self.symbols:
            return self.symbols[symbol]
        if "+" not in symbol:
            return None
        total = 0
        for part in (part.strip() for part in symbol.split("+")):
            value = int(part) if part.isdecimal() else self.symbols.get(part, _named_default(part))
            if value is None:
                return None
            total += value
        return total


def is_state_like(name: str) -> bool:
    """Whether an input of this name carries recurrent state, which starts as zeros."""
    return _STATE_NAME.search(name) is not None


def _batch_axes(info: ModelInfo) -> dict[str, tuple[int, ...]]:
    """The axes of each input that carry the batch and can be set."""
    named = any(_is_batch_name(dim) for tensor in info.inputs for dim in tensor.shape)
    leading = {tensor.shape[0] for tensor in info.inputs if tensor.shape}
    leading_names = set() if named else {dim for dim in leading if isinstance(dim, str)}
    axes = {}
    for tensor in info.inputs:
        found = [
            axis
            for axis, dim in enumerate(tensor.shape)
            if _is_batch_name(dim) or dim in leading_names or (axis == 0 and dim is None)
        ]
        if not found and _is_state_layout(tensor):
            found = [1]
        axes[tensor.name] = tuple(found)
    if not any(axes.values()) and info.kind == "tflite":
        # TFLite inputs can be resized although the file gives them a fixed size.
        return {tensor.name: (0,) if tensor.shape[:1] == (1,) else () for tensor in info.inputs}
    return axes


def _is_batch_name(dim: Dim) -> bool:
    return isinstance(dim, str) and "+" not in dim and _BATCH_NAME.match(dim) is not None


def _is_state_layout(tensor: TensorInfo) -> bool:
    """Recurrent states are (layers, batch, size)."""
    return is_state_like(tensor.name) and len(tensor.shape) == 3 and tensor.shape[1] is None


def _default(tensor: TensorInfo, axis: int) -> int | None:
    dim = tensor.shape[axis]
    if isinstance(dim, str) and (size := _named_default(dim)) is not None:
        return size
    rank = len(tensor.shape)
    if is_state_like(tensor.name):
        # keys and values of attention are (batch, heads, past length, size)
        return 0 if rank == 4 and axis == 2 else None
    if rank == 4 and tensor.dtype in ("float32", "float16", "uint8", "int8"):
        if tensor.shape[1] in _CHANNELS and axis in (2, 3):
            return _IMAGE_SIDE
        if tensor.shape[3] in _CHANNELS and axis in (1, 2):
            return _IMAGE_SIDE
    if rank == 2 and axis == 1 and tensor.dtype in ("int64", "int32"):
        return _SEQUENCE_LENGTH
    return None


def _named_default(name: str) -> int | None:
    if _PAST_NAME.search(name) and "total" not in name.lower():
        return 0
    if _IMAGE_SIDE_NAME.search(name):
        return _IMAGE_SIDE
    if _SEQUENCE_NAME.search(name):
        return _SEQUENCE_LENGTH
    return None


def _by_canonical_name(
    info: ModelInfo, requested: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    canonical = {alias: tensor.name for tensor in info.inputs for alias in (tensor.name, *tensor.aliases)}
    unknown = sorted(set(requested) - set(canonical))
    if unknown:
        raise DataError(
            f"a shape was given for {', '.join(map(repr, unknown))}, but the inputs of {info.path.name} are "
            + ", ".join(f"{tensor.name!r}" for tensor in info.inputs),
            reason="unknown_input",
            remedy="Use one of these names in --shape",
        )
    return {canonical[name]: tuple(shape) for name, shape in requested.items()}


def shape_text(shape: tuple[Dim, ...]) -> str:
    """A shape as messages show it: dynamic dimensions by name, or ? where they have none."""
    return "(" + ", ".join("?" if dim is None else str(dim) for dim in shape) + ")"


def _mismatch(tensor: TensorInfo, shape: tuple[int, ...], why: str) -> DataError:
    given = ",".join(map(str, shape))
    return DataError(
        f"shape {given} was given for input {tensor.name!r} {shape_text(tensor.shape)}: {why}",
        reason="shape_mismatch",
        remedy=f"Give a shape that fits {shape_text(tensor.shape)}",
    )


def _shape_needed(tensor: TensorInfo, batch_size: int, batch_axes: tuple[int, ...]) -> DataError:
    example = ",".join(
        str(batch_size) if axis in batch_axes else str(dim) if isinstance(dim, int) else str(_IMAGE_SIDE)
        for axis, dim in enumerate(tensor.shape)
    )
    return DataError(
        f"input {tensor.name!r} has the shape {shape_text(tensor.shape)}, which leaves sizes open",
        reason="shape_needed",
        remedy=f"Give its size, for example: --shape {tensor.name}={example}",
    )


def _batch_fixed(info: ModelInfo, batch_size: int) -> ConversionFailed:
    shapes = ", ".join(f"{tensor.name!r} {shape_text(tensor.shape)}" for tensor in info.inputs)
    return ConversionFailed(
        f"{info.path.name} cannot run with batch size {batch_size}: its inputs are fixed at {shapes}",
        reason="batch_fixed",
        remedy="Export the model with a dynamic batch axis, or use --batch 1",
    )
