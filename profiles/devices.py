"""Kinds of boards: what a board of a kind should have. What it really has, the probe says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Literal

from profiles import strict_toml
from profiles.strict_toml import InvalidFile
from profiles.systems import SystemGeneration, system_generations

BoardFamily = Literal["generic-linux", "raspberry-pi", "jetson"]
Precision = Literal["fp32", "fp16", "int8", "int8-dynamic"]

FOLDER = Path(__file__).with_suffix("")

#: A system sees its RAM less what firmware and GPU keep: 7620 MB of an Orin Nano's 8192, say.
LEAST_RAM_SEEN = 0.75


class UnknownProfile(Exception):
    """There is no profile of that name; `known` lists those there are."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no device profile {name!r}; known: {', '.join(known)}")
        self.name = name
        self.known = known


@dataclass(frozen=True)
class Peaks:
    """Highest arithmetic rates, dense, in 10^9 operations a second (a multiply-add is two)."""

    cpu_fp32_gflops: float | None = None
    cpu_fp16_gflops: float | None = None
    cpu_int8_gops: float | None = None
    gpu_fp32_gflops: float | None = None
    gpu_fp16_gflops: float | None = None
    gpu_int8_gops: float | None = None
    #: What the vendor prints. Counts zeros skipped and DLAs in: no measure of a utilisation.
    published: str | None = None


@dataclass(frozen=True)
class Variant:
    """A module of the same kind that differs: of several that fit a board, the first counts.

    A board is one when it names one of `compatible` (if any are given) and has one of `ram_bytes` (likewise).
    The other fields stand in place of the profile's; what is None stays as there.
    """

    name: str
    compatible: tuple[str, ...] = ()
    ram_bytes: tuple[int, ...] = ()
    cpu_cores: int | None = None
    gpu: str | None = None
    gpu_max_mhz: float | None = None
    memory_bandwidth_gb_s: float | None = None
    dla_cores: int | None = None
    peaks: Peaks | None = None


@dataclass(frozen=True)
class DeviceDocument:
    """A device profile as it is written. None: differs within the kind, or nothing is known or expected."""

    description: str
    #: Which file of device_agents/boards knows its sensors and clocks.
    board_family: BoardFamily
    #: Precisions its GPU executes natively, and its CPU where it has no GPU that a runtime uses.
    #: Others run, if at all, by conversion.
    native_precisions: tuple[Precision, ...]
    #: The same of the CPU, where `native_precisions` are a GPU's.
    cpu_native_precisions: tuple[Precision, ...] = ()
    #: Device tree strings that name this kind; of NVIDIA's, the module without carrier and revision.
    compatible: tuple[str, ...] = ()
    #: Its SoC's: a board that nothing else names is compared with the nearest profile of its SoC.
    soc_compatible: str | None = None
    soc: str | None = None
    cpu: str | None = None
    cpu_cores: int | None = None
    #: Highest clock of the CPU as shipped, MHz, and those of other revisions or modes.
    cpu_max_mhz: int | None = None
    other_cpu_max_mhz: tuple[int, ...] = ()
    cpu_min_mhz: int | None = None
    #: Words of /proc/cpuinfo's Features that kernels of runtimes choose by.
    isa_features: tuple[str, ...] = ()
    #: Sizes it is sold with, bytes. The system sees a little less.
    ram_bytes: tuple[int, ...] = ()
    #: 10^9 bytes a second, in theory.
    memory_bandwidth_gb_s: float | None = None
    peaks: Peaks = Peaks()
    gpu: str | None = None
    gpu_max_mhz: float | None = None
    #: CUDA's, "8.7".
    compute_capability: str | None = None
    dla_cores: int | None = None
    #: Power rails as the board names them.
    power_rails: tuple[str, ...] = ()
    #: The rail that measures the whole board or module; where none does, those to add up.
    power_rail: str | None = None
    power_rail_sum: tuple[str, ...] = ()
    #: Names of systems.toml, oldest first.
    systems: tuple[str, ...] = ()
    #: Versions that were seen to work on its CPU, and to die of SIGILL there.
    onnxruntime_good: tuple[str, ...] = ()
    onnxruntime_bad: tuple[str, ...] = ()
    #: Threads to measure with when nobody says; None is all cores the board reports.
    default_num_threads: int | None = None
    #: A measurement starts no hotter than this, so that runs compare.
    max_start_temperature_c: float | None = None
    #: The firmware lowers clocks from here on.
    throttle_temperature_c: float | None = None
    variants: tuple[Variant, ...] = ()
    #: Traps worth telling, a sentence each.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceProfile(DeviceDocument):
    """A kind of board by its name, in the variant at hand if one is named."""

    name: str = ""
    variant: str | None = None
    #: The board is of another, unknown kind with the same SoC: figures of other boards do not hold for it.
    stands_in: bool = False

    @property
    def system_generations(self) -> tuple[SystemGeneration, ...]:
        """The systems it is run with, oldest first."""
        return tuple(system_generations()[name] for name in self.systems)

    def native_for(self, runtime: str) -> tuple[Precision, ...]:
        """What a runtime executes natively on this board: TensorRT on the GPU, the others on the CPU."""
        on_gpu = runtime == "tensorrt" or not self.cpu_native_precisions
        return self.native_precisions if on_gpu else self.cpu_native_precisions

    def for_board(self, identities: Sequence[str], memory_bytes: int | None) -> DeviceProfile:
        """The variant of a board that names `identities` and sees `memory_bytes` of RAM."""
        for variant in self.variants:
            if _is_variant(variant, identities, memory_bytes):
                own = {item.name: getattr(variant, item.name) for item in fields(Variant)}
                changes = {key: value for key, value in own.items() if key not in ("name", "compatible")}
                kept = {key: value for key, value in changes.items() if value not in (None, ())}
                return replace(self, variant=variant.name, **kept)
        return self


