"""MobileNetV3-Small (Howard et al. 2019, table 2): 1000 classes, 2,542,856 parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

CLASSES = 1000


def mobilenet_v3_small() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Random weights, batch norms calibrated."""
    torch.manual_seed(0)
    network = MobileNetV3Small()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, 96, 96))
    return network.eval(), (torch.randn(1, 3, 224, 224),)


class Row(NamedTuple):
    """One row of the paper's table."""

    kernel: int
    expanded: int
    outputs: int
    squeeze: bool
    activation: type[nn.Module]
    stride: int


TABLE = (
    Row(3, 16, 16, True, nn.ReLU, 2),
    Row(3, 72, 24, False, nn.ReLU, 2),
    Row(3, 88, 24, False, nn.ReLU, 1),
    Row(5, 96, 40, True, nn.Hardswish, 2),
    Row(5, 240, 40, True, nn.Hardswish, 1),
    Row(5, 240, 40, True, nn.Hardswish, 1),
    Row(5, 120, 48, True, nn.Hardswish, 1),
    Row(5, 144, 48, True, nn.Hardswish, 1),
    Row(5, 288, 96, True, nn.Hardswish, 2),
    Row(5, 576, 96, True, nn.Hardswish, 1),
    Row(5, 576, 96, True, nn.Hardswish, 1),
)


def divisible_by_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and not more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def convolution(
    inputs: int,
    outputs: int,
    activation: type[nn.Module] | None,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution, batch norm and activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=0.001),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Weighs channels by their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        between = divisible_by_8(channels / 4)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, between, 1),
            nn.ReLU(),
            nn.Conv2d(between, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)


class Bottleneck(nn.Module):
    """Expansion, depthwise convolution, squeeze-and-excitation, projection."""

    def __init__(self, inputs: int, row: Row) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if row.expanded != inputs:
            layers.append(convolution(inputs, row.expanded, row.activation))
        layers.append(
            convolution(row.expanded, row.expanded, row.activation, row.kernel, row.stride, row.expanded)
        )
        if row.squeeze:
            layers.append(SqueezeExcitation(row.expanded))
        layers.append(convolution(row.expanded, row.outputs, None))
        self.layers = nn.Sequential(*layers)
        self.has_shortcut = row.stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.has_shortcut else y


class MobileNetV3Small(nn.Module):
    """(N, 3, H, W) -> (N, 1000) logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(3, 16, nn.Hardswish, 3, 2)]
        inputs = 16
        for row in TABLE:
            layers.append(Bottleneck(inputs, row))
            inputs = row.outputs
        layers.append(convolution(inputs, 576, nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1024, CLASSES)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))
