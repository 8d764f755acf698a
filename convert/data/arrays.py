"""Named arrays as files: exchange between processes, and their digest."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.errors import InvalidModel

#: What a missing, damaged or foreign file raises.
UNREADABLE_NPZ = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def arrays_sha256(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Digest of names, types, shapes and values, whatever the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.str}\0{arrays[name].shape}\0".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def save_arrays(file: Path, arrays: Mapping[str, NDArray[np.generic]]) -> list[str]:
    """Writes the arrays by position and returns their names: a tensor's name may hold a `/`."""
    numbered = {f"array_{i}": array for i, array in enumerate(arrays.values())}
    with file.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **numbered)
    return list(arrays)


def load_arrays(file: Path, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """What save_arrays wrote; raises UNREADABLE_NPZ or KeyError for anything else."""
    archive = read_npz(file)
    return {name: archive[f"array_{i}"] for i, name in enumerate(names)}


def read_npz(file: Path) -> dict[str, NDArray[np.generic]]:
    """All arrays of an .npz by name; raises UNREADABLE_NPZ for anything else, objects included."""
    # The stream is ours: numpy leaves it open when the archive turns out to be damaged.
    with file.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array without a name")  # noqa: TRY004 - the file is wrong
        return {name: archive[name] for name in archive.files}


def stacked_outputs(name: str, outputs: list[NDArray[np.generic]]) -> NDArray[np.generic]:
    """One output of all examples as (examples, *shape); raises InvalidModel where its shape varies."""
    shapes = sorted({output.shape for output in outputs})
    if len(shapes) > 1:
        raise InvalidModel(
            f"output {name!r} changes its shape with the values of the input: " + ", ".join(map(str, shapes)),
            reason="variable_output",
            remedy="Export the model with outputs of a fixed size (detections: a fixed number, padded)",
        )
    return np.stack(outputs)
