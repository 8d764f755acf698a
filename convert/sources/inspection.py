"""What a model holds: inputs, outputs, operators, and whether it loads at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convert.cache import cache_key, file_sha256, kept, read_entry
from convert.errors import InvalidModel
from convert.processes.child import Limits, run_child
from convert.processes.toolchain import toolchain_key
from convert.sources.source import (
    RUNTIME_KINDS,
    TOOLCHAIN_OF,
    Source,
    SourceKind,
    source_from_json,
    source_to_json,
)
from convert.sources.source_digest import source_files, source_sha256

if TYPE_CHECKING:
    from convert.workshop import Workshop

#: Raised when what is kept of an inspection changes.
_INSPECTION_VERSION = 1
_DEADLINE_S = 600.0
_RUNTIME_PACKAGES = {"onnx": ("onnx", "onnxruntime"), "tflite": ("ai-edge-litert",)}


@dataclass(frozen=True)
class TensorInfo:
    """One input or output: shape in elements, dtype as numpy names it (`str` for text)."""

    name: str
    aliases: tuple[str, ...]
    #: A named dimension is its name, an unnamed dynamic one None.
    shape: tuple[int | str | None, ...]
    dtype: str
    #: Scale and zero point of a quantised tensor.
    quantization: tuple[float, int] | None = None


@dataclass(frozen=True)
class ModelFile:
    """One file of a model; `name` is how the main file refers to it."""

    name: str
    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True)
class ModelInfo:
    """A model that a runtime of this host, or the framework it was written in, has loaded."""

    #: An artifact can be of a kind that no source has.
    kind: SourceKind | Literal["openvino"]
    #: Of a factory without weights, its name as a path.
    path: Path
    #: The file's own digest; with external data, the digest of all names and digests.
    sha256: str
    #: Main file first, ONNX external data after it.
    files: tuple[ModelFile, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    opset: int | None
    operators: dict[str, int]
    #: Elements of all weights; None if the file does not tell.
    parameters: int | None
    #: For integer inputs that select rows of a table: the number of rows.
    bounds: dict[str, int]
    #: fp32, fp16, int8 or int8-dynamic: what the weights and operators of the file are.
    precision: str = "fp32"
    #: Of a model that needs its framework: how it is read.
    source: Source | None = None

    def is_whole(self) -> bool:
        """Whether all its files are there and none is cut."""
        return all(file.path.is_file() and file.path.stat().st_size == file.bytes for file in self.files)


def inspect(path: Path, cache: Path) -> ModelInfo:
    """The model at `path`; raises InvalidModel if it cannot be run.

    The runtime loads the model in a child process, because a damaged file can crash it. What was
    found is kept in `cache` under the file's content.
    """
    kind = _kind(path)
    main = _model_file(path.name, path)
    packages = {name: version(name) for name in _RUNTIME_PACKAGES[kind]}
    key = cache_key({"version": _INSPECTION_VERSION, "sha256": main.sha256, "kind": kind, **packages})

    def read(entry: Path) -> dict[str, Any] | None:
        content = read_entry(entry)
        return None if content is None or _external_data_changed(content, path) else content

    def load(_folder: Path) -> dict[str, Any]:
        request = {"path": str(path), "kind": kind}
        return run_child("inspection", request, error=InvalidModel, limits=Limits(_DEADLINE_S))

    content = kept(cache, "inspections", key, read, load)
    return info_from_inspection(content, path, main)


def inspect_source(
    source: Source, workshop: Workshop, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> ModelInfo:
    """The model of any source; `shapes` are needed where the source tells none (PyTorch).

    A model that needs its framework is loaded in that one's toolchain. Raises InvalidModel, DataError
    `shape_needed` and what making a toolchain can.
    """
    if source.kind in RUNTIME_KINDS:
        assert source.path is not None
        return inspect(source.path, workshop.cache)
    sha256 = source_sha256(source)
    wanted = {name: list(shape) for name, shape in (shapes or {}).items()}
    key = cache_key(
        {
            "version": _INSPECTION_VERSION,
            "source": sha256,
            "trust_pickle": source.trust_pickle,
            "shapes": wanted,
            "toolchain": str(source.python or toolchain_key(TOOLCHAIN_OF[source.kind])),
        }
    )

    def load(_folder: Path) -> dict[str, Any]:
        family = "pytorch" if TOOLCHAIN_OF[source.kind] == "torch" else "tensorflow"
        request = {"source": source_to_json(source), "shapes": wanted}
        return workshop.run_framework(f"{family} inspection", request, source, error=InvalidModel)

    content = kept(workshop.cache, "inspections", key, read_entry, load)
    files = tuple(_model_file(name, file) for name, file in source_files(source))
    return _info(content, source.path or Path(str(source.factory)), sha256, files, source)


def info_from_inspection(content: Mapping[str, Any], path: Path, main: ModelFile | None = None) -> ModelInfo:
    """The ModelInfo of what the worker found in the file at `path`; digests of its files are taken now."""
    main = main or _model_file(path.name, path)
    external = tuple(_model_file(name, path.parent / name) for name in content["external_data"])
    return _info(content, path, combined_sha256(main, external), (main, *external))


def info_from_json(content: Mapping[str, Any], path: Path) -> ModelInfo:
    """The ModelInfo that `info_to_json` wrote, for the same files, now at `path` and beside it."""
    if content.get("source"):
        return _info(content, path, content["sha256"], (), source_from_json(content["source"]))
    main, *external = content["files"]
    files = (
        ModelFile(path.name, path, main["sha256"], main["bytes"]),
        *(ModelFile(f["name"], path.parent / f["name"], f["sha256"], f["bytes"]) for f in external),
    )
    return _info(content, path, content["sha256"], files)


def info_to_json(info: ModelInfo) -> dict[str, Any]:
    """Plain JSON values of everything but the place."""
    content = asdict(info)
    content["source"] = source_to_json(info.source) if info.source else None
    del content["path"]
    for file in content["files"]:
        del file["path"]
    return content


def _info(
    content: Mapping[str, Any],
    path: Path,
    sha256: str,
    files: tuple[ModelFile, ...],
    source: Source | None = None,
) -> ModelInfo:
    return ModelInfo(
        kind=content["kind"],
        path=path,
        sha256=sha256,
        files=files,
        inputs=tuple(_tensor(tensor) for tensor in content["inputs"]),
        outputs=tuple(_tensor(tensor) for tensor in content["outputs"]),
        opset=content["opset"],
        operators=dict(content["operators"]),
        parameters=content["parameters"],
        bounds=dict(content["bounds"]),
        precision=content["precision"],
        source=source,
    )


def _kind(path: Path) -> Literal["onnx", "tflite"]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InvalidModel(
            f"model file {path} {what}",
            reason="not_found",
            remedy="Give the path of an .onnx or .tflite file",
        )
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return "onnx"
    if suffix in (".tflite", ".lite"):
        return "tflite"
    raise InvalidModel(
        f"model file {path} has the suffix {suffix!r}, which is not a known model format",
        reason="unknown_format",
        remedy="Give an .onnx or .tflite file",
    )


def _model_file(name: str, path: Path) -> ModelFile:
    try:
        return ModelFile(name=name, path=path, sha256=file_sha256(path), bytes=path.stat().st_size)
    except OSError as error:
        raise InvalidModel(
            f"model file {path} cannot be read: {error.strerror}", reason="not_found"
        ) from error


def combined_sha256(main: ModelFile, external: tuple[ModelFile, ...]) -> str:
    """Digest of a model: its file's own, or that of all names and digests."""
    if not external:
        return main.sha256
    lines = [main.sha256, *(f"{file.name}\0{file.sha256}" for file in external)]
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def _external_data_changed(content: Mapping[str, Any], path: Path) -> bool:
    """Whether a data file beside the model is no longer what it was when the model was loaded."""
    for name, size in content["external_data"].items():
        file = path.parent / name
        if not file.is_file() or file.stat().st_size != size:
            return True
    return False


def _tensor(content: Mapping[str, Any]) -> TensorInfo:
    quantization = content["quantization"]
    return TensorInfo(
        name=content["name"],
        aliases=tuple(content["aliases"]),
        shape=tuple(content["shape"]),
        dtype=content["dtype"],
        quantization=(float(quantization[0]), int(quantization[1])) if quantization else None,
    )
