"""A folder of images as a dataset: labels from labels.csv, from class folders, or none."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.data.preprocessing import Preprocessing, infer_layout, preprocess_image
from convert.data.shapes import shape_text
from convert.errors import DataError
from convert.sources.inspection import ModelInfo

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}
_LABELS_FILE = "labels.csv"
#: All examples are in memory at once, here and on the board.
_LARGEST_BYTES = 4 << 30

Array = NDArray[np.generic]


def load_image_folder(
    folder: Path,
    info: ModelInfo,
    shapes: Mapping[str, tuple[int, ...]],
    preprocessing: Preprocessing | None,
) -> tuple[dict[str, Array], Array | None]:
    """Arrays (images, *input shape without batch) by input name, and labels as class numbers or None.

    Labels: `labels.csv` (file,label with or without a header), or one folder for each class. Classes that
    are all numbers are these numbers; others are numbered in their sorted order.
    """
    if preprocessing is None:
        raise DataError(
            f"{folder} is a folder of images, and nothing says how {info.path.name} wants them",
            reason="preprocessing_needed",
            remedy="Add a [preprocessing] table to model.toml (resize, crop, scale, mean, std, colour_order)",
        )
    if len(info.inputs) != 1:
        raise DataError(
            f"{info.path.name} has {len(info.inputs)} inputs; a folder of images serves models with one",
            reason="missing_inputs",
            remedy="Save arrays by input name in an .npz",
        )
    files, classes = _listing(folder)
    tensor = info.inputs[0]
    shape = shapes[tensor.name]
    _check_size(folder, len(files), shape)
    layout = infer_layout(preprocessing, shape)
    images = [preprocess_image(file, preprocessing, layout) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape or image.size != int(np.prod(shape[1:])):
            raise DataError(
                f"{file} becomes {image.shape} ({layout}), but input {tensor.name!r} is {shape_text(shape)}",
                reason="wrong_shape",
                remedy="Set resize or crop in [preprocessing] to the size the input takes",
            )
    return {tensor.name: np.stack(images)}, None if classes is None else _class_numbers(classes)


def _listing(folder: Path) -> tuple[list[Path], list[str] | None]:
    """Image files in a stable order, and the class of each as it is written."""
    if (folder / _LABELS_FILE).is_file():
        rows = _csv_rows(folder / _LABELS_FILE)
        return [folder / name for name, _ in rows], [label for _, label in rows]
    flat = _images(folder)
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and _images(path))
    if flat and classes:
        raise DataError(
            f"{folder} has images beside class folders ({flat[0].name}, {classes[0].name}/)",
            reason="ambiguous_folder",
            remedy=f"Move them into class folders, or write a {_LABELS_FILE}",
        )
    if classes:
        pairs = [(file, path.name) for path in classes for file in _images(path)]
        return [file for file, _ in pairs], [name for _, name in pairs]
    if not flat:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(_SUFFIXES))})", reason="no_examples")
    return flat, None


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())


def _csv_rows(path: Path) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row:
                continue
            if len(row) < 2:
                raise DataError(
                    f"{path} line {number} is {','.join(row)!r}, not file,label", reason="unreadable"
                )
            name, label = row[0].strip(), row[1].strip()
            if not (path.parent / name).is_file():
                if not rows and Path(name).suffix.lower() not in _SUFFIXES:
                    continue  # a header
                raise DataError(
                    f"{path} line {number} names {name!r}, which is not in {path.parent}",
                    reason="not_found",
                    remedy="Add the file or remove the line",
                )
            rows.append((name, label))
    if not rows:
        raise DataError(f"{path} names no image", reason="no_examples")
    return rows


def _class_numbers(classes: Sequence[str]) -> NDArray[np.int64]:
    if all(name.isdecimal() for name in classes):
        return np.array([int(name) for name in classes], dtype=np.int64)
    number = {name: i for i, name in enumerate(sorted(set(classes)))}
    return np.array([number[name] for name in classes], dtype=np.int64)


def _check_size(folder: Path, images: int, shape: tuple[int, ...]) -> None:
    size = images * int(np.prod(shape[1:])) * 4
    if size > _LARGEST_BYTES:
        raise DataError(
            f"{images} images of {folder} take {size / 2**30:.1f} GiB as float32, "
            f"more than {_LARGEST_BYTES >> 30} GiB",
            reason="dataset_too_large",
            remedy="Use a part of them; 5000 images bound an accuracy to about one point",
        )
