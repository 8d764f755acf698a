"""The files that make a virtual board a Jetson: JetPack's, the kernel's, the tools, TensorRT and CUDA.

Tools and libraries are stand-ins: they answer as the real ones are known to, and time nothing of a Jetson.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.farm.sudoers import FILE as SUDOERS
from harness.farm.sudoers import TMPFILES, TMPFILES_LINE, rules_for, text_of
from harness.lab.boards.board_files import USER, device_tree, link_cores, write_tree
from harness.lab.boards.kinds import Kind
from harness.lab.jetson.software import JetsonSoftware
from harness.lab.jetson.standins import JETSON, SITE

TENSORRT = "8.2.1.8"
_CUDA = "10.2"
#: Where apt (JetPack's TensorRT) and pip put packages.
_SYSTEM_PACKAGES = "usr/lib/python{}/dist-packages"
_LOCAL_PACKAGES = "usr/local/lib/python{}/dist-packages"

_PACKAGES = "var/lib/dpkg/status"
_CPUS = Path("/sys/devices/system/cpu")
_COMMANDS = {"nvpmodel": "/usr/sbin/nvpmodel", "jetson_clocks": "/usr/bin/jetson_clocks"}
#: #include: sudo before 1.9.1 knows no @include. What this machine allows its own users is no matter here.
_SUDOERS = f"""\
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL=(ALL) ALL
#include {SUDOERS}
"""


def environment(kind: Kind, software: JetsonSoftware) -> dict[str, str]:
    """What sshd gives each session: where packages lie, and which TensorRT the stand-in is."""
    if software.packages is None:
        return {}
    places = [f"/{place.format(kind.python)}" for place in (_SYSTEM_PACKAGES, _LOCAL_PACKAGES)]
    found = {"PYTHONPATH": ":".join(places)}
    if software.has_tensorrt:
        found |= {
            "STANDIN_TENSORRT": TENSORRT,
            # Wherever it is named, nobody takes it for the real one.
            "STANDIN_GPU_NAME": "NVIDIA Tegra X1 (stand-in)",
            "STANDIN_GPU_CC": "5.3",
            "STANDIN_GPU_MEMORY": str(kind.memory_kib * 1024),
        }
    return found


def tree_tables(name: str) -> dict[str, Any]:
    """What a kind's `tree` names: its files, and those of its sensors."""
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))


def write_jetson(folder: Path, name: str, kind: Kind, software: JetsonSoftware) -> None:
    """Write `files`, `stand-ins`, `power-on` and `binds`; a board's plain files are there already."""
    assert kind.tree is not None
    tables = tree_tables(kind.tree)
    files, stand_ins = folder / "files", folder / "stand-ins"
    system = _lines(tables["files"])
    system[_PACKAGES] = _packages(system[_PACKAGES], software)
    write_tree(files, system)
    write_tree(stand_ins, _lines(tables["stand_ins"]) | device_tree(kind, "sys/firmware/devicetree/base"))
    # For `bench lab play`, which changes the power mode by the tool itself.
    write_tree(stand_ins, {"etc/nvpmodel.conf": system["etc/nvpmodel.conf"], "tegrastats/line": ""})
    (stand_ins / "sys/kernel/debug").chmod(0o700)
    _link_cores(stand_ins / "sys/devices/system/cpu")
    # Each start begins with it: no clock stays locked over a restart, but for what the power mode brings.
    shutil.copytree(stand_ins / "sys", folder / "power-on/sys", symlinks=True)
    _lay_commands(files)
    if software.has_sudo:
        _allow(files, name)
    if software.has_tensorrt:
        _lay_tensorrt(files, kind, software)
    _write_binds(folder, kind, software)


def _lines(table: Mapping[str, str]) -> dict[str, str]:
    """The device tree's strings end with a NUL, all else with a line."""
    return {path: text if text.endswith("\0") else text + "\n" for path, text in table.items()}


def _packages(status: str, software: JetsonSoftware) -> str:
    """Debian's list, which is where a record has its TensorRT from: it says there, too, what that one is."""
    if not software.has_tensorrt:
        return re.sub(r"Package: libnvinfer8\n(?:.+\n)+\n?", "", status)
    return status.replace("+cuda10.2\n", "+cuda10.2+standin\n")


def _link_cores(cpus: Path) -> None:
    """Beside the clocks, what this machine says of its cores: runtimes read how many there are."""
    link_cores(cpus)
    for core in cpus.glob("cpu[0-9]*"):
        topology = {
            f"topology/{path.name}": path.read_text("utf-8")
            for path in (_CPUS / core.name / "topology").glob("*")
            if path.is_file()
        }
        write_tree(core, topology)


def _lay_commands(files: Path) -> None:
    for source in JETSON.rglob("*"):
        if source.is_file():
            target = source.relative_to(JETSON)
            write_tree(files, {str(target): source.read_text("utf-8")})
            (files / target).chmod(0o755)


def _allow(files: Path, name: str) -> None:
    """What docs/devices.md has the owner of a board do by hand."""
    tools = {tool: _place(tool) for tool in ("rm", "cat")}
    own = text_of(rules_for({**_COMMANDS, **tools}, ()), USER, name)
    write_tree(files, {"etc/sudoers": _SUDOERS, SUDOERS[1:]: own, TMPFILES[1:]: f"{TMPFILES_LINE}\n"})
    for path in ("etc/sudoers", SUDOERS[1:]):
        (files / path).chmod(0o440)


def _place(tool: str) -> str:
    """As the agent finds it on this machine's own system."""
    return next((place for place in (f"/usr/bin/{tool}",) if Path(place).exists()), f"/bin/{tool}")


def _lay_tensorrt(files: Path, kind: Kind, software: JetsonSoftware) -> None:
    packages = files / _SYSTEM_PACKAGES.format(kind.python)
    write_tree(
        packages, {f"tensorrt-{TENSORRT}.dist-info/METADATA": f"Name: tensorrt\nVersion: {TENSORRT}\n"}
    )
    for source in (SITE / "tensorrt").rglob("*"):
        if source.suffix in (".py", ".json"):
            write_tree(packages, {str(source.relative_to(SITE)): source.read_text("utf-8")})
    assert software.libcudart is not None
    library = files / f"usr/local/cuda-{_CUDA}/lib64/libcudart.so.{_CUDA}"
    write_tree(files, {str(library.parent.relative_to(files) / "README"): "A stand-in: see `bench lab`.\n"})
    shutil.copyfile(software.libcudart, library)
    library.chmod(0o755)


def _write_binds(folder: Path, kind: Kind, software: JetsonSoftware) -> None:
    """What start_board.sh lays over the root: target, source."""
    stand_ins = folder / "stand-ins"
    binds = {path: stand_ins / path for path in ("sys", "var/lib/nvpmodel", "proc/swaps")}
    if software.packages is not None:
        binds[_LOCAL_PACKAGES.format(kind.python)] = software.packages
    write_tree(folder, {"binds": "".join(f"{target} {source}\n" for target, source in binds.items())})
