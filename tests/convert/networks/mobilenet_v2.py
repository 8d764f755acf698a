"""MobileNetV2 (Sandler et al. 2018): 1000 classes, 3,504,872 parameters.

Modules are nested as torchvision nests them, so that its weights load by name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 1000
#: Expansion, output channels, repetitions, stride of the first: table 2 of the paper.
TABLE = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Without weights; give torchvision's state_dict beside it."""
    return MobileNetV2(), (torch.randn(1, 3, 224, 224),)


def convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        expanded = inputs * expansion
        layers = [convolution(inputs, expanded)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *layers,
            convolution(expanded, expanded, 3, stride, expanded),
            nn.Conv2d(expanded, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """(N, 3, H, W) -> (N, 1000) logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(3, 32, 3, 2)]
        inputs = 32
        for expansion, outputs, repetitions, stride in TABLE:
            for i in range(repetitions):
                layers.append(InvertedResidual(inputs, outputs, expansion, stride if i == 0 else 1))
                inputs = outputs
        layers.append(convolution(inputs, 1280))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))
