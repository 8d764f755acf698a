#!/usr/bin/env python3
"""MobileNetV2 in Keras with torchvision's weights: one network as a .keras file and as a SavedModel.

benchmarks/conversions.py runs it twice, for no environment has both frameworks:
    TORCH_PYTHON      keras_mobilenet_v2.py weights STATE_DICT.pth WEIGHTS.npz
    TENSORFLOW_PYTHON keras_mobilenet_v2.py network WEIGHTS.npz NET.keras SAVED_MODEL
Padding is torch's: one pixel on every side, also before strides of two, where Keras would pad one side only.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

#: Expansion, output channels, repeats, first stride: table 2 of the MobileNetV2 paper (arXiv 1801.04381).
BLOCKS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
#: torch's default; Keras's is 1e-3.
EPSILON = 1e-5


def save_weights(state_dict: str, target: str) -> None:
    """The state_dict's arrays under their names."""
    import torch

    weights = torch.load(state_dict, weights_only=True)
    np.savez(target, **{name: array.numpy() for name, array in weights.items()})


def save_network(weights: str, keras_file: str, saved_model: str) -> None:
    """The network with these weights, in both forms."""
    import keras

    image = keras.Input((224, 224, 3), name="image")
    scores = _Builder(keras, np.load(weights)).network(image)
    network = keras.Model(image, scores)
    network.save(keras_file)
    network.export(saved_model, verbose=False)


class _Builder:
    """Layers that take their weights by torchvision's names."""

    def __init__(self, keras: Any, weights: Any) -> None:
        self.layers = keras.layers
        self.weights = weights

    def network(self, image: Any) -> Any:
        x = self._unit(image, "features.0", kernel=3, stride=2)
        width, number = 32, 1
        for expansion, outputs, repeats, first_stride in BLOCKS:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                block = self._block(x, f"features.{number}.conv", expansion, stride)
                x = self.layers.Add()([x, block]) if stride == 1 and width == outputs else block
                width, number = outputs, number + 1
        x = self.layers.GlobalAveragePooling2D()(self._unit(x, f"features.{number}", kernel=1))
        dense = self.layers.Dense(1000, name="scores")
        scores = dense(x)
        dense.set_weights([self.weights["classifier.1.weight"].T, self.weights["classifier.1.bias"]])
        return scores

    def _block(self, x: Any, name: str, expansion: int, stride: int) -> Any:
        position = 0
        if expansion > 1:
            x, position = self._unit(x, f"{name}.0", kernel=1), 1
        x = self._unit(x, f"{name}.{position}", kernel=3, stride=stride, depthwise=True)
        x = self._convolution(x, f"{name}.{position + 1}", 1, 1, depthwise=False)
        return self._normalised(x, f"{name}.{position + 2}")

    def _unit(self, x: Any, name: str, *, kernel: int, stride: int = 1, depthwise: bool = False) -> Any:
        x = self._convolution(x, f"{name}.0", kernel, stride, depthwise=depthwise)
        return self.layers.ReLU(6.0)(self._normalised(x, f"{name}.1"))

    def _convolution(self, x: Any, name: str, kernel: int, stride: int, *, depthwise: bool) -> Any:
        weight = self.weights[f"{name}.weight"]
        if kernel > 1:
            x = self.layers.ZeroPadding2D(kernel // 2)(x)
        if depthwise:
            layer = self.layers.DepthwiseConv2D(kernel, stride, use_bias=False)
            arranged = weight.transpose(2, 3, 0, 1)
        else:
            layer = self.layers.Conv2D(len(weight), kernel, stride, use_bias=False)
            arranged = weight.transpose(2, 3, 1, 0)
        made = layer(x)
        layer.set_weights([arranged])
        return made

    def _normalised(self, x: Any, name: str) -> Any:
        layer = self.layers.BatchNormalization(epsilon=EPSILON)
        made = layer(x)
        parts = ("weight", "bias", "running_mean", "running_var")
        layer.set_weights([self.weights[f"{name}.{part}"] for part in parts])
        return made


if __name__ == "__main__":
    {"weights": save_weights, "network": save_network}[sys.argv[1]](*sys.argv[2:])
