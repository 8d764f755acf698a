"""What a board's setup is judged by: Python and its packages, rights, storage, memory, clock, settings.

Looks only, but for one temporary file in the agent's own folder that tells how fast the storage is.
"""

import contextlib
import importlib.util
import os
import re
import struct
import sys
import sysconfig
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from device_agents import device_facts
from device_agents.boards import cpufreq
from device_agents.boards.host import Host
from device_agents.boards.linux_files import LinuxFiles
from device_agents.boards.table import this_board
from device_agents.doctor import rights, storage
from device_agents.protocol import Examination
from device_agents.workspace import Workspace

#: Packages that decide whether a runtime works, by their normalised names.
_PACKAGES = frozenset(
    ("numpy", "onnxruntime", "onnxruntime-gpu", "tflite-runtime", "ai-edge-litert", "tensorrt")
    + ("tensorflow", "pycuda", "cuda-python", "psutil", "protobuf", "pycoral", "pip")
)
_INFO = re.compile(r"(?P<name>[^-]+(?:-[^-]+)*?)-(?P<version>\d[^-]*?)(?:-py[\d.]+)?\.(?:dist|egg)-info")

#: Where Debian and its relatives keep what apt installs for their own Python.
_SYSTEM_FOLDERS = (
    "/usr/lib/python3/dist-packages",
    "/usr/lib/python3.*/dist-packages",
    "/usr/local/lib/python3.*/dist-packages",
)
_TOOLS = (
    "sudo",
    "tee",
    "rm",
    "cat",
    "vcgencmd",
    "tegrastats",
    "nvpmodel",
    "jetson_clocks",
    "trtexec",
    "nvidia-smi",
)
_TARGETS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")

_MANY_BYTES = 50 << 20
_MOST_PROCESSES = 3


class _Packages(NamedTuple):
    """Versions and folders of installed packages by their names."""

    versions: Dict[str, str]
    folders: Dict[str, str]


class _Python(NamedTuple):
    """The interpreter that runs this; fields as in Examination."""

    python_executable: str
    python_prefix: str
    base_python: Optional[str]
    python_bits: int
    in_venv: bool
    has_venv: bool
    has_ensurepip: bool
    has_pip: bool
    openblas_coretype: Optional[str]


def examine(workspace: Workspace, host: Host) -> Examination:
    """Everything the doctor wants to know; takes some seconds on a slow card."""
    files, commands = host.files, host.commands
    board = this_board(host)
    state = board.sample(thorough=True)
    policies = cpufreq.policies(files)
    governor_files = [path + "/scaling_governor" for path in policies]
    own = _packages(LinuxFiles(), sys.path)
    system = _packages(files, [folder for pattern in _SYSTEM_FOLDERS for folder in files.matches(pattern)])
    return Examination(
        facts=device_facts.collect(board),
        os_release=files.table("/etc/os-release", "="),
        glibc=_glibc(),
        externally_managed=_externally_managed(files),
        packages=own.versions,
        package_folders=own.folders,
        system_packages=system.versions,
        system_package_folders=system.folders,
        user=rights.user(commands),
        groups=rights.groups(commands),
        is_root=commands.is_root,
        sudo=rights.sudo_answers(host, rights.root_commands(host, governor_files)),
        commands={name: path for name, path in ((tool, commands.path(tool)) for tool in _TOOLS) if path},
        memory_available_bytes=state.memory_available_bytes,
        swaps=_swaps(files),
        largest_processes=_largest_processes(files),
        rtc=_rtc(files),
        clock_synchronized=_synchronized(host),
        governors=cpufreq.governors_offered(files, policies[0]) if policies else [],
        governor_files=governor_files,
        default_target=_link(files, "default.target"),
        display_manager=_link(files, "display-manager.service"),
        load_1m=state.load_1m,
        temperature_c=state.temperature_c,
        throttle_flags=state.throttle_flags,
        under_voltage=state.under_voltage,
        **_python()._asdict(),
        **_storage(workspace, files),
        # Last: it is compared with the clock of whoever reads the answer.
        time=time.time(),
    )


# --- Python ---------------------------------------------------------------------------------------


def _python() -> _Python:
    return _Python(
        python_executable=sys.executable,
        python_prefix=sys.prefix,
        base_python=_base_python(),
        python_bits=struct.calcsize("P") * 8,
        in_venv=sys.prefix != sys.base_prefix,
        has_venv=importlib.util.find_spec("venv") is not None,
        has_ensurepip=importlib.util.find_spec("ensurepip") is not None,
        has_pip=importlib.util.find_spec("pip") is not None,
        openblas_coretype=os.environ.get("OPENBLAS_CORETYPE"),
    )


