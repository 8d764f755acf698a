"""Which packages a board gets: by its Python, C library, processor and JetPack, each version known to work.

Only what running a model imports: numpy and the runtime itself. What the packages declare beyond that
(sympy, protobuf, tqdm, ...) serves their tools; leaving it out spares a slow card thousands of files.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from device_agents.protocol import Examination
from harness.errors import DeviceError

#: What `bench device setup` can install; TensorRT comes with JetPack and from nowhere else.
INSTALLABLE = ("onnxruntime", "tflite")

#: Packages that serve a runtime, the first found in a folder of wheels wins.
PACKAGES_OF = {
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime"),
    "tflite": ("ai-edge-litert", "tflite-runtime"),
    "tensorrt": (),
}

_ARCHITECTURES = ("aarch64", "x86_64")

#: PEP 600: the oldest glibc a manylinux tag of the architecture may name.
_OLDEST_GLIBC = {"aarch64": 17, "x86_64": 5}
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


class NoPackage(DeviceError):
    """There is no package of a runtime for this board."""

    reason = "no_package"


@dataclass(frozen=True)
class BoardPlatform:
    """What decides which packages run on a board."""

    machine: str
    python: tuple[int, int]
    #: None where the C library is another.
    glibc: tuple[int, int] | None
    #: None where the processor does not tell its features.
    cpu_features: frozenset[str] | None
    jetpack: int | None = None

    @property
    def is_armv8_0(self) -> bool:
        """Arm without the atomics of Armv8.1 (Cortex-A53, A57, A72), or Arm that tells nothing."""
        return self.machine == "aarch64" and "atomics" not in (self.cpu_features or ())

    @property
    def python_tag(self) -> str:
        """As in cp311."""
        return f"cp{self.python[0]}{self.python[1]}"

    @property
    def abi(self) -> str:
        """As in cp311, or cp36m: until 3.7 there was a letter for how memory is taken."""
        return self.python_tag + ("m" if self.python < (3, 8) else "")

    def tags(self) -> tuple[str, ...]:
        """The platform tags of wheels that load here, newest first."""
        if self.glibc is None or self.machine not in _ARCHITECTURES:
            return ()
        names = []
        for minor in range(self.glibc[1], _OLDEST_GLIBC[self.machine] - 1, -1):
            names.append(f"manylinux_2_{minor}")
            if minor in _OLD_NAMES:
                names.append(_OLD_NAMES[minor])
        return tuple(f"{name}_{self.machine}" for name in (*names, "linux"))


@dataclass(frozen=True)
class Pin:
    """A package as it is installed: this version, or from somebody's own wheels any that is `allowed`."""

    name: str
    version: str
    #: A version specifier that known faults leave.
    allowed: str = ""

    @property
    def exact(self) -> str:
        """As in numpy==1.19.4."""
        return f"{self.name}=={self.version}"

    @property
    def loose(self) -> str:
        """As in numpy<1.24."""
        return f"{self.name}{self.allowed}"


@dataclass(frozen=True)
class _Build:
    """Wheels of one version: the Pythons and the glibc they are for."""

    package: str
    version: str
    pythons: tuple[tuple[int, int], tuple[int, int]]
    glibc: tuple[int, int]
    #: Runs on Armv8.0 as well.
    armv8_0: bool = True
    #: Made with numpy 1 and unusable beside numpy 2.
    numpy_1: bool = False

    def fits(self, platform: BoardPlatform) -> bool:
        """Whether it runs there."""
        first, last = self.pythons
        return (
            first <= platform.python <= last
            and platform.glibc is not None
            and platform.glibc >= self.glibc
            and (self.armv8_0 or not platform.is_armv8_0)
        )


#: Best first; each was resolved for aarch64 and x86_64 with pip on 21 Nov 2026. onnxruntime 1.21.0 dies of
#: SIGILL on a Cortex-A72 and 1.20.1 does not (microsoft/onnxruntime 23957); later ones are unproven there.
_BUILDS = {
    "onnxruntime": (
        _Build("onnxruntime", "1.31.1", ((3, 11), (3, 14)), (2, 28), armv8_0=False),
        _Build("onnxruntime", "1.23.2", ((3, 10), (3, 13)), (2, 27), armv8_0=False),
        _Build("onnxruntime", "1.20.1", ((3, 10), (3, 13)), (2, 27)),
        _Build("onnxruntime", "1.19.2", ((3, 8), (3, 9)), (2, 27)),
        _Build("onnxruntime", "1.14.1", ((3, 7), (3, 7)), (2, 27)),
        _Build("onnxruntime", "1.10.0", ((3, 6), (3, 6)), (2, 17)),
    ),
    # tflite-runtime 2.14 for aarch64 wants glibc 2.34, which neither JetPack 5 nor bullseye has.
    "tflite": (
        _Build("ai-edge-litert", "2.3.0", ((3, 10), (3, 14)), (2, 27)),
        _Build("ai-edge-litert", "2.1.0", ((3, 9), (3, 9)), (2, 27)),
        _Build("tflite-runtime", "2.13.0", ((3, 8), (3, 9)), (2, 17), numpy_1=True),
        _Build("tflite-runtime", "2.11.0", ((3, 7), (3, 7)), (2, 17), numpy_1=True),
    ),
}

#: pip that runs on each Python and knows its wheels' tags; 21.3.1 is the last for 3.6.
_PIPS = {(3, 6): "21.3.1", (3, 7): "24.0", (3, 8): "25.0.1"}
_PIP = "25.3"


