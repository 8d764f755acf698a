"""A Jetson's GPU: how busy it is, its clock, and the memory that processes hold on it."""

from typing import Dict, List, NamedTuple, Optional

from device_agents.boards.host import Host
from device_agents.boards.linux_files import LinuxFiles

#: The GPU's node in the device tree, by generation; Thor's clock has a device of its own.
_NODES = frozenset({"gpu", "gm20b", "gp10b", "gv11b", "ga10b"})
_THOR_CLOCK = "gpu-gpc-0"

#: Load in tenths of a percent, for kernels whose devfreq device does not lead to it.
_LOADS = (
    "/sys/devices/gpu.0/load",
    "/sys/devices/platform/gpu.0/load",
    "/sys/devices/platform/17000000.gpu/load",
    "/sys/devices/platform/bus@0/17000000.gpu/load",
    "/sys/devices/platform/host1x/57000000.gpu/load",
    "/sys/devices/17000000.gp10b/load",
)

#: GPU memory of the nvgpu driver goes through nvmap and is in no process's RSS; its table is root's to read.
_NVMAP_CLIENTS = "/sys/kernel/debug/nvmap/iovmm/clients"
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

_SMI_TIMEOUT_S = 5.0


class Clock(NamedTuple):
    """A clock in MHz: now, and the range it may move in."""

    mhz: Optional[float]
    min_mhz: Optional[float]
    max_mhz: Optional[float]


class JetsonGpu:
    """The GPU under `files`; its files are looked for once."""

    def __init__(self, files: LinuxFiles) -> None:
        self._files = files
        self._devfreq: Optional[str] = None
        self._load: Optional[str] = None
        self._searched = False

    def clock(self) -> Clock:
        """By devfreq; all None where there is none."""
        self._search()
        values = [self._mhz(name) for name in ("cur_freq", "min_freq", "max_freq")]
        return Clock(values[0], values[1], values[2])

    def load(self) -> Optional[float]:
        """Share of the time it was busy, 0 to 1; None on Thor, whose driver has no file for it."""
        self._search()
        tenths = self._files.integer(self._load) if self._load else None
        return tenths / 1000.0 if tenths is not None and 0 <= tenths <= 1000 else None

    def _mhz(self, name: str) -> Optional[float]:
        hertz = self._files.integer(self._devfreq + "/" + name) if self._devfreq else None
        return None if hertz is None else hertz / 1e6

    def _search(self) -> None:
        if self._searched:
            return
        self._searched = True
        devices = self._files.matches("/sys/class/devfreq/*")
        self._devfreq = next((path for path in devices if self._is_gpu(path)), None)
        candidates = ([self._devfreq + "/device/load"] if self._devfreq else []) + list(_LOADS)
        self._load = next((path for path in candidates if self._files.integer(path) is not None), None)

    def _is_gpu(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        node = self._files.text(path + "/device/of_node/name")
        return name == _THOR_CLOCK or node in _NODES or name.rpartition(".")[2] in _NODES


def nvidia_smi_load(host: Host) -> Optional[float]:
    """The GPU's load on Thor, 0 to 1. It starts nvidia-smi, so never while something is timed."""
    answer = _nvidia_smi(host, "--query-gpu=name,utilization.gpu")
    if len(answer) != 1 or len(answer[0]) != 2 or not answer[0][1].isdecimal():
        return None
    return int(answer[0][1]) / 100.0


def nvmap_bytes(host: Host, pid: int) -> Optional[int]:
    """GPU memory that a process holds, in bytes, of which neither RSS nor PSS knows.

    None where it cannot be read (the table is root's) or does not name the process. On Thor, whose driver
    leaves the table at 0K, nvidia-smi is asked.
    """
    if _is_thor(host):
        return _nvidia_smi_memory(host).get(pid)
    text = _nvmap(host)
    return None if text is None else nvmap_clients(text).get(pid)


def nvmap_readable(host: Host) -> bool:
    """Whether `nvmap_bytes` can tell anything to this user."""
    return host.commands.path("nvidia-smi") is not None if _is_thor(host) else _nvmap(host) is not None


def _nvmap(host: Host) -> Optional[str]:
    """The table, read directly by root, else by `sudo -n cat` where the board's sudoers file allows that."""
    text = host.files.text(_NVMAP_CLIENTS)
    if text is not None:
        return text
    finished = host.commands.run_as_root("cat", _NVMAP_CLIENTS)
    return finished.stdout if finished.status == 0 else None


def _is_thor(host: Host) -> bool:
    return bool(host.files.matches("/sys/class/devfreq/" + _THOR_CLOCK))


def nvmap_clients(text: str) -> Dict[int, int]:
    """Bytes by process of `CLIENT PROCESS PID SIZE` lines, from the right: process names may have blanks."""
    held: Dict[int, int] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or not words[-2].isdecimal():
            continue
        size = _size(words[-1])
        if size is not None:
            held[int(words[-2])] = held.get(int(words[-2]), 0) + size
    return held


def _size(text: str) -> Optional[int]:
    """`524288K`; a number alone is bytes."""
    unit = _UNITS.get(text[-1:], 1)
    digits = text[:-1] if text[-1:] in _UNITS else text
    return int(digits) * unit if digits.isdecimal() and len(digits) <= 12 else None


def _nvidia_smi_memory(host: Host) -> Dict[int, int]:
    """MiB by process, in bytes here."""
    held: Dict[int, int] = {}
    for row in _nvidia_smi(host, "--query-compute-apps=pid,process_name,used_memory"):
        if len(row) >= 3 and row[0].isdecimal() and row[-1].isdecimal():
            held[int(row[0])] = held.get(int(row[0]), 0) + int(row[-1]) * (1 << 20)
    return held


def _nvidia_smi(host: Host, query: str) -> List[List[str]]:
    """Rows of an answer. Orin's nvidia-smi is a stub that names the GPU "Orin (nvgpu)" and knows nothing."""
    answer = host.commands.run("nvidia-smi", query, "--format=csv,noheader,nounits", timeout_s=_SMI_TIMEOUT_S)
    if answer.status != 0 or "(nvgpu)" in answer.stdout:
        return []
    return [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines() if line.strip()]
