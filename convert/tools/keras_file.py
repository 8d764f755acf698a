"""Loads .keras, .h5 and .hdf5 files: no code of theirs runs unless the user trusts them.

In a tool's process of the tensorflow toolchain.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from convert.errors import InvalidModel

#: Every HDF5 file starts with these bytes, https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_UNKNOWN_OBJECT = re.compile(r"(?:Unknown|Could not locate) \w+:? '([\w.>]+)'")
_CODE_REFUSED = re.compile(r"arbitrary code execution|enable_unsafe_deserialization")


def check_keras_file(path: Path, *, trust_code: bool) -> None:
    """Looks into a file before anything of it is loaded; needs no framework.

    Raises InvalidModel: invalid_model, weights_only, code_untrusted, unsafe_archive, unsafe_external_data.
    """
    config = _archive_config(path) if zipfile.is_zipfile(path) else _hdf5_config(path)
    if not trust_code and any(_is_code(entry) for entry in _entries(config)):
        raise _untrusted(path)


def load_keras_model(path: Path, *, trust_code: bool) -> Any:
    """The keras.Model of a file that check_keras_file has passed, not compiled.

    Raises InvalidModel: invalid_model, code_untrusted, custom_op, not_built.
    """
    # A user's own choice of framework and layouts must not change what a file means.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["KERAS_HOME"] = f"{os.devnull}/keras"
    import keras

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=not trust_code)
    except MemoryError:
        raise
    except Exception as error:  # Keras raises every class there is
        raise _not_loaded(path, error, keras.__version__) from error
    if not _is_built(model):
        raise InvalidModel(
            f"the model in {path.name} has no input shape: it was saved before it was built",
            reason="not_built",
            remedy="Start it with keras.Input(shape), or call model.build(shape), and save it again",
        )
    return model


def _archive_config(path: Path) -> Any:
    """The model's description in a .keras archive none of whose entries leads out of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for name in names:
                parts = PurePosixPath(name.replace("\\", "/")).parts
                if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
                    raise InvalidModel(
                        f"{path.name} holds an entry {name!r}, which leads out of its folder",
                        reason="unsafe_archive",
                        remedy="Do not use this file; no version of Keras writes such an entry",
                    )
            if "config.json" not in names:
                raise _invalid(path, f"it is an archive without config.json, it holds {', '.join(names[:5])}")
            damaged = archive.testzip()
            if damaged:
                raise _invalid(path, f"its entry {damaged} is damaged")
            return json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise _invalid(path, str(error)) from error


def _hdf5_config(path: Path) -> Any:
    """The model's description in a legacy .h5 file that holds all its weights itself."""
    if path.read_bytes()[: len(_HDF5_MAGIC)] != _HDF5_MAGIC:
        raise _invalid(path, "it is neither a .keras archive nor an HDF5 file")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            _refuse_links(file, path)
            config = file.attrs.get("model_config")
    except InvalidModel:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError on damage
        raise _invalid(path, str(error)) from error
    if config is None:
        raise InvalidModel(
            f"{path.name} holds weights without the model they belong to",
            reason="weights_only",
            remedy="Build the model, load these weights, and save it whole: model.save('model.keras')",
        )
    try:
        return json.loads(config)
    except ValueError as error:
        raise _invalid(path, f"its model_config is not JSON ({error})") from error


def _refuse_links(group: Any, path: Path) -> None:
    """Raises InvalidModel where a group takes data from another file."""
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _elsewhere(path, f"{group.name.rstrip('/')}/{name}", link.filename)
        if isinstance(link, h5py.SoftLink):
            continue
        member = group[name]
        if isinstance(member, h5py.Group):
            _refuse_links(member, path)
        elif member.external:
            raise _elsewhere(path, member.name, member.external[0][0])
        elif member.is_virtual:
            raise _elsewhere(path, member.name, member.virtual_sources()[0].file_name)


def _elsewhere(path: Path, name: str, file: str) -> InvalidModel:
    return InvalidModel(
        f"{path.name} takes {name} from another file, {file!r}",
        reason="unsafe_external_data",
        remedy="Save the model again as one file: model.save('model.keras')",
    )


def _entries(config: Any) -> Iterator[dict[str, Any]]:
    """All objects of a description, nested ones included."""
    if isinstance(config, dict):
        yield config
        for value in config.values():
            yield from _entries(value)
    elif isinstance(config, list):
        for value in config:
            yield from _entries(value)


def _is_code(entry: dict[str, Any]) -> bool:
    """Whether an object is compiled Python: as Keras 3 writes it, or as tf.keras did."""
    return entry.get("class_name") == "__lambda__" or any(
        entry.get(key) == "lambda" for key in ("function_type", "output_shape_type", "mask_type")
    )


def _not_loaded(path: Path, error: BaseException, version: str) -> InvalidModel:
    """What Keras could not do, from the error it raised and those behind it."""
    text = "\n".join(_chain(error))
    if _CODE_REFUSED.search(text):
        return _untrusted(path)
    unknown = _UNKNOWN_OBJECT.search(text)
    if unknown:
        return InvalidModel(
            f"{path.name} uses {unknown[1]!r}, which Keras {version} does not have",
            reason="custom_op",
            remedy="Save it as a SavedModel where that is defined, model.export('folder'): "
            "it holds the operations themselves",
        )
    first_line = str(error).strip().splitlines()[0][:300] if str(error).strip() else ""
    return InvalidModel(
        f"Keras {version} does not load {path.name}: {type(error).__name__}: {first_line}",
        reason="invalid_model",
        remedy="Save it again where it still loads: as .keras with Keras 3, "
        "or as a SavedModel with model.export('folder')",
    )


def _chain(error: BaseException | None) -> Iterator[str]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield str(error)
        error = error.__cause__ or error.__context__


def _is_built(model: Any) -> bool:
    try:
        return bool(model.inputs)
    except AttributeError:
        return False


def _untrusted(path: Path) -> InvalidModel:
    return InvalidModel(
        f"{path.name} holds Python code in a Lambda layer, which would run on this computer",
        reason="code_untrusted",
        remedy="Give --trust-pickle if you know where the file comes from, "
        "or save the model with named functions in place of lambdas",
    )


def _invalid(path: Path, why: str) -> InvalidModel:
    return InvalidModel(
        f"{path.name} ({path.stat().st_size} bytes) is not a usable Keras model: {why}",
        reason="invalid_model",
        remedy="Save the model again and check that the file was copied completely",
    )
