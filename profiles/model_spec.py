"""What a model is and how its accuracy is judged: model.toml, and the models that come with edgebench."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from profiles import strict_toml
from profiles.strict_toml import InvalidFile

#: Each built-in model is a folder here with a model.toml.
FOLDER = Path(__file__).with_name("models")


@dataclass(frozen=True)
class Sources:
    """The same network in different formats, beside the spec."""

    onnx: Path | None = None
    tflite: Path | None = None
    #: A `.keras` or `.h5` file.
    keras: Path | None = None
    #: A SavedModel folder.
    saved_model: Path | None = None
    #: A TorchScript file.
    torchscript: Path | None = None
    #: A `.pt2` file of torch.export.
    exported: Path | None = None
    #: `package.module:function` that returns a torch.nn.Module; imported from the spec's folder.
    pytorch: str | None = None
    #: A state_dict for the module.
    weights: Path | None = None
    #: The interpreter that has what the factory imports.
    python: Path | None = None


@dataclass(frozen=True)
class PreprocessingSpec:
    """From an image file to an input tensor: value = (pixel x scale - mean) / std, after resize and crop."""

    #: [shorter side] in pixels, or [height, width].
    resize: tuple[int, ...] | None = None
    #: [side] of the centre square, or [height, width].
    crop: tuple[int, ...] | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    colour_order: Literal["rgb", "bgr", "gray"] = "rgb"
    #: None: from the input's shape.
    layout: Literal["NCHW", "NHWC"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "box", "lanczos"] = "bilinear"


@dataclass(frozen=True)
class InputSpec:
    """What the file itself leaves open about an input."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelDocument:
    """model.toml as it is written; paths are relative to its folder."""

    name: str
    sources: Sources
    task: str | None = None
    #: top1, top5, mean_iou, or `package.module:function` taking (outputs, labels).
    metric: str | None = None
    dataset: Path | None = None
    calibration: Path | None = None
    preprocessing: PreprocessingSpec | None = None
    inputs: dict[str, InputSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSpec(ModelDocument):
    """A model with its data, and the folder they lie in."""

    folder: Path = Path()

    def path(self, relative: Path) -> Path:
        """A file of this model."""
        return self.folder / relative


def builtin_models() -> tuple[str, ...]:
    """Names of the models that come with edgebench."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob("*/model.toml")))


def builtin_model(name: str) -> ModelSpec:
    """A model that comes with edgebench."""
    return load_model_spec(FOLDER / name / "model.toml")


def load_model_spec(path: Path) -> ModelSpec:
    """The spec at `path`; raises InvalidFile with every fault, missing files included."""
    document = strict_toml.load(path, ModelDocument)
    spec = ModelSpec(**vars(document), folder=path.parent)
    files = {name: value for name, value in vars(spec.sources).items() if isinstance(value, Path)}
    named: dict[str, Path | None] = {f"sources.{name}": file for name, file in files.items()}
    named |= {"dataset": spec.dataset, "calibration": spec.calibration}
    faults = [
        f"{path}: {field}: {spec.path(file)} does not exist"
        for field, file in named.items()
        if file is not None and not spec.path(file).exists()
    ]
    models = [name for name in vars(Sources()) if name not in ("weights", "python")]
    if not any(getattr(spec.sources, name) for name in models):
        faults.append(f"{path}: sources: names no model; give one of {', '.join(models)}")
    if spec.sources.weights is not None and spec.sources.pytorch is None:
        faults.append(f"{path}: sources.weights: there is no sources.pytorch for them")
    if faults:
        raise InvalidFile(faults)
    return spec
