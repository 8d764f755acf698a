"""A Jetson Nano for tests: its tree of files and commands, TensorRT's API of its generation, Python 3.6.

What cannot be here is the GPU: TensorRT and CUDA are stand-ins (tests/standins) that compute on the host.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.device_agents.board_trees import stand_in
from tests.standins.placing import place_libcudart, place_tensorrt

GPU = {
    "STANDIN_TENSORRT": "8.2.1.8",
    "STANDIN_GPU_NAME": "NVIDIA Tegra X1",
    "STANDIN_GPU_CC": "5.3",
    "STANDIN_GPU_MEMORY": str(4 << 30),
}


@dataclass
class StandInNano:
    """The board as an interpreter: what runs under `python` believes to be on a Jetson Nano."""

    folder: Path
    interpreter: Path
    tree: str = "jetson-nano"
    variables: dict[str, str] = field(default_factory=lambda: dict(GPU))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.root = stand_in(self.tree, self.folder / "root").root
        place_tensorrt(self.folder / "site")
        place_libcudart(Path(self.root))
        # As docs/devices.md has it made at each start, for jetson_clocks to keep the clocks in.
        (Path(self.root) / "run" / "edgebench").mkdir(parents=True, exist_ok=True)
        self.change()

    @property
    def python(self) -> Path:
        """What an inventory names as the board's Python."""
        return self.folder / "python"

    def change(self, **variables: str) -> None:
        """Another GPU, another TensorRT: the next agent command finds it."""
        self.variables.update(variables)
        settings: Mapping[str, str] = {
            **self.variables,
            "EDGEBENCH_BOARD_ROOT": str(self.root),
            "PYTHONPATH": str(self.folder / "site"),
        }
        exported = " ".join(f"{name}='{value}'" for name, value in settings.items())
        self.python.write_text(f'#!/bin/sh\nexec env {exported} {self.interpreter} "$@"\n')
        self.python.chmod(0o755)

    def give_to(self, user: str) -> None:
        """Let an ordinary account own the board."""
        for path in [self.folder, *self.folder.rglob("*")]:
            shutil.chown(path, user)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o700)
