"""The content of a source as one digest: its files, external data among them, and a factory's Python code.

Nothing is imported or run for it, so a conversion that is in the cache costs no framework.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from convert.cache import file_sha256
from convert.errors import InvalidModel
from convert.sources.source import Source

#: What a SavedModel is made of; what else lies in its folder is none of it.
_SAVED_MODEL = ("*.pb", "*.pbtxt", "variables/**/*", "assets/**/*", "assets.extra/**/*")
#: An entry of external_data in a serialised ONNX tensor: key "location", then the value, length first.
_LOCATION = re.compile(rb"\x0a\x08location\x12(.)", re.DOTALL)


def source_sha256(source: Source) -> str:
    """Digest of everything `source` is read from; raises InvalidModel `not_found`."""
    digest = hashlib.sha256()
    for name, file in source_files(source):
        digest.update(f"{name}\0{_sha256(file)}\n".encode())
    digest.update(f"{source.kind}\0{source.factory}\0{source.python}".encode())
    return digest.hexdigest()


def source_files(source: Source) -> list[tuple[str, Path]]:
    """All files of a source by name: its own, and those of the factory's modules in the search folder."""
    files: list[tuple[str, Path]] = []
    if source.path is not None and source.path.is_dir():
        own = [source.path.glob(name) for name in _SAVED_MODEL]
        found = sorted({item for names in own for item in names if item.is_file()})
        files += [(str(item.relative_to(source.path)), item) for item in found]
    elif source.path is not None:
        files.append((source.path.name, source.path))
        if source.kind == "onnx":
            files += _external_data(source.path)
    if source.factory is not None and source.search is not None:
        module = source.factory.split(":")[0]
        code = _closure(module, source.search)
        files += [(str(item.relative_to(source.search)), item) for item in code]
    return files


def _external_data(model: Path) -> list[tuple[str, Path]]:
    """Data files beside an ONNX model that are there, found without onnx, which is slow to load."""
    try:
        content = model.read_bytes()
    except OSError:
        return []  # told when the model itself is read
    names = set()
    for found in _LOCATION.finditer(content):
        length = found[1][0]
        name = content[found.end() : found.end() + length].decode("utf-8", "replace")
        names.add(name)
    return [(name, model.parent / name) for name in sorted(names) if _is_beside(model, name)]


def _is_beside(model: Path, name: str) -> bool:
    try:
        file = (model.parent / name).resolve()
        return file.is_relative_to(model.parent.resolve()) and file.is_file()
    except (OSError, ValueError):
        return False


def _sha256(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError as error:
        raise InvalidModel(f"{file} cannot be read: {error.strerror}", reason="not_found") from error


def _closure(module: str, search: Path) -> list[Path]:
    """Files of a module and of all it imports from the same folder, found by reading, not by importing."""
    waiting, seen = [module], set[str]()
    files: set[Path] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = _module_file(name, search)
        if file is not None:
            files.add(file)
            waiting += _imports(name, file)
        parent = name.rpartition(".")[0]
        if parent:
            waiting.append(parent)
    return sorted(files)


def _module_file(name: str, search: Path) -> Path | None:
    place = search.joinpath(*name.split("."))
    candidates = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((file for file in candidates if file.is_file()), None)


def _imports(module: str, file: Path) -> Iterator[str]:
    """Absolute names of what a file imports, submodules it may mean included."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
