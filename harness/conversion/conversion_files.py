"""The folder that `bench convert` fills: artifacts by target, and conversion.json, which says what they are.

DIR/conversion.json
DIR/<target>/<model>-<precision>.<suffix>
DIR/<target>/<model>-<precision>/...           a model whose weights lie in a file of their own
DIR/tensorrt/<model>-int8-calibration.npz      what TensorRT up to 10 calibrates itself on

Files are copied whole or not at all. What is in the way and was not made by this command, or was changed
since, stays as it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.cache import file_sha256
from harness.conversion.conversion_records import artifact_record, failed_record, source_record
from harness.conversion.conversions import Made
from harness.conversion.wanted import ConversionOptions, Wanted
from harness.errors import BenchError, ConversionFailed, UsageError
from reports.files import write_atomically

FORMAT_VERSION = 1
FILE_NAME = "conversion.json"

_SUFFIX = {"tflite": ".tflite", "openvino": ".xml"}
_LONGEST_NAME = 120

Record = dict[str, Any]

_INTERRUPTED = {
    "class": "infrastructure",
    "reason": "interrupted",
    "message": "bench convert ended while it put the files in place",
    "remedy": "run it again",
}


@dataclass(frozen=True)
class _Staged:
    """A complete file beside its place."""

    part: Path
    place: PurePosixPath

    @property
    def record(self) -> Record:
        size, sha256 = self.part.stat().st_size, file_sha256(self.part)
        return {"path": str(self.place), "bytes": size, "sha256": sha256}


class ConversionFolder:
    """DIR of one or several `bench convert` commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def content(self) -> dict[str, Any]:
        """conversion.json as it is now; raises UsageError for one that is not ours."""
        file = self.folder / FILE_NAME
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {"format_version": FORMAT_VERSION, "sources": [], "artifacts": []}
        except OSError as error:
            raise UsageError(
                f"-o {self.folder}: {file} cannot be read: {error.strerror}", "choose another folder"
            ) from error
        try:
            content = json.loads(text)
        except ValueError:
            content = None
        if not _is_ours(content):
            raise UsageError(
                f"{file} is not one that this version of bench convert wrote",
                "move it away, or choose another folder with -o",
            )
        result: dict[str, Any] = content
        return result

    def finished(self, model: str, keys: Mapping[Wanted, str]) -> dict[Wanted, Record]:
        """What is wanted and was made from the same things before, with all its files as they were made."""
        found = {}
        records = self.content()["artifacts"]
        for wanted, key in keys.items():
            record = next((r for r in records if _is_of(r, model, wanted)), None)
            if record is None or record["status"] != "ok" or record.get("key") != key:
                continue
            files = _files(record)
            if files and all(self._is_unchanged(file) for file in files):
                found[wanted] = record
        return found

    def check(self, model: str, wanted: Sequence[Wanted]) -> None:
        """Finds out before any work what could not be written; raises UsageError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Asked for its rights, root may write everywhere; /proc and read-only disks know better.
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UsageError(
                f"-o {self.folder}: it cannot be written to: {error.strerror}", "choose another folder"
            ) from error
        ours = self._own_files()
        for entry in wanted:
            self._refuse_foreign(self._place(model, entry, _SUFFIX.get(entry.target, ".onnx")), ours)

    def keep(self, model: str, made: Made, options: ConversionOptions, key: str) -> Record:
        """Copies an artifact into the folder and records it; raises ConversionFailed or UsageError."""
        earlier = self._own_files_of(model, made.wanted)
        source = source_record(model, made.info)
        staged = list[_Staged]()
        try:
            self._stage(model, made, staged)
            record = artifact_record(model, made, options, [file.record for file in staged], key)
            # Killed from here on, both what was there and what replaces it are known to be ours.
            unfinished = {**record, "status": "failed", "failure": _INTERRUPTED, "path": None}
            unfinished["files"] = [*record["files"], *earlier.values()]
            self._record(unfinished, source)
            for file in reversed(staged):
                file.part.replace(self.folder / file.place)
            for left in set(earlier) - {file.place for file in staged}:
                (self.folder / left).unlink(missing_ok=True)
        except OSError as error:
            raise ConversionFailed(
                f"{error.filename or self.folder} cannot be written: {error.strerror or error}",
                "free space or choose another folder",
                "not_writable",
            ) from error
        finally:
            for file in staged:
                file.part.unlink(missing_ok=True)
        self._record(record, source)
        return record

    def keep_failure(self, model: str, wanted: Wanted, error: BenchError, seconds: float) -> Record:
        """Records what could not be made. What an earlier command made under that name is no longer it."""
        record = failed_record(model, wanted, error, seconds)
        for place in self._own_files_of(model, wanted):
            (self.folder / place).unlink(missing_ok=True)
        self._record(record, None)
        return record

    def _record(self, record: Record, source: Record | None) -> None:
        """Puts a record in the place of the one of the same model, target, precision and types."""
        with self._locked():
            content = self.content()
            kept = [other for other in content["artifacts"] if _identity(other) != _identity(record)]
            artifacts = [*kept, record]
            sources = [s for s in content["sources"] if source is None or _origin(s) != _origin(source)]
            used = {(entry["model"], entry.get("source")) for entry in artifacts}
            content["sources"] = [s for s in [*sources, *([source] if source else [])] if _origin(s) in used]
            content["artifacts"] = artifacts
            write_atomically(self.folder / FILE_NAME, as_text(content))

    def _stage(self, model: str, made: Made, staged: list[_Staged]) -> None:
        """Copies the artifact and TensorRT's calibration beside their places; the main file first."""
        artifact = made.artifact
        place = self._place(model, made.wanted, artifact.files[0].path.suffix)
        main = place.with_suffix("") / place.name if len(artifact.files) > 1 else place
        # The main file refers to the others by these names.
        copies = [(main, artifact.files[0].path)]
        for file in artifact.files[1:]:
            # OpenVINO looks for weights that are called like the model.
            name = f"{main.stem}{file.path.suffix}" if artifact.target == "openvino" else file.name
            copies.append((_inside(main.parent, name), file.path))
        ours = self._own_files()
        for target, source in copies:
            self._refuse_foreign(target, ours)
            part = self._part(target)
            staged.append(_Staged(part, target))
            shutil.copyfile(source, part)
        if made.calibration is not None:
            samples = place.with_name(f"{place.stem}-calibration.npz")
            self._refuse_foreign(samples, ours)
            staged.append(_Staged(self._part(samples), samples))
            _write_npz(staged[-1].part, made.calibration)

    def _place(self, model: str, wanted: Wanted, suffix: str) -> PurePosixPath:
        io = "" if wanted.io == "float" else f"-{wanted.io}"
        return PurePosixPath(wanted.word, f"{file_stem(model)}-{wanted.precision}{io}{suffix}")

    def _part(self, place: PurePosixPath) -> Path:
        """A file to write beside a place."""
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.with_name(f".{secrets.token_hex(6)}.part")

    def _own_files(self) -> dict[PurePosixPath, list[Record]]:
        """Files that this command made in the folder, with all that they may hold."""
        files: dict[PurePosixPath, list[Record]] = {}
        for record in self.content()["artifacts"]:
            for file in _files(record):
                files.setdefault(PurePosixPath(file["path"]), []).append(file)
        return files

    def _own_files_of(self, model: str, wanted: Wanted) -> dict[PurePosixPath, Record]:
        """Unchanged files of an earlier artifact of the same name."""
        return {
            PurePosixPath(file["path"]): file
            for record in self.content()["artifacts"]
            if _is_of(record, model, wanted)
            for file in _files(record)
            if self._is_unchanged(file)
        }

    def _refuse_foreign(self, place: PurePosixPath, ours: Mapping[PurePosixPath, list[Record]]) -> None:
        path = self.folder / place
        if not path.exists() and not path.is_symlink():
            return
        if place not in ours:
            raise UsageError(
                f"{path} is there already, and bench convert did not make it",
                "move it away, or choose another folder with -o",
            )
        if not any(self._is_unchanged(file) for file in ours[place]):
            raise UsageError(
                f"{path} was changed since bench convert made it",
                "move it away to keep it, or choose another folder with -o",
            )

    def _is_unchanged(self, file: Record) -> bool:
        path = self.folder / file["path"]
        try:
            return bool(path.stat().st_size == file["bytes"] and file_sha256(path) == file["sha256"])
        except OSError:
            return False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One command at a time writes conversion.json."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def as_text(content: Mapping[str, Any]) -> str:
    """JSON as it is written to files."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def file_stem(model: str) -> str:
    """A model's name as a part of a file name: letters, digits, dots, underscores and hyphens.

    A name that has other signs, or is very long, gets a part of its digest, so that two stay apart.
    """
    stem = re.sub(r"[^\w.-]+", "-", model).strip(".-")[:_LONGEST_NAME]
    if stem == model:
        return stem
    return f"{stem or 'model'}-{hashlib.sha256(model.encode('utf-8', 'replace')).hexdigest()[:6]}"


def _identity(record: Record) -> tuple[str, ...]:
    return record["model"], record["target"], record["precision"], record["io"]


def _is_of(record: Record, model: str, wanted: Wanted) -> bool:
    return _identity(record) == (model, wanted.word, wanted.precision, wanted.io)


def _origin(source: Record) -> tuple[str, str]:
    return source["model"], source["sha256"]


def _inside(folder: PurePosixPath, name: str) -> PurePosixPath:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts:
        raise ConversionFailed(
            f"the artifact refers to {name!r}, which is outside of its folder", None, "unsafe_external_data"
        )
    return folder / place


def _files(record: Record) -> list[Record]:
    """The files of a record. conversion.json is a file like any other: what it names may be anything."""
    places = [(PurePosixPath(file["path"]), file) for file in record.get("files", ())]
    return [file for place, file in places if not place.is_absolute() and ".." not in place.parts]


def _is_ours(content: Any) -> bool:
    """Whether this is a conversion.json of this version, with all that is read from it."""
    try:
        return (
            content["format_version"] == FORMAT_VERSION
            and all(
                isinstance(record["status"], str)
                and all(isinstance(word, str) for word in _identity(record))
                and all({"path", "bytes", "sha256"} <= set(file) for file in record.get("files", ()))
                for record in content["artifacts"]
            )
            and all(_origin(source) for source in content["sources"])
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _write_npz(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """As numpy.savez writes it, for any names, and with the same bytes each time."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
