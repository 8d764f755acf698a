"""Examples from files: arrays in an .npz, or a folder of images, fitted to a model's inputs.

A labelled set serves accuracy, an unlabelled one calibration; both are the same type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.data.arrays import UNREADABLE_NPZ, arrays_sha256, read_npz
from convert.data.image_folder import load_image_folder
from convert.data.preprocessing import Preprocessing
from convert.data.shapes import is_state_like, shape_text
from convert.data.values import as_input_type
from convert.errors import DataError
from convert.sources.inspection import ModelInfo, TensorInfo

__all__ = ["Examples", "Preprocessing", "load_examples"]

_LABEL_NAMES = ("labels", "label", "y")

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Examples:
    """Inputs by canonical name, with labels if the source had some.

    `stacked` arrays are (examples, *input shape without its batch axis) and can be fed in batches of any
    size; otherwise they are (examples, *input shape), complete inputs.
    """

    inputs: dict[str, Array]
    examples: int
    stacked: bool
    #: First axis: examples.
    labels: Array | None
    #: File or folder name, for people.
    source: str
    #: Digest of inputs and labels, whatever file they came from.
    sha256: str


def load_examples(
    path: Path,
    info: ModelInfo,
    shapes: Mapping[str, tuple[int, ...]],
    preprocessing: Preprocessing | None,
) -> Examples:
    """The examples at `path`: an .npz by input name, or a folder of images for a model with one input.

    `shapes` are the resolved input shapes at any batch size. Raises DataError naming what does not fit.
    """
    if path.is_dir():
        arrays, labels = load_image_folder(path, info, shapes, preprocessing)
    elif path.suffix == ".npz":
        arrays, labels = _npz(path, info)
    else:
        what = "is not one" if path.exists() else "does not exist"
        raise DataError(
            f"a dataset is an .npz file or a folder of images; {path} {what}",
            reason="not_found" if not path.exists() else "unknown_format",
            remedy="Save arrays by input name with numpy.savez, labels as 'labels'",
        )
    return fitted_examples(arrays, labels, info, shapes, path.name)


def fitted_examples(
    arrays: Mapping[str, Array],
    labels: Array | None,
    info: ModelInfo,
    shapes: Mapping[str, tuple[int, ...]],
    source: str,
) -> Examples:
    """Arrays fitted to the inputs: types cast, axes of size 1 adapted, missing states filled with zeros."""
    count = _count(arrays, labels, source)
    typed = {
        tensor.name: as_input_type(arrays[tensor.name], tensor, source)
        for tensor in info.inputs
        if tensor.name in arrays
    }
    complete = all(_fits(array.shape[1:], shapes[name]) for name, array in typed.items())
    without_batch = all(_fits(array.shape[1:], shapes[name][1:]) for name, array in typed.items())
    # What fits neither way is refused below, in terms of single examples where the model has batches.
    stacked = _can_stack(info, shapes) and (without_batch or not complete)
    inputs = {}
    for tensor in info.inputs:
        shape = shapes[tensor.name][1:] if stacked else shapes[tensor.name]
        if tensor.name in typed:
            inputs[tensor.name] = _reshaped(typed[tensor.name], shape, tensor, shapes[tensor.name], source)
        else:
            inputs[tensor.name] = np.zeros((count, *shape), np.dtype(tensor.dtype))
    digest = arrays_sha256(inputs if labels is None else {**inputs, "\0labels": labels})
    return Examples(inputs, count, stacked, labels, source, digest)


def _npz(path: Path, info: ModelInfo) -> tuple[dict[str, Array], Array | None]:
    try:
        content = read_npz(path)
    except UNREADABLE_NPZ as error:
        raise DataError(
            f"{path} cannot be read as an .npz of plain arrays: {error}",
            reason="unreadable",
            remedy="Save it with numpy.savez, without objects",
        ) from error
    canonical = {alias: tensor.name for tensor in info.inputs for alias in (tensor.name, *tensor.aliases)}
    named_labels = [name for name in _LABEL_NAMES if name in content and name not in canonical]
    labels = content.pop(named_labels[0]) if named_labels else None
    arrays = {canonical[name]: array for name, array in content.items() if name in canonical}
    if not arrays and len(info.inputs) == 1 and len(content) == 1:
        arrays = {info.inputs[0].name: next(iter(content.values()))}
    missing = [t.name for t in info.inputs if t.name not in arrays and not is_state_like(t.name)]
    if missing or not arrays:
        raise DataError(
            f"{path} has the arrays {', '.join(map(repr, content)) or 'none'}, "
            f"but {info.path.name} needs {', '.join(map(repr, missing))}",
            reason="missing_inputs",
            remedy="Save one array for each input under the input's name",
        )
    return arrays, labels


def _count(arrays: Mapping[str, Array], labels: Array | None, source: str) -> int:
    """The number of examples, the same in every array."""
    everything = {**arrays, **({} if labels is None else {"labels": labels})}
    for name, array in everything.items():
        if array.ndim == 0:
            raise DataError(
                f"{name!r} in {source} is a single value, not one for each example", reason="wrong_shape"
            )
    counts = {name: len(array) for name, array in everything.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise DataError(
            f"the arrays of {source} differ in their number of examples: {found}", reason="wrong_shape"
        )
    count = next(iter(counts.values()))
    if count == 0:
        raise DataError(f"{source} holds no example", reason="no_examples")
    return count


def _can_stack(info: ModelInfo, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the first axis of every input is the batch, so that examples can be put together."""
    leading = {shapes[tensor.name][:1] for tensor in info.inputs}
    if len(leading) != 1 or leading == {()}:
        return False
    fixed = {tensor.shape[0] for tensor in info.inputs if isinstance(tensor.shape[0], int)}
    return fixed <= {1}


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether two shapes are the same but for axes of size 1."""
    return [size for size in found if size != 1] == [size for size in wanted if size != 1]


def _reshaped(
    array: Array, wanted: tuple[int, ...], tensor: TensorInfo, shape: tuple[int, ...], source: str
) -> Array:
    if not _fits(array.shape[1:], wanted):
        given = ",".join(map(str, (*shape[: len(shape) - len(wanted)], *array.shape[1:])))
        is_open = any(not isinstance(size, int) for size in tensor.shape[1:])
        raise DataError(
            f"{tensor.name!r} in {source} has examples of shape {array.shape[1:]}, "
            f"but the input {shape_text(tensor.shape)} takes {wanted}",
            reason="wrong_shape",
            remedy="Fit the data to the model"
            + (f", or the model to the data: --shape {tensor.name}={given}" if is_open else ""),
        )
    return array.reshape(len(array), *wanted)
