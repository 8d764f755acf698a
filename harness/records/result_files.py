"""Result files of a board: how large each may be, and arrays read without believing what they say."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.preparation import Workload

Array = NDArray[np.generic]

#: No result is larger: a board holds all outputs of a data set in memory before it saves them. Below 2 GiB a
#: zip file needs no 64-bit directory either.
MAX_RESULT_BYTES = (1 << 31) - 1

#: Headers of arrays and the directory of the file.
_OVERHEAD_BYTES = 1 << 20

#: What an element of an output takes at most.
_ELEMENT_BYTES = 8

_DIRECTORY_END = b"PK\x05\x06"
_DIRECTORY_END_BYTES = 22
_DIRECTORY_64 = b"PK\x06\x07"
_DIRECTORY_64_BYTES = 20


class DamagedResult(Exception):
    """A result file that cannot be read, or had better not be."""


def outputs_bound(workload: Workload, purpose: str) -> int:
    """How many bytes the outputs of a purpose may be, in the file and unpacked."""
    dataset = workload.check if purpose == "check" else workload.evaluation
    if workload.reference is None or dataset is None:
        return MAX_RESULT_BYTES
    elements = sum(math.prod(array.shape[1:]) for array in workload.reference.values())
    return min(MAX_RESULT_BYTES, dataset.examples * elements * _ELEMENT_BYTES + _OVERHEAD_BYTES)


def read_outputs(path: Path, names: Sequence[str], examples: int, bound: int) -> dict[str, Array]:
    """The arrays array_0, array_1, ... (examples, *shape) of an .npz under `names`; raises DamagedResult.

    Nothing is unpacked before the file's directory and the arrays' headers say how large it is, and that this
    is at most `bound` bytes.
    """
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), bound)
            return {name: _array(archive, f"array_{i}.npy", examples) for i, name in enumerate(names)}
    except DamagedResult:
        raise
    except Exception as error:  # zipfile and numpy raise nearly anything at a file that is made to hurt
        raise DamagedResult(f"{type(error).__name__}: {error}") from error


def _check_directory(path: Path) -> None:
    """A zip file's directory costs ten times its size when it is read; numpy's are some hundred bytes."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _DIRECTORY_END_BYTES - _DIRECTORY_64_BYTES))
        tail = file.read()
    end = tail[-_DIRECTORY_END_BYTES:]
    if not end.startswith(_DIRECTORY_END) or tail.startswith(_DIRECTORY_64):
        raise DamagedResult("it is no .npz file as numpy writes them")
    if int.from_bytes(end[12:16], "little") > _OVERHEAD_BYTES:
        raise DamagedResult(f"its directory is longer than {_OVERHEAD_BYTES} bytes")


def _check_members(members: Sequence[zipfile.ZipInfo], bound: int) -> None:
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DamagedResult(f"{member.filename[:80]!r} is packed in a way that no agent uses")
    unpacked = sum(member.file_size for member in members)
    if unpacked > bound:
        raise DamagedResult(f"it unpacks to {unpacked} bytes, where there can be {bound}")


def _array(archive: zipfile.ZipFile, name: str, examples: int) -> Array:
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
        content = archive.getinfo(name).file_size - member.tell()
    numbers = dtype.kind in "biuf" and all(length >= 0 for length in shape)
    if not numbers or math.prod(shape) * dtype.itemsize != content:
        described = f"an array {str(shape)[:80]} of {str(dtype)[:40]}"
        raise DamagedResult(f"{name} says that it is {described}, which its {content} bytes are not")
    if shape[:1] != (examples,):
        raise DamagedResult(f"{name} has the shape {str(shape)[:80]}, and there are {examples} examples")
    with archive.open(name) as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False)
    return array
