"""What this board is: hardware, system and settings that a figure depends on."""

import os
import platform
from typing import Optional

from device_agents import portable
from device_agents.boards import generic_linux
from device_agents.boards.board import Board
from device_agents.boards.linux_files import LinuxFiles
from device_agents.boards.table import compatible
from device_agents.protocol import DeviceFacts

#: Arm's main ID register part numbers, as the kernel prints them (Arm technical reference manuals).
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd42": "Cortex-A78AE",
    "0xd4f": "Neoverse-V2",
    "0x003": "Denver 2",
    "0x004": "Carmel",
}


def collect(board: Board) -> DeviceFacts:
    """The facts of this machine; whatever cannot be read is None."""
    files = board.host.files
    own = board.facts()
    cpuinfo = files.table("/proc/cpuinfo")
    memory = files.table("/proc/meminfo")
    return DeviceFacts(
        board=_board(files),
        cpu_model=cpuinfo.get("model name")
        or _ARM_PARTS.get(cpuinfo.get("CPU part", ""))
        or _cpu_by_platform(),
        cpu_count=os.cpu_count(),
        cpu_max_mhz=generic_linux.cpu_max_mhz(files),
        cpu_features=cpuinfo.get("flags") or cpuinfo.get("Features"),
        machine=platform.machine(),
        os=files.table("/etc/os-release", "=").get("PRETTY_NAME") or _os_by_platform(),
        kernel=platform.release(),
        python=platform.python_version(),
        memory_bytes=_kib(memory.get("MemTotal")) if memory else portable.total_memory_bytes(),
        swap_bytes=_kib(memory.get("SwapTotal")),
        governor=generic_linux.governor(files),
        boot_id=files.text("/proc/sys/kernel/random/boot_id"),
        hostname=platform.node(),
        virtualization=_virtualization(files, cpuinfo.get("flags", "")),
        family=board.family,
        compatible=compatible(files),
        power_mode=own.power_mode,
        details=own.details,
        unreadable=own.unreadable,
    )


def _board(files: LinuxFiles) -> Optional[str]:
    """Boards with a device tree name themselves there; PCs do in their firmware tables."""
    for path in ("/proc/device-tree/model", "/sys/firmware/devicetree/base/model"):
        model = files.text(path)
        if model:
            return model
    vendor = files.text("/sys/class/dmi/id/sys_vendor")
    product = files.text("/sys/class/dmi/id/product_name")
    return " ".join(word for word in (vendor, product) if word) or None


def _cpu_by_platform() -> Optional[str]:
    return platform.processor() or None


def _os_by_platform() -> Optional[str]:
    release = platform.mac_ver()[0]
    return f"macOS {release}" if release else None


def _virtualization(files: LinuxFiles, flags: str) -> Optional[str]:
    """What kind of machine pretends to be this one, if any; timings there belong to the host as well."""
    if files.text("/sys/hypervisor/type"):
        return files.text("/sys/hypervisor/type")
    if "hypervisor" in flags.split():
        return "virtual machine"
    return None


def _kib(text: Optional[str]) -> Optional[int]:
    words = (text or "").split()
    return int(words[0]) * 1024 if words and words[0].isdecimal() else None
