"""Which software a Jetson runs: L4T release, JetPack, CUDA, TensorRT; and which chip it runs on."""

import json
import re
from typing import Dict, List, NamedTuple, Optional

from device_agents.boards.linux_files import LinuxFiles

#: JetPack by L4T release: NVIDIA's JetPack archive, as dusty-nv/jetson-containers has it too.
_JETPACK = {
    "32.4.3": "4.4",
    "32.4.4": "4.4.1",
    "32.5": "4.5",
    "32.5.0": "4.5",
    "32.5.1": "4.5.1",
    "32.5.2": "4.5.1",
    "32.6.1": "4.6",
    "32.7.1": "4.6.1",
    "32.7.2": "4.6.2",
    "32.7.3": "4.6.3",
    "32.7.4": "4.6.4",
    "32.7.5": "4.6.5",
    "32.7.6": "4.6.6",
    "34.1.0": "5.0",
    "34.1.1": "5.0.1",
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "35.6.4": "5.1.6",
    "36.2.0": "6.0",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
}

#: What a release that is newer than this table belongs to.
_GENERATIONS = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7", 39: "7"}

_RELEASE = re.compile(r"R([0-9]{1,3}) \(release\), REVISION: ([0-9]{1,3}(?:\.[0-9]{1,3})*)")

#: Debian's list of packages is a few megabytes.
_DPKG_STATUS = "/var/lib/dpkg/status"
_DPKG_LIMIT = 64 << 20
_LIBNVINFER = re.compile(r"libnvinfer\.so\.([0-9]+(?:\.[0-9]+)+)$")


class Chip(NamedTuple):
    """A system on chip: its name in the device tree, and its GPU."""

    soc: str
    gpu: str


#: NVIDIA's CUDA compute capability tables; Thor's is 11.0 since CUDA 13.
_CHIPS = (
    Chip("tegra210", "GM20B (Maxwell, sm_53)"),
    Chip("tegra186", "GP10B (Pascal, sm_62)"),
    Chip("tegra194", "GV11B (Volta, sm_72)"),
    Chip("tegra234", "GA10B (Ampere, sm_87)"),
    Chip("tegra264", "GB10B (Blackwell, sm_110)"),
)


def chip(compatible: List[str]) -> Optional[Chip]:
    """The chip that a device tree's `compatible` strings name."""
    return next((known for known in _CHIPS if "nvidia," + known.soc in compatible), None)


def l4t_release(files: LinuxFiles) -> Optional[str]:
    """As in "36.4.3". The BOARD of the release file is wrong on most boards and not looked at."""
    found = _RELEASE.search(files.text("/etc/nv_tegra_release") or "")
    if found is not None:
        return found.group(1) + "." + found.group(2)
    version = _package(files, r"nvidia-l4t-core")
    return version.partition("-")[0] if version else None


def jetpack(release: Optional[str]) -> Optional[str]:
    """JetPack of an L4T release; of one that is not in the table only the generation, as in "6.x"."""
    if release is None:
        return None
    known = _JETPACK.get(release)
    if known is not None:
        return known
    major = release.partition(".")[0]
    generation = _GENERATIONS.get(int(major)) if major.isdecimal() else None
    return generation + ".x" if generation else None


def cuda_version(files: LinuxFiles) -> Optional[str]:
    """The toolkit's own file: JSON since 11.1, `CUDA Version 10.2.300` before."""
    try:
        told = json.loads(files.text("/usr/local/cuda/version.json") or "null")
        version = told["cuda"]["version"]
    except (ValueError, KeyError, TypeError):
        version = None
    if isinstance(version, str) and version:
        return version
    found = re.search(r"CUDA Version ([0-9.]+)", files.text("/usr/local/cuda/version.txt") or "")
    return found.group(1) if found else None


def tensorrt_version(files: LinuxFiles) -> Optional[str]:
    """TensorRT's package, as in "8.2.1-1+cuda10.2"; without packages, the version its library's name has."""
    version = _package(files, r"libnvinfer[0-9]+")
    if version is not None:
        return version
    names = files.matches("/usr/lib/aarch64-linux-gnu/libnvinfer.so.*.*")
    found = [match.group(1) for match in map(_LIBNVINFER.search, names) if match is not None]
    return found[-1] if found else None


def details(files: LinuxFiles, compatible: List[str]) -> Dict[str, str]:
    """All of it by name; what is not there is left out."""
    release = l4t_release(files)
    found = chip(compatible)
    told = {
        "l4t_release": release,
        "jetpack": jetpack(release),
        "soc": found.soc if found else None,
        "gpu": found.gpu if found else None,
        "cuda": cuda_version(files),
        "tensorrt": tensorrt_version(files),
    }
    return {name: text for name, text in told.items() if text is not None}


def _package(files: LinuxFiles, name: str) -> Optional[str]:
    """The version of an installed Debian package whose name matches, by dpkg's own file."""
    try:
        with open(files.path(_DPKG_STATUS), "rb") as file:
            text = file.read(_DPKG_LIMIT).decode("utf-8", "replace")
    except OSError:
        return None
    for found in re.finditer(r"^Package: " + name + r"\n((?:.+\n?)*)", text, re.MULTILINE):
        stanza = found.group(1)
        version = re.search(r"^Version: (\S+)", stanza, re.MULTILINE)
        if version and re.search(r"^Status: .* installed$", stanza, re.MULTILINE):
            return version.group(1)
    return None
