"""What others measured: latencies in public sources, to tell that one of ours is far from them.

Never more than a remark: a source says little of its conditions, and runtimes have become faster since.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from profiles import strict_toml

FILE = Path(__file__).with_suffix(".toml")

#: A latency is remarkable below and above these multiples of a reference. For one model and board, runtimes
#: alone differ four- to sixfold; within one runtime this leaves room for threads, clocks and releases.
LEAST_FACTOR = 0.4
MOST_FACTOR = 3.0

#: Square input sizes that names of models carry; 100 is not one: timm writes it for a width of 1.0.
_SIZES = frozenset((96, 128, 160, 192, 224, 256, 288, 300, 320, 384, 416, 448, 480, 512, 640))

#: Words in names of models that do not change the network.
_NOISE = re.compile(
    r"1\.0|100|x1|fp32|f32|float32|float|fp16|f16|float16|int8|onnx|tflite|keras|pt|torchvision|imagenet|in1k|"
    r"pretrained|sim|simplified|slim|static|b1|batch1|bs1|opset\d+|op\d+|model"
)

#: Names of one network, written together, by the name that references.toml uses.
_ALIASES = {
    "resnet50v1": "resnet50",
    "efficientdetd0lite": "efficientdetlite0",
    "yolov11n": "yolo11n",
    "mobilenetv3s": "mobilenetv3small",
    "mobilenetv3l": "mobilenetv3large",
}


@dataclass(frozen=True)
class Measured:
    """What one source measured on one board at batch size 1, and how, as far as it says."""

    source: str
    #: What the other fields do not hold, and what the source leaves open.
    conditions: str
    profile: str
    runtime: str
    precision: str
    #: Side of the square input, pixels.
    input_size: int
    #: By the network's name as `ModelName.network` has it: "mobilenetv2".
    latency_ms: dict[str, float]
    #: None: the source does not say, or it makes no difference (TensorRT).
    num_threads: int | None = None


@dataclass(frozen=True)
class Reference:
    """A published latency of one model."""

    measured: Measured
    latency_ms: float

    def judge(self, latency_ms: float) -> str | None:
        """A sentence when a latency is far from this one; None when it is not."""
        ratio = latency_ms / self.latency_ms
        if LEAST_FACTOR <= ratio <= MOST_FACTOR:
            return None
        told = self.measured
        advice = (
            "look at clocks, cooling and what else runs there"
            if ratio > MOST_FACTOR
            else "make sure that it is the same network and input size"
        )
        return (
            f"{_figure(latency_ms)} ms is {_figure(ratio)} times the {_figure(self.latency_ms)} ms that "
            f"{told.source} gives for this model, runtime and precision on {told.profile} "
            f"({told.conditions}): {advice}"
        )


@dataclass(frozen=True)
class ModelName:
    """What a model's name tells: the network, written together, and its input's side if it says so."""

    network: str
    input_size: int | None


def model_name(name: str) -> ModelName:
    """The network behind a name: mobilenet_v2, MobileNetV2 and mobilenet-v2-1.0-224.onnx are one.

    What is not known to be noise stays, so that mobilenet_v2_0.35 and yolo11n-seg are networks of their own.
    """
    plain = re.sub(r"\.(onnx|tflite|keras|pth?|pt2|h5)$", "", name.rpartition("/")[2].lower())
    words = [word for word in re.split(r"[^a-z0-9.]+", plain) if word]
    sizes = [size for word in words for size in [_size(word)] if size]
    kept = [word for word in words if _size(word) is None and not _NOISE.fullmatch(word)]
    network = "".join(kept)
    # A trailing opset, as in resnet50-v1-7; resnet-18 is a network before that.
    if network not in _networks() and len(kept) > 1 and re.fullmatch(r"\d{1,2}", kept[-1]):
        shorter = "".join(kept[:-1])
        network = shorter if shorter in _networks() else network
    return ModelName(_ALIASES.get(network, network), sizes[0] if sizes else None)


@cache
def references() -> tuple[Measured, ...]:
    """All there are, in the file's order."""
    return strict_toml.load(FILE, _File).measured


def reference_for(
    profile: str,
    model: str,
    runtime: str,
    precision: str,
    num_threads: int | None = None,
    input_size: int | None = None,
) -> Reference | None:
    """The reference measured under the same conditions, as far as they are known; None where there is none.

    `input_size` is the side of a square input; without it the model's name may tell.
    """
    named = model_name(model)
    side = input_size or named.input_size
    matching = [
        measured
        for measured in references()
        if (measured.profile, measured.runtime, measured.precision) == (profile, runtime, precision)
        and named.network in measured.latency_ms
        and side in (None, measured.input_size)
        and (num_threads is None or measured.num_threads in (None, num_threads))
    ]
    # One that states its threads says more than one that does not.
    best = min(matching, key=lambda measured: measured.num_threads is None, default=None)
    return Reference(best, best.latency_ms[named.network]) if best else None


@dataclass(frozen=True)
class _File:
    measured: tuple[Measured, ...]


@cache
def _networks() -> frozenset[str]:
    return frozenset(name for measured in references() for name in measured.latency_ms) | frozenset(_ALIASES)


def _size(word: str) -> int | None:
    """224 of "224" or "224x224"."""
    found = re.fullmatch(r"(\d+)(?:x\1)?", word)
    return int(found[1]) if found and int(found[1]) in _SIZES else None


def _figure(value: float) -> str:
    """Three significant digits, never in exponent form: 1489, 44, 0.313."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
