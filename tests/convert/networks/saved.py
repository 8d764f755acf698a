"""Writes every kind of file that PyTorch saves into the folder of argv[1]; run in the torch toolchain."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import troubles
from torch import Tensor, nn


class Hostile:
    """Unpickled, it runs a command."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.file}",)


class Writing(nn.Module):
    """TorchScript that leaves a file behind."""

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "left-behind")
        return x


class Named(nn.Module):
    """Two inputs, the second by keyword; outputs in a dict."""

    def forward(self, left: Tensor, *, right: Tensor) -> dict[str, Tensor]:
        return {"total": left + right, "difference": left - right}


def save_all(folder: Path) -> None:
    torch.manual_seed(0)  # as before every factory
    network, examples = troubles.not_square()
    network.eval()
    weights = network.state_dict()
    torch.save(weights, folder / "weights.pth")
    torch.save(weights, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    parallel = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"epoch": 3, "state_dict": parallel}, folder / "checkpoint.pth")
    torch.save(network, folder / "whole.pt")
    torch.save(Hostile(folder / "hostile-was-here"), folder / "hostile.pt")
    torch.save([1, 2], folder / "list.pt")
    (folder / "damaged.pth").write_bytes((folder / "weights.pth").read_bytes()[:2000])
    (folder / "text.pth").write_text("not a model", encoding="utf-8")
    torch.jit.script(network).save(folder / "scripted.pt")
    (folder / "damaged_script.pt").write_bytes((folder / "scripted.pt").read_bytes()[:-3000])
    torch.jit.script(Writing()).save(folder / "writing.pt")
    torch.export.save(torch.export.export(network, examples), folder / "program.pt2")
    pair = (torch.ones(1, 4),), {"right": torch.ones(1, 4)}
    torch.export.save(torch.export.export(Named(), pair[0], kwargs=pair[1]), folder / "named.pt2")


if __name__ == "__main__":
    save_all(Path(sys.argv[1]))
