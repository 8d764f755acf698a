"""What a model is made from: a file, a folder or a Python factory, and how to read it."""

from __future__ import annotations

import re
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from convert.errors import InvalidModel

SourceKind = Literal["onnx", "tflite", "pytorch", "torchscript", "pt2", "keras", "savedmodel"]

#: The kinds that a runtime of this host loads; all others need the framework they come from.
RUNTIME_KINDS = ("onnx", "tflite")
#: The toolchain that loads and runs a kind.
TOOLCHAIN_OF = {
    "pytorch": "torch",
    "torchscript": "torch",
    "pt2": "torch",
    "keras": "tensorflow",
    "savedmodel": "tensorflow",
}
_FACTORY = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")
_SUFFIXES: dict[str, SourceKind] = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".lite": "tflite",
    ".pt2": "pt2",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
}
_TORCH_FILES = (".pt", ".pth")
_KNOWN = ".onnx, .tflite, .pt2, .pt, .pth, .keras, .h5, a SavedModel folder or package.module:factory"


@dataclass(frozen=True)
class Source:
    """A model as the user named it.

    A factory is `package.module:function`; called without arguments it returns a torch.nn.Module, or the
    module and a tuple of example inputs. With `path` beside it, that is the state_dict to load into it.
    """

    kind: SourceKind
    path: Path | None
    factory: str | None = None
    #: Whether a pickled module may be loaded, which runs whatever code is in it.
    trust_pickle: bool = False
    #: The interpreter that has the packages a factory imports; None: the pinned toolchain's.
    python: Path | None = None
    #: Where factories are imported from, beside the interpreter's own packages.
    search: Path | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.path.name if self.path is not None else str(self.factory)


def is_factory(word: str) -> bool:
    """Whether this is of the form package.module:function."""
    return _FACTORY.match(word) is not None


def find_source(
    word: str,
    *,
    factory: str | None = None,
    trust_pickle: bool = False,
    python: Path | None = None,
    search: Path | None = None,
) -> Source:
    """The source that `word` names, judged by what lies there; raises InvalidModel with a remedy."""
    path = Path(word)
    if is_factory(word) and not path.exists():
        return Source("pytorch", None, word, trust_pickle, python, search or Path.cwd())
    if factory is not None and not is_factory(factory):
        raise InvalidModel(
            f"{factory!r} is not a factory", reason="not_found", remedy="Write it as package.module:function"
        )
    kind = _kind(path, factory)
    if kind not in ("pytorch",) and factory is not None:
        raise InvalidModel(
            f"{path.name} is a complete model ({kind}), so the factory {factory} has no use",
            reason="unknown_format",
            remedy="Leave the factory out",
        )
    return Source(kind, path, factory, trust_pickle, python, search or (Path.cwd() if factory else None))


def _kind(path: Path, factory: str | None) -> SourceKind:
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "savedmodel"
        raise InvalidModel(
            f"model file {path} is a folder without a saved_model.pb",
            reason="not_found",
            remedy="Give the path of a SavedModel folder or of a model file",
        )
    if not path.is_file():
        raise InvalidModel(
            f"model file {path} does not exist", reason="not_found", remedy=f"Give one of {_KNOWN}"
        )
    suffix = path.suffix.lower()
    if suffix in _TORCH_FILES:
        return "pytorch" if factory is not None else _torch_kind(path)
    kind = _SUFFIXES.get(suffix)
    if kind is None:
        raise InvalidModel(
            f"model file {path} has the suffix {suffix!r}, which is not a known model format",
            reason="unknown_format",
            remedy=f"Give one of {_KNOWN}",
        )
    return kind


def _torch_kind(path: Path) -> SourceKind:
    """TorchScript archives hold code, exported programs a version file, everything else is a pickle."""
    if not zipfile.is_zipfile(path):
        return "pytorch"
    try:
        with zipfile.ZipFile(path) as archive:
            inner = {name.split("/", 1)[-1] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return "pytorch"
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "archive_format" in inner or any(name.startswith("models/") for name in inner):
        return "pt2"
    return "pytorch"


def source_to_json(source: Source) -> dict[str, Any]:
    """Plain JSON values, paths as absolute text."""
    return {
        name: str(value.absolute()) if isinstance(value, Path) else value
        for name, value in asdict(source).items()
    }


def source_from_json(content: dict[str, Any]) -> Source:
    """What source_to_json wrote."""
    known = {field.name for field in fields(Source)}
    values = {name: value for name, value in content.items() if name in known}
    for name in ("path", "python", "search"):
        values[name] = Path(values[name]) if values.get(name) else None
    return Source(**values)
