"""Runs pip and its kin for a toolchain: away from the user's own settings, with progress and plain errors."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from convert.errors import ConversionFailed

#: Of pip's settings those that say where packages come from and how to get there; all that change
#: what is installed, or where to, are not for a pinned environment.
_KEPT_PIP_SETTINGS = frozenset(
    f"PIP_{name}"
    for name in (
        *("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "TRUSTED_HOST", "CONFIG_FILE"),
        *("PROXY", "CERT", "CLIENT_CERT", "KEYRING_PROVIDER", "USE_FEATURE", "USE_DEPRECATED"),
        *("TIMEOUT", "DEFAULT_TIMEOUT", "RETRIES", "RESUME_RETRIES", "CACHE_DIR", "NO_CACHE_DIR"),
    )
)
_FOREIGN = ("PYTHON", "PIP_", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
#: PIP_USER=0 stands here for those who have `user = true` in their pip.conf.
_PIP_SETTINGS = {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1"}

_TELL_EVERY_S = 1.0
_LAST_WORDS = 3
_COLLECTING = re.compile(r"Collecting (\S+)")
_DOWNLOADING = re.compile(r"\s*Downloading (?:\S*/)?([^/\s-]+-[^/\s-]+)\S* \((.+)\)")
_INSTALLING = re.compile(r"Installing collected packages: (.+)")
#: What requests, urllib3 and the kernel say when there is no way to the index.
_OFFLINE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError"
    r"|Connection (?:refused|aborted|broken|reset)|Network is unreachable|name resolution"
)
_CAUSE = re.compile(r"\[Errno -?\d+\] [^'\")\]]+")
_DISK_FULL = re.compile(r"\[Errno (?:28|122)\]|No space left on device|Disk quota exceeded")


def toolchain_environment(python: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environment` for a child that is the toolchain's `python`: its programs come first on PATH, and
    nothing the user set for other Pythons reaches it.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in _KEPT_PIP_SETTINGS or not name.startswith(_FOREIGN)
    }
    kept["PATH"] = os.pathsep.join(filter(None, (str(python.parent), environment.get("PATH"))))
    return kept


def make_environment(interpreter: Path, folder: Path, name: str) -> Path:
    """The python of a new virtual environment in `folder`.

    Raises ConversionFailed, as the other functions here do.
    """
    _run(name, interpreter, ["-m", "venv", str(folder)])
    return folder / "bin" / "python"


def install_pins(
    python: Path, requirements: Path, name: str, tell: Callable[[str], None], *, alone: bool = False
) -> None:
    """Installs what the file lists; `alone` leaves out what those packages say they need."""
    arguments = ["-m", "pip", "install", "--only-binary=:all:", "--requirement", str(requirements)]
    _run(name, python, [*arguments, *(["--no-deps"] if alone else [])], _Progress(name, tell))


def prove_imports(python: Path, code: str, name: str) -> None:
    """Runs `code` in the new environment: that packages are installed does not mean that they load."""
    _run(name, python, ["-c", code])


class _Progress:
    """Tells what pip is at, about once a second at most."""

    def __init__(self, name: str, tell: Callable[[str], None]) -> None:
        self._name = name
        self._tell = tell
        self._told = -_TELL_EVERY_S

    def __call__(self, line: str) -> None:
        if installing := _INSTALLING.match(line):
            # Always told: the longest silence of pip follows.
            count = installing[1].count(",") + 1
            self._say(f"installing {count} package{'s' if count > 1 else ''}")
        elif time.monotonic() - self._told < _TELL_EVERY_S:
            return
        elif downloading := _DOWNLOADING.match(line):
            self._say(f"downloading {downloading[1]} ({downloading[2]})")
        elif collecting := _COLLECTING.match(line):
            self._say(f"collecting {collecting[1]}")

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        self._tell(f"{self._name} toolchain: {text}")


def _run(
    name: str, python: Path, arguments: Sequence[str], look: Callable[[str], None] = lambda _line: None
) -> None:
    lines: list[str] = []
    with subprocess.Popen(
        # -I: nothing in the current folder is imported in place of what was installed.
        [str(python), "-I", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**toolchain_environment(python), **_PIP_SETTINGS},
        text=True,
        errors="replace",
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip())
                look(line)
            process.wait()
        finally:
            process.kill()
    if process.returncode != 0:
        raise _failure(name, lines, process.returncode)


def _failure(name: str, lines: list[str], status: int) -> ConversionFailed:
    output = "\n".join(lines)
    if _DISK_FULL.search(output):
        return disk_full(name, "the disk became full on the way")
    if _OFFLINE.search(output):
        cause = _CAUSE.search(output)
        said = cause[0] if cause else _last_words(lines)
        return ConversionFailed(
            f"the {name} toolchain cannot be fetched, the package index is out of reach: {said}",
            reason="toolchain_offline",
            remedy=f"Connect this computer once and run: bench convert --prepare {name}",
        )
    said = _last_words(lines) or f"status {status} without a word"
    return ConversionFailed(f"the {name} toolchain could not be made: {said}", reason="toolchain_failed")


def disk_full(name: str, found: str) -> ConversionFailed:
    """The error of a disk without room for a toolchain."""
    return ConversionFailed(
        f"no room for the {name} toolchain: {found}",
        reason="disk_full",
        remedy="Free space there, or set EDGEBENCH_TOOLCHAINS to a folder elsewhere",
    )


def _last_words(lines: Sequence[str]) -> str:
    spoken = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in spoken if line.startswith("ERROR: ")]
    return "; ".join((errors or spoken)[-_LAST_WORDS:])
