"""BiSeNet for face parsing (Yu et al. 2018): 19 classes, a ResNet-18 (He et al. 2015) as context path.

The variant that face parsing made known: no spatial path of its own, the stride-8 features of the ResNet
stand for it, and all three heads answer at the size of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 19
SIDE = 512


def bisenet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Random weights, batch norms calibrated so that activations keep a sane range through the depth."""
    torch.manual_seed(0)
    network = BiSeNet(CLASSES)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over all passes
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(_pictures(4, 128))
    return network.eval(), (torch.randn(1, 3, SIDE, SIDE),)


def _pictures(count: int, side: int) -> Tensor:
    """Surfaces, light and dark ones, with noise.

    In noise alone all images have the same means, and batch norms behind a mean over the image would learn
    to magnify nothing but rounding.
    """
    surfaces = functional.interpolate(torch.randn(count, 3, 4, 4), side, mode="bicubic")
    return surfaces / 2 + torch.randn(count, 3, 1, 1) / 2 + torch.randn(count, 3, side, side)


class ConvNormRelu(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """ResNet's basic block: two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNormRelu(inputs, outputs, 3, stride)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.second(self.first(x))) + self.shortcut(x))


class ResNet18(nn.Module):
    """Features at strides 8, 16 and 32: 128, 256 and 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNormRelu(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList(
            nn.Sequential(Residual(inputs, outputs, stride), Residual(outputs, outputs, 1))
            for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stages[0](self.stem(x))
        eighth = self.stages[1](x)
        sixteenth = self.stages[2](eighth)
        return eighth, sixteenth, self.stages[3](sixteenth)


class AttentionRefinement(nn.Module):
    """Scales channels by what their mean over the whole image says."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.features = ConvNormRelu(inputs, outputs)
        self.attention = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        # The kernel is taken from the tensor, as the published networks do: the TorchScript exporter cannot
        # make that with an open batch axis.
        mean = functional.avg_pool2d(features, features.size()[2:])
        return torch.mul(features, torch.sigmoid(self.norm(self.attention(mean))))


class ContextPath(nn.Module):
    """ResNet features, refined from the coarsest to the finest."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.refine_sixteenth = AttentionRefinement(256, 128)
        self.refine_thirty_second = AttentionRefinement(512, 128)
        self.head_sixteenth = ConvNormRelu(128, 128)
        self.head_thirty_second = ConvNormRelu(128, 128)
        self.global_context = ConvNormRelu(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        eighth, sixteenth, thirty_second = self.resnet(x)
        mean = self.global_context(functional.avg_pool2d(thirty_second, thirty_second.size()[2:]))
        context = functional.interpolate(mean, thirty_second.size()[2:], mode="nearest")
        coarse = self.refine_thirty_second(thirty_second) + context
        coarse = self.head_thirty_second(functional.interpolate(coarse, sixteenth.size()[2:], mode="nearest"))
        fine = self.refine_sixteenth(sixteenth) + coarse
        fine = self.head_sixteenth(functional.interpolate(fine, eighth.size()[2:], mode="nearest"))
        return eighth, fine, coarse


class FeatureFusion(nn.Module):
    """Joins spatial and context features, and weighs the channels of the result."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.join = ConvNormRelu(inputs, outputs, 1)
        self.squeeze = nn.Conv2d(outputs, outputs // 4, 1, bias=False)
        self.excite = nn.Conv2d(outputs // 4, outputs, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        features = self.join(torch.cat([spatial, context], dim=1))
        mean = functional.avg_pool2d(features, features.size()[2:])
        weights = torch.sigmoid(self.excite(functional.relu(self.squeeze(mean))))
        return torch.mul(features, weights) + features


class Head(nn.Sequential):
    """Scores of every class at every place."""

    def __init__(self, inputs: int, between: int, classes: int) -> None:
        super().__init__(ConvNormRelu(inputs, between), nn.Conv2d(between, classes, 1, bias=False))
        nn.init.normal_(self[1].weight, std=0.01)  # as heads start in training: small scores


class BiSeNet(nn.Module):
    """(N, 3, H, W) -> three times (N, classes, H, W): the answer, and the two heads that help training."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.context = ContextPath()
        self.fusion = FeatureFusion(256, 256)
        self.head = Head(256, 256, classes)
        self.head_sixteenth = Head(128, 64, classes)
        self.head_thirty_second = Head(128, 64, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = x.size()[2:]
        spatial, fine, coarse = self.context(x)
        scores = (
            self.head(self.fusion(spatial, fine)),
            self.head_sixteenth(fine),
            self.head_thirty_second(coarse),
        )
        answer, sixteenth, thirty_second = (
            functional.interpolate(score, size, mode="bilinear", align_corners=True) for score in scores
        )
        return answer, sixteenth, thirty_second
