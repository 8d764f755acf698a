"""Python and its packages: versions that are known to fail on this board, and traps of the package index."""

from __future__ import annotations

from collections.abc import Iterator

from harness.farm.board_packages import version_pair
from harness.farm.doctor import prescriptions
from harness.farm.doctor.findings import Finding, Patient, advice, good, problem


def rules(patient: Patient) -> Iterator[Finding]:
    """Python, numpy, and packages that do not belong on this board."""
    yield _python(patient)
    numpy = patient.examined.packages.get("numpy")
    if numpy is not None:
        yield _numpy(patient, numpy)
    yield from _traps(patient)


def _python(patient: Patient) -> Finding:
    examined = patient.examined
    words = f"{examined.facts.python} ({examined.python_executable})"
    if examined.python_bits == 32:
        return problem(
            "python",
            f"{words} is a 32-bit program",
            "No runtime has 32-bit packages on PyPI; with a 64-bit image on the card it has all of them.",
            blocks=not patient.something_works,
        )
    if examined.in_venv:
        return good("python", f"{words}, a virtual environment")
    if not examined.has_venv and not patient.something_works:
        return problem(
            "python",
            f"{words} has no module venv",
            "Packages for the agent belong into an environment of their own.",
            prescriptions.apt_install(patient, "python3-venv"),
        )
    if examined.externally_managed and not patient.something_works:
        return advice(
            "python",
            f"{words} is managed by {patient.system.name}",
            "pip refuses to install into it (PEP 668, externally-managed-environment); an environment of the "
            "agent's own is the way.",
            prescriptions.setup(patient),
        )
    return good("python", words)


def _numpy(patient: Patient, numpy: str) -> Finding:
    version = version_pair(numpy)
    jetpack = patient.system.jetpack
    coretype = patient.examined.openblas_coretype
    if numpy == "1.19.5" and patient.platform.machine == "aarch64" and jetpack == 4:
        if coretype == "ARMV8":
            return good("numpy", "1.19.5, with OPENBLAS_CORETYPE=ARMV8")
        return problem(
            "numpy",
            "1.19.5",
            "It dies of SIGILL (Illegal instruction) on Jetsons; 1.19.4 does not, nor does this one with "
            "OPENBLAS_CORETYPE=ARMV8.",
            prescriptions.pip(patient, "install", "'numpy==1.19.4'"),
            "echo OPENBLAS_CORETYPE=ARMV8 | sudo tee -a /etc/environment  # or this instead",
        )
    if jetpack in (4, 5) and version is not None and version >= (1, 24):
        return advice(
            "numpy",
            numpy,
            "TensorRT up to 8.5.2 says np.bool, which numpy 1.24 removed: its nptype() fails in other "
            "programs (edgebench does without it).",
            prescriptions.pip(patient, "install", "'numpy<1.24'"),
        )
    tflite = patient.runtimes.get("tflite")
    if (
        version is not None
        and version >= (2, 0)
        and "tflite-runtime" in patient.examined.packages
        and not (tflite and tflite.available)
    ):
        return problem(
            "numpy",
            f"{numpy} beside tflite-runtime {patient.examined.packages['tflite-runtime']}",
            "tflite-runtime was built with numpy 1 and cannot run with numpy 2.",
            prescriptions.setup(patient),
        )
    return good("numpy", numpy)


def _traps(patient: Patient) -> Iterator[Finding]:
    packages, folders = patient.examined.packages, patient.examined.package_folders
    apts_own = folders.get("tensorrt", "").endswith("/dist-packages")
    if patient.system.jetpack is not None and "tensorrt" in packages and not apts_own:
        yield problem(
            "tensorrt package",
            f"{packages['tensorrt']} in {folders['tensorrt']} is from PyPI",
            "It is made for PCs and servers, and hides the TensorRT that JetPack brings.",
            prescriptions.pip(patient, "uninstall", "-y", "tensorrt"),
        )
    if packages.get("pycoral") == "0.2.0":
        yield problem(
            "pycoral",
            "0.2.0 from PyPI",
            "That is an unrelated program of the same name; Coral's own is not on PyPI, and is not needed.",
            prescriptions.pip(patient, "uninstall", "-y", "pycoral"),
        )
    if "onnxruntime" in packages and "onnxruntime-gpu" in packages:
        yield problem(
            "onnxruntime-gpu",
            f"{packages['onnxruntime-gpu']} beside onnxruntime {packages['onnxruntime']}",
            "Both write the same folder, and the one installed last wins in part.",
            prescriptions.pip(patient, "uninstall", "-y", "onnxruntime", "onnxruntime-gpu"),
            prescriptions.setup(patient),
        )
    elif "onnxruntime-gpu" in packages and patient.system.jetpack is not None and not _works(patient):
        yield problem(
            "onnxruntime-gpu",
            packages["onnxruntime-gpu"],
            "PyPI's Arm packages of that name are for servers (SBSA) and do not run on a Jetson; NVIDIA has "
            "others that do.",
            prescriptions.pip(patient, "uninstall", "-y", "onnxruntime-gpu"),
            prescriptions.setup(patient),
        )


def _works(patient: Patient) -> bool:
    status = patient.runtimes.get("onnxruntime")
    return status is not None and status.available
