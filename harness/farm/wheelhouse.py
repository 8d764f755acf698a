"""Wheels for a board, fetched on this host: from the package index for the board's platform, or a folder.

pip decides what fits, for the board's Python and C library and not for ours. What was fetched stays in the
user's cache, so a second board of a kind needs no network.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convert.processes.pip_run import toolchain_environment
from harness.errors import DeviceError, UsageError
from harness.farm.board_packages import BoardPlatform, Pin

#: Fetching 60 MB over a slow line.
FETCH_TIMEOUT_S = 1200.0

_SETTINGS = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1"}
_OFFLINE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError"
    r"|Connection (?:refused|aborted|broken|reset)|Network is unreachable|name resolution"
)
_ABSENT = re.compile(r"No matching distribution found for (\S+)")


class WheelsMissing(DeviceError):
    """The packages for a board could not be had."""

    reason = "wheels_missing"


@dataclass(frozen=True)
class Wheel:
    """One file to send."""

    path: Path
    sha256: str
    bytes: int

    @property
    def name(self) -> str:
        """The file's name, which pip reads."""
        return self.path.name


def fetched(
    platform: BoardPlatform, pins: Sequence[Pin], home: Path, tell: Callable[[str], None]
) -> tuple[Wheel, ...]:
    """Exactly these packages from the package index, or from `home` where they were fetched before.

    Raises WheelsMissing.
    """
    folder = home / _key(platform, pins)
    if not folder.is_dir():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        tell(f"fetching {', '.join(pin.exact for pin in pins)} for {_words(platform)}")
        with tempfile.TemporaryDirectory(prefix="part-", dir=home) as part:
            stage = Path(part) / "wheels"
            _download(platform, [pin.exact for pin in pins], stage, ())
            # Whole or not at all; another process may have been quicker with the same.
            with contextlib.suppress(OSError):
                stage.rename(folder)
    return _wheels(folder)


@contextmanager
def chosen_from(source: Path, platform: BoardPlatform, pins: Sequence[Pin]) -> Iterator[tuple[Wheel, ...]]:
    """The newest allowed wheels that fit the board from a folder of the user's; asks no index.

    Raises WheelsMissing that names what the folder lacks.
    """
    with tempfile.TemporaryDirectory(prefix="edgebench-wheels-") as part:
        stage = Path(part)
        offline = ("--no-index", "--find-links", str(source.absolute()))
        try:
            _download(platform, [pin.loose for pin in pins], stage, offline)
        except WheelsMissing as error:
            raise WheelsMissing(
                f"{source}: {error.message}",
                f"fill it on a computer with a network: {download_command(platform, pins, source)}",
            ) from error
        yield _wheels(stage)


def names_in(folder: Path) -> frozenset[str]:
    """Normalised names of the packages whose wheels lie in `folder`; UsageError where there are none."""
    if not folder.is_dir():
        raise UsageError(f"--wheels {folder}: no such folder", "give a folder that holds .whl files")
    names = {re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower() for path in folder.glob("*.whl")}
    if not names:
        raise UsageError(f"--wheels {folder}: there are no .whl files in it", "give a folder that holds some")
    return frozenset(names)


def download_command(platform: BoardPlatform, pins: Sequence[Pin], folder: Path | str = "DIR") -> str:
    """The command that fills a folder for --wheels."""
    known = [pin.exact for pin in pins if pin.version]
    return " ".join(["python3 -m pip", *_arguments(platform, known, str(folder), brief=True)])


def digest(wheels: Sequence[Wheel]) -> str:
    """Changes when any of the files does."""
    content = "\n".join(sorted(f"{wheel.name} {wheel.sha256}" for wheel in wheels))
    return hashlib.sha256(content.encode("utf-8")).hexdigest()


def _arguments(
    platform: BoardPlatform, requirements: Sequence[str], folder: str, *, brief: bool = False
) -> list[str]:
    tags = platform.tags()
    # Every tag down to the oldest for pip, which takes each literally; for people the few that are in use.
    shown = [tag for tag in tags if not brief or re.match(r"manylinux(20\d\d|_2_(17|27|28))_", tag)]
    return [
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version",
        ".".join(map(str, platform.python)),
        "--implementation",
        "cp",
        "--abi",
        platform.abi,
        *(word for tag in shown for word in ("--platform", tag)),
        "--dest",
        folder,
        *requirements,
    ]


def _download(
    platform: BoardPlatform, requirements: Sequence[str], folder: Path, options: Sequence[str]
) -> None:
    command = [sys.executable, "-I", *_pip(), *_arguments(platform, requirements, str(folder)), *options]
    environment = toolchain_environment(Path(sys.executable)) | _SETTINGS
    if "--no-index" in options:
        # The user's other folders are not the one that was named.
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    if environment.get("PIP_RETRIES") == "0":
        # pip tells of an index that does not answer only when it tries again.
        environment["PIP_RETRIES"] = "1"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=FETCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WheelsMissing(
            f"pip did not finish within {FETCH_TIMEOUT_S:g} s", "try again, or give --wheels DIR"
        ) from error
    if done.returncode != 0:
        raise _failure(done.stderr + done.stdout)


def _pip() -> list[str]:
    """How to run a pip: our own, or the one that Python carries to install it."""
    if importlib.util.find_spec("pip") is not None:
        return ["-m", "pip"]
    carried = importlib.util.find_spec("ensurepip")
    folder = Path(carried.origin).parent / "_bundled" if carried and carried.origin else Path()
    wheels = sorted(folder.glob("pip-*.whl"))
    if not wheels:
        raise WheelsMissing(
            f"{sys.executable} has no pip to fetch packages with",
            f"install it: {sys.executable} -m ensurepip, or your system's python3-pip",
        )
    return [str(wheels[-1] / "pip")]


def _failure(output: str) -> WheelsMissing:
    absent = _ABSENT.search(output)
    if _OFFLINE.search(output):
        return WheelsMissing(
            "the package index is out of reach",
            "connect this computer, or give --wheels DIR, which --dry-run tells how to fill",
        )
    if absent:
        return WheelsMissing(
            f"there is no {absent[1]} for this board", "give --wheels DIR with one that fits"
        )
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    said = "; ".join(errors[-2:]) or "pip ended without a word"
    return WheelsMissing(f"pip could not fetch the packages: {said[:600]}", "give --wheels DIR")


def _wheels(folder: Path) -> tuple[Wheel, ...]:
    found = []
    for path in sorted(folder.glob("*.whl")):
        content = path.read_bytes()
        found.append(Wheel(path, hashlib.sha256(content).hexdigest(), len(content)))
    return tuple(found)


def _key(platform: BoardPlatform, pins: Sequence[Pin]) -> str:
    words = [platform.abi, *platform.tags(), *sorted(pin.exact for pin in pins)]
    return f"{platform.abi}-{platform.machine}-{hashlib.sha256(' '.join(words).encode()).hexdigest()[:12]}"


def _words(platform: BoardPlatform) -> str:
    glibc = ".".join(map(str, platform.glibc or ()))
    return f"{platform.machine}, Python {'.'.join(map(str, platform.python))}, glibc {glibc}"
