"""Boards as the examination shows them, healthy unless a test says otherwise."""

from __future__ import annotations

from typing import Any

from device_agents.protocol import DeviceFacts, Examination, RuntimeStatus
from harness.farm.doctor.diagnosis import diagnose
from harness.farm.doctor.findings import Finding, Patient
from profiles.devices import device_profile

A72 = "fp asimd evtstrm crc32 cpuid"
A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"

_FACTS = DeviceFacts(
    board="Raspberry Pi 4 Model B Rev 1.4",
    cpu_model="Cortex-A72",
    cpu_count=4,
    cpu_max_mhz=1800.0,
    cpu_features=A72,
    machine="aarch64",
    os="Debian GNU/Linux 12 (bookworm)",
    kernel="6.6.31",
    python="3.11.2",
    memory_bytes=4 << 30,
    swap_bytes=512 << 20,
    governor="performance",
    boot_id=None,
    hostname="pi",
    virtualization=None,
    family="raspberry-pi",
)

_BOOKWORM = {"ID": "debian", "VERSION_CODENAME": "bookworm", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}
_WORKSPACE = "/home/bench/.cache/edgebench"

_PI_4 = Examination(
    facts=_FACTS,
    time=1_795_000_000.0,
    os_release=_BOOKWORM,
    glibc="2.36",
    python_executable=f"{_WORKSPACE}/venv-1/bin/python",
    python_prefix=f"{_WORKSPACE}/venv-1",
    base_python="/usr/bin/python3.11",
    python_bits=64,
    in_venv=True,
    externally_managed=True,
    has_venv=True,
    has_ensurepip=True,
    has_pip=True,
    openblas_coretype=None,
    packages={"numpy": "2.2.6", "onnxruntime": "1.20.1"},
    package_folders={},
    system_packages={},
    system_package_folders={},
    user="bench",
    groups=["bench", "video"],
    is_root=False,
    sudo={"/usr/bin/tee /sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "allowed"},
    commands={"vcgencmd": "/usr/bin/vcgencmd", "tee": "/usr/bin/tee", "sudo": "/usr/bin/sudo"},
    workspace=_WORKSPACE,
    filesystem="ext4",
    mount_options="rw,noatime",
    storage_device="mmcblk0p2",
    storage_kind="SD card",
    free_bytes=20_000_000_000,
    write_mb_per_s=21.0,
    read_mb_per_s=44.0,
    overlay_root=None,
    memory_available_bytes=3 << 30,
    swaps={"/var/swap": 512 << 20},
    largest_processes={},
    rtc=None,
    clock_synchronized=True,
    governors=["ondemand", "performance"],
    governor_files=["/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"],
    default_target="multi-user.target",
    display_manager=None,
    load_1m=0.1,
    temperature_c=45.0,
    throttle_flags=0,
    under_voltage=False,
)

_JETPACKS = {
    4: ("4.6.1", "32.7.1", "3.6.9", "2.27", A72),
    5: ("5.1.2", "35.4.1", "3.8.10", "2.31", A76),
    6: ("6.2", "36.4.3", "3.10.12", "2.35", A76),
    7: ("7.2", "39.2.0", "3.12.3", "2.39", A76),
}


def works(name: str, version: str = "1") -> RuntimeStatus:
    """A runtime that was proven."""
    return RuntimeStatus(name, True, version, name, None, {})


def broken(name: str, reason: str) -> RuntimeStatus:
    """A runtime that was not."""
    return RuntimeStatus(name, False, None, None, reason, {})


def pi_4(**changes: Any) -> Examination:
    """A Raspberry Pi 4 with 64-bit bookworm, well set up; `facts` may be a dict of changes."""
    facts = _FACTS._replace(**changes.pop("facts", {}))
    return _PI_4._replace(facts=facts, **changes)


def jetson(jetpack: int, **changes: Any) -> Examination:
    """A Jetson with the system's own Python, TensorRT visible."""
    name, l4t, python, glibc, features = _JETPACKS[jetpack]
    facts = {
        "board": "NVIDIA Jetson",
        "family": "jetson",
        "cpu_features": features,
        "python": python,
        "os": "Ubuntu",
        "details": {"jetpack": name, "l4t_release": l4t},
        **changes.pop("facts", {}),
    }
    dist_packages = f"/usr/lib/python{python.rpartition('.')[0]}/dist-packages"
    values: dict[str, Any] = {
        "os_release": {"ID": "ubuntu", "ID_LIKE": "debian", "PRETTY_NAME": "Ubuntu"},
        "glibc": glibc,
        "python_executable": "/usr/bin/python3",
        "in_venv": False,
        "externally_managed": False,
        "packages": {"numpy": "1.19.4", "tensorrt": "8.2.1.8"},
        "package_folders": {"numpy": dist_packages, "tensorrt": dist_packages},
        "system_packages": {"tensorrt": "8.2.1.8"},
        "system_package_folders": {"tensorrt": dist_packages},
        "throttle_flags": None,
        "swaps": {"/swapfile": 4 << 30},
        "sudo": {},
        "commands": {
            "nvpmodel": "/usr/sbin/nvpmodel",
            "jetson_clocks": "/usr/bin/jetson_clocks",
            "trtexec": "/usr/src/tensorrt/bin/trtexec",
            "rm": "/bin/rm",
            "cat": "/bin/cat",
        },
        **changes,
    }
    return pi_4(facts=facts, **values)


def patient(examined: Examination, *runtimes: RuntimeStatus, **values: Any) -> Patient:
    """That board, called board-1, with onnxruntime at work unless runtimes are given."""
    found = runtimes or (works("onnxruntime", "1.20.1"),)
    return Patient("board-1", examined, {status.name: status for status in found}, **values)


def finding(examined: Examination, topic: str, *runtimes: RuntimeStatus, **values: Any) -> Finding:
    """The one finding on a topic."""
    found = [each for each in diagnose(patient(examined, *runtimes, **values)) if each.topic == topic]
    assert len(found) == 1, found
    return found[0]


def topics(examined: Examination, *runtimes: RuntimeStatus, **values: Any) -> dict[str, str]:
    """The state of each topic, in the order shown."""
    return {each.topic: each.state for each in diagnose(patient(examined, *runtimes, **values))}


def nano_profile() -> Any:
    """The profile of a Jetson Nano."""
    return device_profile("jetson-nano")
