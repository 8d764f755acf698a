"""What a board says of itself: its runtimes, its facts, and what its setup is judged by."""

from typing import Dict, List, NamedTuple, Optional


class RuntimeStatus(NamedTuple):
    """Whether a runtime really works here, proven in a child process."""

    name: str
    available: bool
    version: Optional[str]
    package: Optional[str]
    #: Why it is not available, in words for a person.
    reason: Optional[str]
    details: Dict[str, str]


class DeviceFacts(NamedTuple):
    """What the board says of itself. Absent is None, never zero."""

    board: Optional[str]
    cpu_model: Optional[str]
    cpu_count: Optional[int]
    cpu_max_mhz: Optional[float]
    cpu_features: Optional[str]
    machine: str
    os: Optional[str]
    kernel: str
    python: str
    memory_bytes: Optional[int]
    swap_bytes: Optional[int]
    governor: Optional[str]
    boot_id: Optional[str]
    hostname: str
    virtualization: Optional[str]
    #: Which file of device_agents/boards reads it: generic-linux, raspberry-pi or jetson.
    family: str = "generic-linux"
    #: The device tree's `compatible` strings, most specific first; empty where there is no device tree.
    compatible: List[str] = []
    #: Jetson: the nvpmodel mode, as in "MAXN (0)".
    power_mode: Optional[str] = None
    #: What only this kind of board has to say: l4t_release, jetpack, gpu, cuda, firmware, supply_max_ma, ...
    details: Dict[str, str] = {}
    #: What this user could not read, each with the reason.
    unreadable: List[str] = []


class ProbeReply(NamedTuple):
    """Answer to `probe`."""

    protocol: int
    facts: DeviceFacts
    runtimes: List[RuntimeStatus]
    workspace: str
    free_bytes: Optional[int]
    #: Who has the board, in words for people, and since when (unix seconds), if anyone else does.
    busy_with: Optional[str]
    busy_since: Optional[float]


class Examination(NamedTuple):
    """Answer to `examine`: what `bench device check` judges a board by. Absent is None, never zero."""

    facts: DeviceFacts
    #: The board's wall clock, unix seconds.
    time: float
    #: /etc/os-release, as in {"ID": "debian", "VERSION_CODENAME": "bookworm"}.
    os_release: Dict[str, str]
    #: As in "2.31"; None where the C library is another.
    glibc: Optional[str]
    python_executable: str
    python_prefix: str
    #: The interpreter that this one's virtual environment was made with, else this one.
    base_python: Optional[str]
    #: 32 or 64: a 64-bit kernel runs 32-bit systems too.
    python_bits: int
    in_venv: bool
    #: PEP 668: pip refuses to install into this system's Python.
    externally_managed: bool
    has_venv: bool
    has_ensurepip: bool
    has_pip: bool
    openblas_coretype: Optional[str]
    #: Packages of interest that this Python sees: version, and the folder it is in.
    packages: Dict[str, str]
    package_folders: Dict[str, str]
    #: The same of the system's own Python (dist-packages), which a plain virtual environment does not see.
    system_packages: Dict[str, str]
    system_package_folders: Dict[str, str]
    user: Optional[str]
    groups: List[str]
    is_root: bool
    #: By the root commands a performance mode needs: allowed, password required, not allowed or no sudo.
    sudo: Dict[str, str]
    #: Paths of the board's own tools by their names.
    commands: Dict[str, str]
    #: Where the agent's folder lies: file system, mount options, device, and which kind of device that is.
    workspace: str
    filesystem: Optional[str]
    mount_options: Optional[str]
    storage_device: Optional[str]
    storage_kind: Optional[str]
    free_bytes: Optional[int]
    #: Of a 16 MB file, past the page cache; 1 MB is 10^6 bytes.
    write_mb_per_s: Optional[float]
    read_mb_per_s: Optional[float]
    #: Why changes vanish at the next start, as in "overlayroot=tmpfs".
    overlay_root: Optional[str]
    memory_available_bytes: Optional[int]
    #: Swap areas and their sizes in bytes.
    swaps: Dict[str, int]
    #: The processes that hold most memory, bytes.
    largest_processes: Dict[str, int]
    rtc: Optional[str]
    clock_synchronized: Optional[bool]
    governors: List[str]
    #: The files that set the governor, one a policy.
    governor_files: List[str]
    default_target: Optional[str]
    display_manager: Optional[str]
    load_1m: Optional[float]
    temperature_c: Optional[float]
    throttle_flags: Optional[int]
    under_voltage: Optional[bool]
