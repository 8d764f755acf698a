"""Commands that mend something, for the system at hand. None of them upgrades a system."""

from __future__ import annotations

from harness.farm.doctor.findings import Patient

#: Raspberry Pi OS moved vcgencmd out of libraspberrypi-bin with bookworm.
_VCGENCMD_PACKAGES = {"buster": "libraspberrypi-bin", "bullseye": "libraspberrypi-bin"}

#: Trixie has compressed memory in its place.
_DPHYS_SWAPFILE = ("buster", "bullseye", "bookworm")


def setup(patient: Patient) -> str:
    """The agent's own environment with all there is for the board: naming one would drop the rest."""
    return f"bench device setup {patient.name}"


def sudoers(patient: Patient) -> str:
    """The narrow sudoers file of this board."""
    return f"bench device setup {patient.name} --sudoers"


def apt_install(patient: Patient, *packages: str) -> str:
    """Packages of the system's own index, by their names on Debian."""
    if not patient.system.has_apt:
        return f"# with the package manager of {patient.system.name}: {' '.join(packages)}"
    return f"sudo apt-get install -y {' '.join(packages)}"


def tensorrt_bindings(patient: Patient) -> str:
    """JetPack's TensorRT for Python with the parser it loads, and trtexec."""
    parsers = "libnvonnxparsers8" if patient.system.jetpack in (4, 5) else "libnvonnxparsers10"
    return apt_install(patient, "python3-libnvinfer", "python3-libnvinfer-dev", "libnvinfer-bin", parsers)


def vcgencmd(patient: Patient) -> str:
    """The package with vcgencmd."""
    if patient.system.family == "ubuntu":
        return apt_install(patient, "libraspberrypi-bin")
    return apt_install(patient, _VCGENCMD_PACKAGES.get(patient.system.codename or "", "raspi-utils"))


def pip(patient: Patient, *arguments: str) -> str:
    """The command of the very Python that was examined; outside of an environment it is the user's own.

    An environment without pip is one of ours, which is made anew.
    """
    if not patient.examined.has_pip:
        return setup(patient)
    python = patient.examined.python_executable
    user = [] if patient.examined.in_venv or arguments[0] == "uninstall" else ["--user"]
    return " ".join([python, "-m", "pip", arguments[0], *user, *arguments[1:]])


def swap_file(gigabytes: int) -> tuple[str, ...]:
    """A swap file that is used from now on and after every start."""
    return (
        f"sudo fallocate -l {gigabytes}G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile",
        "sudo swapon /swapfile && echo '/swapfile none swap sw 0 0' | sudo tee -a /etc/fstab",
    )


def swap(patient: Patient, gigabytes: int) -> tuple[str, ...]:
    """More swap: Raspberry Pi OS up to bookworm manages a file of its own."""
    if patient.system.family == "raspberry-pi-os" and patient.system.codename in _DPHYS_SWAPFILE:
        size = f"CONF_SWAPSIZE={gigabytes * 1024}"
        return (
            f"sudo sed -i 's/^#*CONF_SWAPSIZE=.*/{size}/' /etc/dphys-swapfile",
            "sudo systemctl restart dphys-swapfile",
        )
    return swap_file(gigabytes)


def no_desktop() -> tuple[str, ...]:
    """Stop it now and at every start."""
    return (
        "sudo systemctl set-default multi-user.target",
        "sudo systemctl isolate multi-user.target",
    )
