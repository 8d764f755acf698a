"""Which models there are in a folder: files by their suffix, SavedModel folders, and model.toml."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UsageError

_SUFFIXES = (".onnx", ".tflite", ".lite", ".keras", ".h5", ".hdf5", ".pt2", ".pt", ".pth")
_SAVED_MODEL = "saved_model.pb"
_SPEC = "model.toml"


def find_folder_models(folder: Path, aside: Path) -> list[Path]:
    """Paths of the models in `folder` and below it, relative to it and in order.

    Hidden folders and `aside`, where results go, are left out. What a model.toml names belongs to that one
    and is no model of its own. Raises UsageError for a folder that is not one.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"--all {folder}: it {what}", "give a folder with models in it")
    found = sorted(_walk(folder, aside.resolve()))
    claimed = {path for spec in found if spec.name == _SPEC for path in _claimed(spec)}
    return [path.relative_to(folder) for path in found if path.resolve() not in claimed]


def _walk(folder: Path, aside: Path) -> Iterator[Path]:
    """Model files and SavedModel folders; links to folders are not followed, which could go in circles."""
    for place, folders, files in os.walk(folder, onerror=_raise):
        here = Path(place)
        models = [name for name in folders if (here / name / _SAVED_MODEL).is_file()]
        yield from (here / name for name in models if not name.startswith("."))
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in models and (here / name).resolve() != aside
        ]
        for name in files:
            is_model = name == _SPEC or name.lower().endswith(_SUFFIXES)
            if is_model and not name.startswith("."):
                yield here / name


def _raise(error: OSError) -> None:
    raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from error


def _claimed(spec: Path) -> Iterator[Path]:
    """What a model.toml names as its sources; a damaged one is told when it is converted."""
    try:
        sources = tomllib.loads(spec.read_text(encoding="utf-8")).get("sources", {})
    except (OSError, ValueError):
        return
    if isinstance(sources, dict):
        yield from ((spec.parent / name).resolve() for name in sources.values() if isinstance(name, str))
