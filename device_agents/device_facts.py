"""What this board is: hardware, system and settings that a figure depends on."""

import os
import platform
from typing import Dict, Optional

from device_agents import portable
from device_agents.boards import device_tree, generic_linux, processor
from device_agents.boards.board import Board
from device_agents.boards.linux_files import LinuxFiles
from device_agents.protocol import DeviceFacts

#: Virtual boards (`bench lab`) say there what they are. Not all run under QEMU, and not all kernels show it.
_VIRTUAL_BOARD = "/etc/edgebench-virtual-board"

#: What the kernel itself calls a PC's processor.
_X86 = ("x86_64", "i386", "i686")


def collect(board: Board) -> DeviceFacts:
    """The facts of this machine; whatever cannot be read is None."""
    files = board.host.files
    own = board.facts()
    cpuinfo = files.table("/proc/cpuinfo")
    memory = files.table("/proc/meminfo")
    features = cpuinfo.get("flags") or cpuinfo.get("Features")
    machine = _machine(files)
    return DeviceFacts(
        board=_board(files),
        cpu_model=processor.model(files) or _cpu_by_platform(),
        cpu_count=_cpu_count(files),
        cpu_max_mhz=generic_linux.cpu_max_mhz(files),
        cpu_features=features,
        machine=machine,
        os=files.table("/etc/os-release", "=").get("PRETTY_NAME") or _os_by_platform(),
        kernel=files.text("/proc/sys/kernel/osrelease") or platform.release(),
        python=platform.python_version(),
        memory_bytes=_kib(memory.get("MemTotal")) if memory else portable.total_memory_bytes(),
        swap_bytes=_kib(memory.get("SwapTotal")),
        governor=generic_linux.governor(files),
        boot_id=files.text("/proc/sys/kernel/random/boot_id"),
        hostname=files.text("/proc/sys/kernel/hostname") or platform.node(),
        virtualization=_virtualization(files, machine, cpuinfo),
        family=board.family,
        compatible=device_tree.compatible(files),
        power_mode=own.power_mode,
        details=dict(own.details, **_isa(features)),
        unreadable=own.unreadable,
    )


def _isa(features: Optional[str]) -> Dict[str, str]:
    extensions = processor.extensions(features)
    return {"isa": ", ".join(extensions)} if extensions else {}


def _cpu_count(files: LinuxFiles) -> Optional[int]:
    """Processors that are switched on: this machine's, or those of the tree that stands in for a board."""
    if files.root != "/":
        return len(processor.cores(files)) or os.cpu_count()
    return os.cpu_count()


def _machine(files: LinuxFiles) -> str:
    """As `uname -m` has it. A tree that stands in for a board has its own word, in a file of Linux 6.1 on."""
    if files.root != "/":
        return files.text("/proc/sys/kernel/arch") or platform.machine()
    return platform.machine()


def _board(files: LinuxFiles) -> Optional[str]:
    """Boards with a device tree name themselves there; PCs do in their firmware tables."""
    model = device_tree.model(files)
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


def _virtualization(files: LinuxFiles, machine: str, cpuinfo: Dict[str, str]) -> Optional[str]:
    """What kind of machine pretends to be this one, if any; timings there belong to the host as well."""
    if _emulated(files, machine, cpuinfo):
        return "emulated (QEMU)"
    if files.text(_VIRTUAL_BOARD):
        return "emulated (virtual board)"
    if files.text("/sys/hypervisor/type"):
        return files.text("/sys/hypervisor/type")
    if "hypervisor" in cpuinfo.get("flags", "").split():
        return "virtual machine"
    return None


def _emulated(files: LinuxFiles, machine: str, cpuinfo: Dict[str, str]) -> bool:
    """Whether qemu-user translates every program here: it answers uname, but not for all the kernel's files.

    Linux before 6.1 has no `arch`; there an older QEMU gives itself away by the PC's /proc/cpuinfo.
    """
    if not machine.startswith(("aarch64", "arm")):
        return False
    return files.text("/proc/sys/kernel/arch") in _X86 or "vendor_id" in cpuinfo


def _kib(text: Optional[str]) -> Optional[int]:
    words = (text or "").split()
    return int(words[0]) * 1024 if words and words[0].isdecimal() else None
