"""Runtimes: what works, and for what does not the shortest way to have it work."""

from __future__ import annotations

from collections.abc import Iterator

from device_agents.protocol import RuntimeStatus
from harness.farm.board_packages import INSTALLABLE, NoPackage, packages_for
from harness.farm.doctor import prescriptions
from harness.farm.doctor.findings import Finding, Patient, advice, good, problem

_NEVER_PIP = "TensorRT comes with JetPack; the package of that name on PyPI is for PCs and would hide it"


def rules(patient: Patient) -> Iterator[Finding]:
    """One finding a runtime."""
    for name in INSTALLABLE:
        if name in patient.runtimes:
            yield _installable(patient, patient.runtimes[name])
    if "tensorrt" in patient.runtimes:
        yield from _tensorrt(patient, patient.runtimes["tensorrt"])
    if patient.system.jetpack is not None:
        yield _trtexec(patient)


def _works(status: RuntimeStatus) -> Finding:
    return good(status.name, f"works ({' '.join(filter(None, (status.package, status.version)))})")


def _installable(patient: Patient, status: RuntimeStatus) -> Finding:
    """Both are missing on a fresh board, and either is enough to measure."""
    if status.available:
        return _works(status)
    found = status.reason or "does not work"
    try:
        pins = ", ".join(pin.exact for pin in packages_for(patient.platform, [status.name]))
    except NoPackage as error:
        why = f"{error.message[0].upper()}{error.message[1:]}: {error.remedy}."
        return _unavailable(patient, status.name, found, why)
    why = f"A virtual environment of the agent's own with {pins} touches nothing of the system."
    if "SIGILL" in found and patient.platform.is_armv8_0:
        why = (
            f"This processor is an Armv8.0, newer packages are built for more; {pins} are known to run on it."
        )
    return _unavailable(patient, status.name, found, why, prescriptions.setup(patient))


def _unavailable(patient: Patient, topic: str, found: str, why: str, *commands: str) -> Finding:
    if patient.something_works:
        return advice(topic, found, why, *commands)
    return problem(topic, found, why, *commands, blocks=True)


def _tensorrt(patient: Patient, status: RuntimeStatus) -> Iterator[Finding]:
    """Expected on a Jetson; elsewhere only where there is an NVIDIA GPU."""
    if status.available:
        yield _works(status)
        return
    found = status.reason or "does not work"
    if patient.system.jetpack is None:
        if "nvidia-smi" in patient.examined.commands:
            yield advice("tensorrt", found, "There is an NVIDIA GPU, and TensorRT would use it.")
        return
    folder = patient.examined.system_package_folders.get("tensorrt")
    if folder is None:
        yield problem(
            "tensorrt",
            f"{found}; its Python bindings are not installed",
            f"{_NEVER_PIP}.",
            prescriptions.tensorrt_bindings(patient),
            blocks=not patient.something_works,
        )
    elif "tensorrt" not in patient.examined.packages:
        version = patient.examined.system_packages["tensorrt"].replace("unknown", "")
        words = f"TensorRT {version}".strip()
        yield problem(
            "tensorrt",
            f"{words} lies in {folder}, which {patient.examined.python_executable} does not see",
            "The bindings are for the system's own Python, and an environment sees them only if it was made "
            "with --system-site-packages.",
            prescriptions.setup(patient),
            blocks=not patient.something_works,
        )
    else:
        yield problem(
            "tensorrt",
            found,
            "The bindings are there; what they say above is what is missing.",
            prescriptions.tensorrt_bindings(patient),
            blocks=not patient.something_works,
        )


def _trtexec(patient: Patient) -> Finding:
    path = patient.examined.commands.get("trtexec")
    if path is not None:
        return good("trtexec", path)
    return advice(
        "trtexec",
        "not found, nor is it in /usr/src/tensorrt/bin",
        "NVIDIA's own tool is an independent check of TensorRT's figures (--via trtexec).",
        prescriptions.apt_install(patient, "libnvinfer-bin"),
    )
