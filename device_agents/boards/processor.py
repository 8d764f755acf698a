"""What /proc/cpuinfo tells of the processor: its cores by name, and which extensions inference gains by."""

from collections import Counter
from typing import Dict, List, Optional, Tuple

from device_agents.boards.linux_files import LinuxFiles

#: Main ID register, (implementer, part), as the kernel prints it. Part numbers by Linux's
#: arch/arm64/include/asm/cputype.h, arch/arm/include/asm/cputype.h and Arm's technical reference manuals.
_ARM, _NVIDIA = "0x41", "0x4e"
_CORES = {
    (_ARM, "0xb76"): "ARM1176",
    (_ARM, "0xc05"): "Cortex-A5",
    (_ARM, "0xc07"): "Cortex-A7",
    (_ARM, "0xc08"): "Cortex-A8",
    (_ARM, "0xc09"): "Cortex-A9",
    (_ARM, "0xc0d"): "Cortex-A12",
    (_ARM, "0xc0e"): "Cortex-A17",
    (_ARM, "0xc0f"): "Cortex-A15",
    (_ARM, "0xd03"): "Cortex-A53",
    (_ARM, "0xd04"): "Cortex-A35",
    (_ARM, "0xd05"): "Cortex-A55",
    (_ARM, "0xd07"): "Cortex-A57",
    (_ARM, "0xd08"): "Cortex-A72",
    (_ARM, "0xd09"): "Cortex-A73",
    (_ARM, "0xd0a"): "Cortex-A75",
    (_ARM, "0xd0b"): "Cortex-A76",
    (_ARM, "0xd0c"): "Neoverse-N1",
    (_ARM, "0xd0d"): "Cortex-A77",
    (_ARM, "0xd0e"): "Cortex-A76AE",
    (_ARM, "0xd40"): "Neoverse-V1",
    (_ARM, "0xd41"): "Cortex-A78",
    (_ARM, "0xd42"): "Cortex-A78AE",
    (_ARM, "0xd44"): "Cortex-X1",
    (_ARM, "0xd46"): "Cortex-A510",
    (_ARM, "0xd47"): "Cortex-A710",
    (_ARM, "0xd48"): "Cortex-X2",
    (_ARM, "0xd49"): "Neoverse-N2",
    (_ARM, "0xd4b"): "Cortex-A78C",
    (_ARM, "0xd4d"): "Cortex-A715",
    (_ARM, "0xd4e"): "Cortex-X3",
    (_ARM, "0xd4f"): "Neoverse-V2",
    (_ARM, "0xd80"): "Cortex-A520",
    (_ARM, "0xd81"): "Cortex-A720",
    (_ARM, "0xd82"): "Cortex-X4",
    (_ARM, "0xd83"): "Neoverse-V3AE",
    (_ARM, "0xd84"): "Neoverse-V3",
    (_ARM, "0xd85"): "Cortex-X925",
    (_ARM, "0xd87"): "Cortex-A725",
    (_ARM, "0xd89"): "Cortex-A720AE",
    (_ARM, "0xd8e"): "Neoverse-N3",
    (_NVIDIA, "0x000"): "Denver",
    (_NVIDIA, "0x003"): "Denver 2",
    (_NVIDIA, "0x004"): "Carmel",
}

#: Extensions by the word /proc/cpuinfo has for them (Linux: Documentation/arch/arm64/elf_hwcaps.rst,
#: arch/x86/include/asm/cpufeatures.h), in the order a reader wants them.
_EXTENSIONS = (
    ("asimd", "NEON"),
    ("neon", "NEON"),
    ("atomics", "LSE atomics"),
    ("asimdhp", "fp16 arithmetic"),
    ("asimddp", "int8 dot product"),
    ("i8mm", "int8 matrix multiply"),
    ("bf16", "bfloat16"),
    ("sve", "SVE"),
    ("sve2", "SVE2"),
    ("avx2", "AVX2"),
    ("avx_vnni", "AVX-VNNI"),
    ("avx512f", "AVX-512"),
    ("avx512_vnni", "AVX-512 VNNI"),
    ("amx_int8", "AMX int8"),
)


def cores(files: LinuxFiles) -> List[Dict[str, str]]:
    """The fields of each core that is switched on; on an asymmetric board they differ."""
    found: List[Dict[str, str]] = []
    for line in (files.text("/proc/cpuinfo") or "").splitlines():
        name, separator, value = line.partition(":")
        if not separator:
            continue
        if name.strip() == "processor":
            found.append({})
        if found:
            found[-1].setdefault(name.strip(), value.strip())
    # A 32-bit Arm kernel of old says "Processor: ARMv7 ..." once; only numbered ones are cores.
    return [core for core in found if core["processor"].isdecimal()]


def model(files: LinuxFiles) -> Optional[str]:
    """The cores by name: "Cortex-A72", or "2x Denver 2 + 4x Cortex-A57", the fewer first.

    The name counts before `model name`, which on Arm says no more than "ARMv8 Processor rev 1 (v8l)".
    """
    kinds = [_name(core) for core in cores(files)]
    if not kinds or None in kinds:
        return files.table("/proc/cpuinfo").get("model name")
    counted = Counter(kinds)
    if len(counted) == 1:
        return kinds[0]
    order = sorted(counted, key=lambda kind: (counted[kind], kinds.index(kind)))
    return " + ".join("{}x {}".format(counted[kind], kind) for kind in order)


def extensions(features: Optional[str]) -> List[str]:
    """What the words of `Features` (Arm) or `flags` (x86) mean to whoever reads a latency."""
    words = set((features or "").split())
    found = [meaning for word, meaning in _EXTENSIONS if word in words]
    return sorted(set(found), key=found.index)


def _name(core: Dict[str, str]) -> Optional[str]:
    """By the table; a core it does not know is told apart from others all the same."""
    key: Tuple[str, str] = (core.get("CPU implementer", "").lower(), core.get("CPU part", "").lower())
    if not all(key):
        return core.get("model name")
    return _CORES.get(key) or "core {} of implementer {}".format(key[1], key[0])
