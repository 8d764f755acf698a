"""How the inputs and outputs of an artifact relate to those of its source: names, layout, integers.

Everything outside of a conversion speaks of the source's tensors. Arrays turn into what an artifact takes
just before they go to it, and its answers into the source's terms before anything is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.data.values import as_input_type
from convert.sources.inspection import TensorInfo

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class TensorMap:
    """A tensor of an artifact, and the source's tensor that it is.

    `permutation`: artifact = source.transpose(permutation), over all axes of the tensor itself.
    """

    name: str
    source: str
    permutation: tuple[int, ...] | None = None


def identity(tensors: Iterable[TensorInfo]) -> tuple[TensorMap, ...]:
    """The maps of an artifact that has its source's interface."""
    return tuple(TensorMap(tensor.name, tensor.name) for tensor in tensors)


def composed(first: Sequence[TensorMap], second: Sequence[TensorMap]) -> tuple[TensorMap, ...]:
    """The maps of an artifact (`second`) made from a model that was made from the source (`first`)."""
    origin = {entry.name: entry for entry in first}
    return tuple(
        TensorMap(entry.name, origin[entry.source].source, _chained(origin[entry.source], entry))
        for entry in second
    )


def _chained(first: TensorMap, second: TensorMap) -> tuple[int, ...] | None:
    if first.permutation is None or second.permutation is None:
        return second.permutation or first.permutation
    both = tuple(first.permutation[axis] for axis in second.permutation)
    return None if both == tuple(range(len(both))) else both


def to_artifact(
    arrays: Mapping[str, NDArray[np.generic]], maps: Sequence[TensorMap], *, stacked: bool = False
) -> Arrays:
    """Arrays (examples, *source shape) by source name as (examples, *artifact shape) by artifact name.

    With `stacked` the examples lie along the tensor's own first axis.
    """
    return {
        entry.name: np.ascontiguousarray(
            np.transpose(arrays[entry.source], _axes(entry.permutation, arrays[entry.source].ndim, stacked))
        )
        for entry in maps
    }


def to_source(
    arrays: Mapping[str, NDArray[np.generic]], maps: Sequence[TensorMap], *, stacked: bool = False
) -> Arrays:
    """Arrays (examples, *artifact shape) by artifact name as (examples, *source shape) by source name."""
    result: Arrays = {}
    for entry in maps:
        array = arrays[entry.name]
        axes = _axes(entry.permutation, array.ndim, stacked)
        result[entry.source] = np.transpose(array, np.argsort(axes))
    return result


def _axes(permutation: tuple[int, ...] | None, rank: int, stacked: bool) -> list[int]:
    if permutation is None:
        return list(range(rank))
    return list(permutation) if stacked else [0, *(axis + 1 for axis in permutation)]


def as_fed(arrays: Mapping[str, NDArray[np.generic]], inputs: Sequence[TensorInfo]) -> Arrays:
    """Arrays by artifact name in the types its inputs take; floats for integer inputs are quantised."""
    return {
        tensor.name: as_input_type(np.asarray(arrays[tensor.name]), tensor, "the inputs") for tensor in inputs
    }


def as_numbers(arrays: Mapping[str, NDArray[np.generic]], outputs: Sequence[TensorInfo]) -> Arrays:
    """Outputs by artifact name, those of a quantised type as the numbers they stand for."""
    scales = {tensor.name: tensor.quantization for tensor in outputs}
    return {name: dequantized(array, scales.get(name)) for name, array in arrays.items()}


def dequantized(array: NDArray[np.generic], quantization: tuple[float, int] | None) -> NDArray[np.generic]:
    """Real values of a quantised array; others as they are."""
    if quantization is None or array.dtype.kind not in "iu":
        return array
    scale, zero_point = quantization
    real: NDArray[np.generic] = ((array.astype(np.float64) - zero_point) * scale).astype(np.float32)
    return real


def maps_to_json(maps: Sequence[TensorMap]) -> list[dict[str, Any]]:
    """Plain JSON values."""
    return [
        {"name": m.name, "source": m.source, "permutation": m.permutation and list(m.permutation)}
        for m in maps
    ]


def maps_from_json(content: Iterable[Mapping[str, Any]]) -> tuple[TensorMap, ...]:
    """What maps_to_json wrote."""
    return tuple(
        TensorMap(
            entry["name"], entry["source"], tuple(entry["permutation"]) if entry["permutation"] else None
        )
        for entry in content
    )