def platform_of(examined: Examination, jetpack: int | None) -> BoardPlatform:
    """The platform of the Python that was examined."""
    machine = examined.facts.machine
    if examined.python_bits == 32:
        # A 64-bit kernel says aarch64 to a 32-bit system as well.
        machine = {"aarch64": "armv7l", "x86_64": "i686"}.get(machine, machine)
    features = examined.facts.cpu_features
    return BoardPlatform(
        machine=machine,
        python=version_pair(examined.facts.python) or (0, 0),
        glibc=version_pair(examined.glibc or ""),
        cpu_features=frozenset(features.split()) if features else None,
        jetpack=jetpack,
    )


def version_pair(text: str) -> tuple[int, int] | None:
    """The first two numbers of a version; None where there are none."""
    parts = text.split(".")[:2]
    # A board says this: what has more digits than any version is none.
    if len(parts) == 2 and all(part.isdecimal() and len(part) <= 4 for part in parts):
        return int(parts[0]), int(parts[1])
    return None


def packages_for(platform: BoardPlatform, runtimes: Sequence[str]) -> tuple[Pin, ...]:
    """What to install for `runtimes`, numpy first and without pip; raises NoPackage."""
    builds = [_build(platform, runtime) for runtime in runtimes if runtime in INSTALLABLE]
    numpy = numpy_pin(platform, numpy_1=any(build.numpy_1 for build in builds))
    return (numpy, *(_pin(build.package, build.version, platform) for build in builds))


def packages_from(
    platform: BoardPlatform, runtimes: Sequence[str], names: Collection[str]
) -> tuple[Pin, ...]:
    """The same from a folder that holds wheels of `names` (normalised)."""
    check_platform(platform)
    found: list[Pin] = []
    for runtime in runtimes:
        packages = PACKAGES_OF[runtime]
        package = next((name for name in packages if name in names), packages[-1] if packages else None)
        if package is not None:
            found.append(_pin(package, _version_or_none(platform, runtime), platform))
    numpy_1 = any(pin.name == "tflite-runtime" for pin in found)
    return (numpy_pin(platform, numpy_1=numpy_1), *found)


def possible_runtimes(platform: BoardPlatform) -> tuple[str, ...]:
    """The runtimes there are packages of for this platform."""
    return tuple(
        runtime for runtime in INSTALLABLE if any(build.fits(platform) for build in _BUILDS[runtime])
    )


def pip_pin(platform: BoardPlatform) -> Pin:
    """The pip to run there; it is not installed."""
    allowed = "<=21.3.1" if platform.python == (3, 6) else ""
    return Pin("pip", _PIPS.get(platform.python, _PIP), allowed)


def numpy_pin(platform: BoardPlatform, *, numpy_1: bool = False) -> Pin:
    """The numpy to install.

    TensorRT up to 8.5.2 (JetPack 4 and 5) says np.bool, which numpy 1.24 removed; numpy 1.19.5 dies of SIGILL
    on Jetsons (numpy/numpy 18131), 1.19.4 does not; wheels for JetPack 6 were made with numpy 1.
    """
    python = platform.python
    if python == (3, 6):
        arm = platform.machine == "aarch64"
        return Pin("numpy", "1.19.4", "<1.19.5") if arm else Pin("numpy", "1.19.5", "")
    if python == (3, 7):
        return Pin("numpy", "1.21.6", "")
    if platform.jetpack in (4, 5) and python <= (3, 11):
        return Pin("numpy", "1.23.5", "<1.24")
    if python == (3, 8):
        return Pin("numpy", "1.24.4", "")
    if python == (3, 9) or ((numpy_1 or platform.jetpack == 6) and python <= (3, 12)):
        return Pin("numpy", "1.26.4", "<2")
    return Pin("numpy", "2.3.5" if python >= (3, 14) else "2.2.6", "")


def check_platform(platform: BoardPlatform) -> None:
    """Raise NoPackage where no package can run, whatever the runtime."""
    if platform.machine not in _ARCHITECTURES:
        raise NoPackage(
            f"no runtime has packages for a {platform.machine} system, only for 64-bit Arm and x86",
            "write a 64-bit image to another card, or install a runtime by hand and name its Python as "
            "`python` in the inventory",
        )
    if platform.glibc is None:
        raise NoPackage(
            "the system's C library is not glibc, and packages of the runtimes are for glibc alone",
            "use a system with glibc (Debian, Ubuntu, Raspberry Pi OS, JetPack)",
        )


def _build(platform: BoardPlatform, runtime: str) -> _Build:
    check_platform(platform)
    for build in _BUILDS[runtime]:
        if build.fits(platform):
            return build
    python = ".".join(map(str, platform.python))
    raise NoPackage(
        f"there is no {runtime} package for Python {python}, glibc {'.'.join(map(str, platform.glibc or ()))}"
        f" and {'Armv8.0' if platform.is_armv8_0 else platform.machine}",
        f"give a folder with wheels that you have from elsewhere: --wheels DIR; or leave {runtime} out",
    )


def _version_or_none(platform: BoardPlatform, runtime: str) -> str:
    build = next((build for build in _BUILDS.get(runtime, ()) if build.fits(platform)), None)
    return build.version if build else ""


def _pin(package: str, version: str, platform: BoardPlatform) -> Pin:
    """What is allowed is known to work, or at least not known to fail."""
    allowed = "<1.21" if package == "onnxruntime" and platform.is_armv8_0 else ""
    return Pin(package, version, allowed)