def _base_python() -> Optional[str]:
    """An environment made with an environment's interpreter would hang on that one; so the one below.

    By its own name and no link's: it has to be the same before and after an environment was made with it.
    """
    if sys.prefix == sys.base_prefix:
        return os.path.realpath(sys.executable) if sys.executable else None
    settings = LinuxFiles().table(os.path.join(sys.prefix, "pyvenv.cfg"), "=")
    names = ("python{}.{}".format(*sys.version_info[:2]), "python3", "python")
    paths = [os.path.join(settings.get("home", ""), name) for name in names]
    return next((os.path.realpath(path) for path in paths if os.access(path, os.X_OK)), None)


def _glibc() -> Optional[str]:
    try:
        words = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (AttributeError, OSError, ValueError):  # another C library
        return None
    return words[1] if len(words) == 2 and words[0] == "glibc" else None


def _externally_managed(files: LinuxFiles) -> bool:
    """PEP 668's marker, of the interpreter below this one or of the system's own."""
    below = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    pattern = "/usr/lib/python3*/EXTERNALLY-MANAGED"
    return bool(files.matches(pattern)) or (files.root == "/" and os.path.exists(below))


def _packages(files: LinuxFiles, folders: List[str]) -> _Packages:
    """Packages of interest in these folders; the first of a name is the one that is imported."""
    found = _Packages({}, {})
    for folder in folders:
        try:
            names = sorted(os.listdir(files.path(folder)))
        except OSError:  # a zip archive, or a folder that is not there
            continue
        for name, version in _distributions(names):
            if name not in found.versions:
                found.versions[name] = version
                found.folders[name] = folder
    return found


def _distributions(names: List[str]) -> List[Tuple[str, str]]:
    """Names and versions by the folders and files that installers leave."""
    found = []
    for entry in names:
        parts = _INFO.fullmatch(entry)
        name = re.sub(r"[-_.]+", "-", parts.group("name")).lower() if parts else ""
        if parts and name in _PACKAGES:
            found.append((name, parts.group("version")))
    if "tensorrt" in names and "tensorrt" not in dict(found):
        found.append(("tensorrt", "unknown"))  # some JetPacks ship the module alone
    return found


# --- storage and memory ---------------------------------------------------------------------------


def _storage(workspace: Workspace, files: LinuxFiles) -> Dict[str, Any]:
    mount = storage.mount_of(files, workspace.root)
    device = storage.device_of(files, mount) if mount else None
    free = workspace.free_bytes()
    # Sixteen megabytes written beside somebody's measurement would be in it.
    speed = storage.Speed(None, None) if workspace.holder() else storage.measure(workspace.root, free)
    return {
        "workspace": workspace.root,
        "filesystem": mount.filesystem if mount else None,
        "mount_options": mount.options if mount else None,
        "storage_device": device,
        "storage_kind": storage.kind_of(files, device, mount.filesystem if mount else None),
        "free_bytes": free,
        "write_mb_per_s": speed.write_mb_per_s,
        "read_mb_per_s": speed.read_mb_per_s,
        "overlay_root": storage.overlay_root(files),
    }


def _swaps(files: LinuxFiles) -> Dict[str, int]:
    """proc(5): file name, type, size in KiB, used, priority."""
    rows = [line.split() for line in (files.text("/proc/swaps") or "").splitlines()[1:]]
    return {row[0]: int(row[2]) * 1024 for row in rows if len(row) >= 3 and row[2].isdecimal()}


def _largest_processes(files: LinuxFiles) -> Dict[str, int]:
    sizes: Dict[str, int] = {}
    for path in files.matches("/proc/[0-9]*/status"):
        status = files.table(path)
        words = status.get("VmRSS", "").split()
        if words and words[0].isdecimal() and status.get("Pid") != str(os.getpid()):
            name = status.get("Name", "?")
            sizes[name] = sizes.get(name, 0) + int(words[0]) * 1024
    large = sorted((-size, name) for name, size in sizes.items() if size >= _MANY_BYTES)
    return {name: -size for size, name in large[:_MOST_PROCESSES]}


# --- clock and settings ---------------------------------------------------------------------------


def _rtc(files: LinuxFiles) -> Optional[str]:
    """The name of the clock that runs while the board is off; None where there is none."""
    for clock in files.matches("/sys/class/rtc/rtc*"):
        return files.text(clock + "/name") or os.path.basename(clock)
    return None


def _synchronized(host: Host) -> Optional[bool]:
    if host.files.matches("/run/systemd/timesync/synchronized"):
        return True
    said = host.commands.run("timedatectl")
    found = re.search(r"synchronized: *(yes|no)", said.stdout)
    return found.group(1) == "yes" if found else None


def _link(files: LinuxFiles, name: str) -> Optional[str]:
    """What a link of systemd's folders points to: the administrator's before the system's own."""
    for folder in _TARGETS:
        with contextlib.suppress(OSError):
            return os.path.basename(os.readlink(files.path(folder + "/" + name)))
    return None
