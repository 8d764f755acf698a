"""From an image file to the array a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from convert.errors import DataError

_COLOUR_ORDERS = ("rgb", "bgr", "gray")
_LAYOUTS = (None, "NCHW", "NHWC")
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "lanczos")


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, then value = (pixel * scale - mean) / std, with pixels 0..255.

    The classic ImageNet pipeline is Preprocessing(resize=256, crop=224, mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225)).
    """

    #: A number: the shorter side, keeping proportions. (height, width): exactly that. None: as it is.
    resize: int | tuple[int, int] | None = None
    #: Cut out of the centre: a square's side or (height, width).
    crop: int | tuple[int, int] | None = None
    scale: float = 1 / 255
    #: One number for all channels or one for each, in the colour order given to the model.
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    colour_order: Literal["rgb", "bgr", "gray"] = "rgb"
    #: None: from the input's shape, channels being the axis of size 1 or 3.
    layout: Literal["NCHW", "NHWC"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "box", "lanczos"] = "bilinear"

    def __post_init__(self) -> None:
        _one_of("colour_order", self.colour_order, _COLOUR_ORDERS)
        _one_of("layout", self.layout, _LAYOUTS)
        _one_of("interpolation", self.interpolation, _INTERPOLATIONS)
        channels = 1 if self.colour_order == "gray" else 3
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise _invalid(f"{name} has {len(values)} values for {channels} channels")
        if 0.0 in self.std:
            raise _invalid(f"std is {self.std}, and a division by 0 has no result")
        for name, size in (("resize", self.resize), ("crop", self.crop)):
            if size is not None and min(_pair(size)) < 1:
                raise _invalid(f"{name} is {size}, but sizes are at least 1")


def preprocess_image(path: Path, preprocessing: Preprocessing, layout: str) -> NDArray[np.float32]:
    """The image at `path` as (channels, height, width) for NCHW, (height, width, channels) for NHWC."""
    pixels = np.asarray(_read(path, preprocessing), dtype=np.float32)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if preprocessing.colour_order == "bgr":
        pixels = pixels[..., ::-1]
    mean = np.asarray(preprocessing.mean, dtype=np.float32)
    std = np.asarray(preprocessing.std, dtype=np.float32)
    values = (pixels * np.float32(preprocessing.scale) - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1) if layout == "NCHW" else values)


def infer_layout(preprocessing: Preprocessing, shape: Sequence[int]) -> str:
    """The layout of an input of this shape, batch axis included."""
    if preprocessing.layout:
        return preprocessing.layout
    channels = 1 if preprocessing.colour_order == "gray" else 3
    if len(shape) == 4 and shape[1] == channels and shape[3] != channels:
        return "NCHW"
    return "NHWC"


def _read(path: Path, preprocessing: Preprocessing) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image = file.convert("L" if preprocessing.colour_order == "gray" else "RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image: {error}",
            reason="unreadable_image",
            remedy="Replace or remove the file",
        ) from error
    if preprocessing.resize is not None:
        method = Image.Resampling[preprocessing.interpolation.upper()]
        image = image.resize(_resized(image.size, preprocessing.resize), method)
    return image if preprocessing.crop is None else _cropped(image, _pair(preprocessing.crop), path)


def _resized(size: tuple[int, int], resize: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height) after resizing."""
    if not isinstance(resize, int):
        return resize[1], resize[0]
    width, height = size
    # The longer side is cut, not rounded, as torchvision does, whose pipelines these numbers come from.
    if width <= height:
        return resize, max(1, int(resize * height / width))
    return max(1, int(resize * width / height)), resize


def _cropped(image: Any, crop: tuple[int, int], path: Path) -> Any:
    width, height = image.size
    if height < crop[0] or width < crop[1]:
        raise DataError(
            f"{path} is {height}x{width} where {crop[0]}x{crop[1]} is to be cut out of it",
            reason="wrong_shape",
            remedy="Set resize in [preprocessing] to at least the size of crop",
        )
    top, left = round((height - crop[0]) / 2), round((width - crop[1]) / 2)
    return image.crop((left, top, left + crop[1], top + crop[0]))


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise _invalid(f"{name} is {value!r}, not one of {', '.join(map(repr, filter(None, allowed)))}")


def _invalid(message: str) -> DataError:
    return DataError(f"preprocessing: {message}", reason="invalid_preprocessing")
