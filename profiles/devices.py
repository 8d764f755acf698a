"""Kinds of boards: what a board of a kind should have. What it really has, the probe says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from profiles import strict_toml

BoardFamily = Literal["generic-linux", "raspberry-pi", "jetson"]
Precision = Literal["fp32", "fp16", "int8", "int8-dynamic"]

FOLDER = Path(__file__).with_suffix("")


class UnknownProfile(Exception):
    """There is no profile of that name; `known` lists those there are."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no device profile {name!r}; known: {', '.join(known)}")
        self.name = name
        self.known = known


@dataclass(frozen=True)
class DeviceProfile:
    """A kind of board. None means that it differs within the kind, or that nothing is expected."""

    description: str
    #: Which file of device_agents/boards knows its sensors and clocks.
    board_family: BoardFamily
    #: Precisions its hardware executes natively; others run, if at all, by conversion.
    native_precisions: tuple[Precision, ...]
    soc: str | None = None
    cpu: str | None = None
    cpu_cores: int | None = None
    #: Highest clock of the CPU as shipped, MHz.
    cpu_max_mhz: int | None = None
    gpu: str | None = None
    #: Sizes it is sold with, bytes. The system sees a little less.
    ram_bytes: tuple[int, ...] = ()
    #: Threads to measure with when nobody says; None is all cores the board reports.
    default_num_threads: int | None = None
    #: A measurement starts no hotter than this, so that runs compare.
    max_start_temperature_c: float | None = None
    #: The firmware lowers clocks from here on.
    throttle_temperature_c: float | None = None
    #: JetPack's TensorRT versions to expect, e.g. "8.2"; empty where there is no TensorRT.
    tensorrt_versions: tuple[str, ...] = ()
    name: str = ""


def device_profile_names(folder: Path = FOLDER) -> tuple[str, ...]:
    """All profiles there are, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def device_profile(name: str, folder: Path = FOLDER) -> DeviceProfile:
    """The profile `name`; raises UnknownProfile, or InvalidFile with every fault."""
    if name not in device_profile_names(folder):
        raise UnknownProfile(name, device_profile_names(folder))
    # The file's name is the profile's, so the two cannot differ.
    return replace(strict_toml.load(folder / f"{name}.toml", DeviceProfile), name=name)
