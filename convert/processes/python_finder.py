"""Finds an interpreter of a wanted version that can make virtual environments.

A name on PATH proves little: it may be a pyenv shim without that version, or a system Python without
ensurepip. So every candidate is run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from convert.errors import ConversionFailed

#: A colon-separated list of interpreters, looked at before all others.
PYTHONS_VARIABLE = "EDGEBENCH_PYTHONS"

_USUAL_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
#: Answers "3.13", and "3.13t" where there is no GIL: few packages have wheels for that one.
_PROBE = (
    "import sys; print('%d.%d' % sys.version_info[:2] + 't' * ('t' in sys.abiflags), flush=True); "
    "import venv, ensurepip"
)
_PROBE_DEADLINE_S = 30.0


def find_python(versions: Sequence[str], purpose: str) -> Path:
    """An interpreter of the first of `versions` ("3.12") that this computer has.

    Raises ConversionFailed (toolchain_python_missing), saying where it looked and what it refused.
    """
    refused: dict[Path, str] = {}
    for version in versions:
        seen = set()
        for candidate in _candidates(version):
            if candidate in seen or not os.access(candidate, os.X_OK):
                continue
            seen.add(candidate)
            objection = _objection(candidate, version)
            if objection is None:
                return candidate
            refused[candidate] = objection
    refused |= {path: "cannot be run" for path in _named() if path not in refused}
    raise _missing(versions, purpose, refused)


def _candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    yield from _named()
    if "{}.{}".format(*sys.version_info) == version:
        yield Path(sys.executable)
    yield from (Path(folder) / name for folder in _listed(os.environ.get("PATH")))
    yield from _newest_first(_pyenv_versions(), f"{version}.*/bin/{name}")
    yield from (Path(folder) / name for folder in _USUAL_FOLDERS)
    yield from _newest_first(_uv_pythons(), f"cpython-{version}.*/bin/{name}")


def _named() -> list[Path]:
    return [Path(entry).expanduser() for entry in _listed(os.environ.get(PYTHONS_VARIABLE))]


def _listed(text: str | None) -> list[str]:
    return [entry for entry in (text or "").split(os.pathsep) if entry]


def _pyenv_versions() -> Path:
    return Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"


def _uv_pythons() -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")


def _newest_first(folder: Path, pattern: str) -> list[Path]:
    def numbers(path: Path) -> list[int]:
        digits = "".join(c if c.isdigit() else " " for c in path.relative_to(folder).parts[0])
        return [int(number) for number in digits.split()]

    return sorted(folder.glob(pattern), key=numbers, reverse=True)


def _objection(candidate: Path, version: str) -> str | None:
    """Why this interpreter will not do, None if it will."""
    try:
        # -I: neither the user's PYTHONPATH nor a venv.py in the current folder may answer for it.
        answer = subprocess.run(
            [candidate, "-I", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "cannot be run"
    found = answer.stdout.strip()
    if not found:
        return "cannot be run"
    if found != version:
        return f"is Python {found}"
    if answer.returncode != 0:
        return f"lacks venv or ensurepip (on Debian and Ubuntu: the package python{version}-venv)"
    return None


def _missing(versions: Sequence[str], purpose: str, refused: dict[Path, str]) -> ConversionFailed:
    wanted = " or ".join(versions)
    message = (
        f"{purpose} needs Python {wanted}, which was not found on PATH, in {_pyenv_versions()}, "
        f"in {', '.join(_USUAL_FOLDERS)}, in {_uv_pythons()} or in {PYTHONS_VARIABLE}"
    )
    if refused:
        message += "; refused: " + ", ".join(f"{path} ({why})" for path, why in refused.items())
    return ConversionFailed(
        message,
        reason="toolchain_python_missing",
        remedy=f"Install Python {versions[0]}, or set {PYTHONS_VARIABLE}=/path/to/python{versions[0]}",
    )