def has_ram(sizes: Sequence[int], memory_bytes: int) -> bool:
    """Whether a system that sees `memory_bytes` can be one sold with one of `sizes`."""
    return any(LEAST_RAM_SEEN * size <= memory_bytes <= size for size in sizes)


def device_profile_names(folder: Path = FOLDER) -> tuple[str, ...]:
    """All profiles there are, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def device_profile(name: str, folder: Path = FOLDER) -> DeviceProfile:
    """The profile `name`; raises UnknownProfile, or InvalidFile with every fault."""
    return _shipped(name) if folder == FOLDER else _load(name, folder)


@cache
def _shipped(name: str) -> DeviceProfile:
    return _load(name, FOLDER)


def _load(name: str, folder: Path) -> DeviceProfile:
    if name not in device_profile_names(folder):
        raise UnknownProfile(name, device_profile_names(folder))
    path = folder / f"{name}.toml"
    document = strict_toml.load(path, DeviceDocument)
    faults = _faults(document)
    if faults:
        raise InvalidFile([f"{path}: {fault}" for fault in faults])
    # The file's name is the profile's, so the two cannot differ.
    return DeviceProfile(**vars(document), name=name)


def _faults(document: DeviceDocument) -> list[str]:
    known = ", ".join(system_generations())
    unknown = [system for system in document.systems if system not in system_generations()]
    unbound = [variant for variant in document.variants if not variant.compatible and not variant.ram_bytes]
    return [f"systems: unknown {system!r}; known: {known}" for system in unknown] + [
        f"variants: {variant.name!r} says neither compatible nor ram_bytes, so no board is known to be one"
        for variant in unbound
    ]


def _is_variant(variant: Variant, identities: Sequence[str], memory_bytes: int | None) -> bool:
    if variant.compatible and not set(variant.compatible) & set(identities):
        return False
    if not variant.ram_bytes:
        return True
    return memory_bytes is not None and has_ram(variant.ram_bytes, memory_bytes)
