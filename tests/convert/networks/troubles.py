"""Small networks, each with one trouble on the way to another format; who calls seeds their weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Example = tuple[nn.Module, tuple[Tensor, ...]]


class Stem(nn.Module):
    """(N, 3, H, W) -> (N, 8, H/2, W/2)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return functional.relu(self.convolution(image))


class After(nn.Module):
    """The stem, and one layer after it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem = Stem()
        self.layer = layer

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(self.stem(image))


def _after_stem(layer: nn.Module, height: int = 16, width: int = 16) -> Example:
    return After(layer), (torch.randn(1, 3, height, width),)


def uneven_adaptive_pool() -> Example:
    """7x7 pooled to 3x3: windows of three sizes' worth of overlap, which no AveragePool describes."""
    return _after_stem(nn.AdaptiveAvgPool2d(3), 14, 14)


class FunctionalUnevenPool(nn.Module):
    """The same in forward(), where no module can be exchanged; rows stay as they are."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(x, (None, 2))


def functional_uneven_adaptive_pool() -> Example:
    """7x5 pooled to 7x2."""
    return _after_stem(FunctionalUnevenPool(), 14, 10)


class Halved(torch.autograd.Function):
    """x / 2 through numpy, which no exporter sees."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() / np.float32(2))


class PythonFunction(nn.Module):
    """A layer of Python code that computes outside of torch."""

    def forward(self, x: Tensor) -> Tensor:
        return Halved.apply(x)


def python_function() -> Example:
    """A torch.autograd.Function that leaves torch."""
    return _after_stem(PythonFunction())


class Copied(torch.autograd.Function):
    """The same values by way of bytes, which nothing can follow."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return torch.frombuffer(bytearray(x.detach().numpy().tobytes()), dtype=x.dtype).reshape(x.shape)


class ForeignCode(nn.Module):
    """A layer beside a shortcut, so that the output depends on the input even where the layer is lost."""

    def forward(self, x: Tensor) -> Tensor:
        return x + Copied.apply(x)


def foreign_code() -> Example:
    """Half of the output is computed outside of torch."""
    return _after_stem(ForeignCode())


@torch.library.custom_op("edgebench_troubles::fold_back", mutates_args=())
def fold_back(x: Tensor) -> Tensor:
    """A registered operator that no target knows."""
    return x.abs().remainder(1.0)


@fold_back.register_fake
def _fold_back_shape(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class CustomOperator(nn.Module):
    """A layer that is one custom operator."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.edgebench_troubles.fold_back(x)


def custom_operator() -> Example:
    """An operator of torch.library."""
    return _after_stem(CustomOperator())


class Bessel(nn.Module):
    """torch.special.bessel_j0, which is part of torch and of no target."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


def unsupported_operator() -> Example:
    """An operator of torch that ONNX and TFLite lack."""
    return _after_stem(Bessel())


class Fourier(nn.Module):
    """Absolute values of a Fourier transform, which the TorchScript exporter lacks."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(x).abs()


def fourier() -> Example:
    """A Fourier transform."""
    return _after_stem(Fourier())


class ChannelOrder(nn.Module):
    """Flattens features and weighs every place differently: any confusion of axes shows in the output."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.flatten(x, 1))


def not_square() -> Example:
    """1x3x48x80."""
    return _after_stem(ChannelOrder(8 * 24 * 40), 48, 80)


class NamedOutputs(nn.Module):
    """Outputs in a dict, one of them nested, one absent."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem()

    def forward(self, image: Tensor) -> dict[str, object]:
        features = self.stem(image)
        pooled = features.mean((2, 3))
        return {
            "features": features,
            "pooled": {"mean": pooled, "sums": [pooled * 64, pooled * 2]},
            "loss": None,
        }


def named_outputs() -> Example:
    """Outputs features, pooled.mean, pooled.sums.0 and pooled.sums.1."""
    return NamedOutputs(), (torch.randn(1, 3, 16, 16),)


class Pair(NamedTuple):
    """Two outputs with names."""

    total: Tensor
    difference: Tensor


class TwoInputs(nn.Module):
    """Inputs that must not be confused; a third argument has a default."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, left: Tensor, right: Tensor, bias: Tensor | None = None) -> Pair:
        right = right * self.scale
        return Pair(left + right, left - right)


def two_inputs() -> nn.Module:
    """Without examples."""
    return TwoInputs()


class Branching(nn.Module):
    """Takes one of two ways, by the sum of the values."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * 2
        return x - 1


def branching() -> Example:
    """Dynamic control flow."""
    return Branching(), (torch.ones(1, 4),)


class Passing(nn.Module):
    """One output is the input itself, two are the same tensor."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        double = x * 2
        return x, double, double


def passing() -> Example:
    """Outputs that are no node of their own."""
    return Passing(), (torch.ones(1, 4),)


class Counting(nn.Module):
    """Answers a tensor and a number."""

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return x * 2, x.ndim


def not_a_tensor() -> Example:
    """An output that is no tensor."""
    return Counting(), (torch.ones(1, 4),)


class Embedding(nn.Module):
    """Rows of a table by their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, rows: Tensor) -> Tensor:
        return self.table(rows)


def integer_input() -> Example:
    """int64 in."""
    return Embedding(), (torch.tensor([[1, 2, 3]]),)


class Sampling(nn.Module):
    """Sampling positions, which ONNX has from opset 16 on."""

    def forward(self, x: Tensor) -> Tensor:
        rotation = torch.tensor([[[0.8, -0.6, 0.0], [0.6, 0.8, 0.0]]])
        grid = functional.affine_grid(rotation, [1, 8, 8, 8], align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)


def grid_sample() -> Example:
    """An operator that only newer opsets have."""
    return _after_stem(Sampling())


def fails() -> nn.Module:
    """A factory with a mistake in it."""
    raise ZeroDivisionError("there is a mistake here")


def no_module() -> int:
    """A factory that makes something else."""
    return 7


def not_square_untrained() -> Example:
    """not_square with other random weights."""
    made = not_square()
    for parameter in made[0].parameters():
        nn.init.normal_(parameter)
    return made


class Scale(nn.Module):
    """A layer with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def wider() -> Example:
    """Weights of not_square do not fit: other names, other shapes."""
    made = _after_stem(Scale())
    made[0].stem.convolution = nn.Conv2d(3, 12, 3, 2, 1)
    return made


def in_place() -> Example:
    """A layer that overwrites what the one before it answered."""
    return nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)), (torch.ones(1, 2),)


class HarmlessBranch(nn.Module):
    """A check of the values that no input fails."""

    def forward(self, x: Tensor) -> Tensor:
        if x.abs().max() < 0:
            raise ValueError("no absolute value is negative")
        return x * 2


def harmless_branch() -> Example:
    """Python looks at values, and does the same whatever they are."""
    return _after_stem(HarmlessBranch())


class ImageAndFeatures(nn.Module):
    """An image beside features of many channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem()
        self.order = ChannelOrder(8 * 4 * 6)

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        return self.order(self.stem(image) + features)


def image_and_features() -> Example:
    """Inputs of 3 and of 8 channels, not square."""
    return ImageAndFeatures(), (torch.randn(1, 3, 8, 12), torch.randn(1, 8, 4, 6))


class OneImageOnly(nn.Module):
    """A batch size that is written down in forward()."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, 512)


def one_image_only() -> Example:
    """Takes no other batch size."""
    return _after_stem(OneImageOnly())
