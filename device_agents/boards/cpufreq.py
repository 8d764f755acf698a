"""The clocks Linux lets one set: governors and limits of cpufreq, limits of the GPU's devfreq."""

import os
import re
from typing import Dict, List

from device_agents.boards.linux_files import LinuxFiles

_CPUS = "/sys/devices/system/cpu"

#: The GPU among /sys/class/devfreq: 57000000.gpu (Nano), 17000000.gp10b, .gv11b, .ga10b or .gpu (TX2 to
#: Orin), gpu-gpc-0 (Thor).
_GPU = re.compile(r"gpu|g[pv]1[01]b|ga10b")


def policies(files: LinuxFiles) -> List[str]:
    """The folders of all cpufreq policies; kernels without them show each core's."""
    found = [
        path
        for path in files.matches(_CPUS + "/cpufreq/policy[0-9]*")
        + files.matches(_CPUS + "/cpu[0-9]*/cpufreq")
        if os.path.isdir(files.path(path))
    ]
    kept: Dict[str, str] = {}
    for path in found:
        kept.setdefault(os.path.realpath(files.path(path)), path)
    whole = [path for path in kept.values() if "/cpufreq/policy" in path]
    return whole or list(kept.values())


def governors_offered(files: LinuxFiles, policy: str) -> List[str]:
    """What scaling_governor may be set to."""
    return (files.text(policy + "/scaling_available_governors") or "").split()


def short_name(policy: str) -> str:
    """policy0, or cpu0 where cores stand for themselves."""
    last = os.path.basename(policy)
    return os.path.basename(os.path.dirname(policy)) if last == "cpufreq" else last


def gpu_folders(files: LinuxFiles) -> List[str]:
    """The devfreq folders of the GPU; a Thor has several."""
    return [path for path in files.matches("/sys/class/devfreq/*") if _GPU.search(os.path.basename(path))]


def limits(files: LinuxFiles) -> Dict[str, str]:
    """Every limit that is set now, by the path of its file: kHz of cores, Hz of GPUs; and who is online."""
    paths: List[str] = files.matches(_CPUS + "/cpu[0-9]*/online")
    for policy in policies(files):
        paths += [policy + "/scaling_max_freq", policy + "/scaling_min_freq"]
    for folder in gpu_folders(files):
        paths += [folder + "/max_freq", folder + "/min_freq"]
    values = {path: files.text(path) for path in paths}
    return {path: value for path, value in values.items() if value is not None}


def is_minimum(path: str) -> bool:
    """Whether a path of `limits` is a lower limit."""
    return path.endswith(("/scaling_min_freq", "/min_freq"))


def maximum_of(path: str) -> str:
    """The upper limit that belongs to a lower one."""
    folder, name = os.path.split(path)
    return os.path.join(folder, name.replace("min_freq", "max_freq"))
