"""The agent's own virtual environments on a board: made, found and removed by POSIX shell scripts.

A script holds the lock that measurements take, so neither disturbs the other, and two setups do not meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import BoardBusy, BoardFull, DeviceError
from harness.link.device_session import DeviceSession
from harness.link.transport import Completed

#: Unpacking and compiling 60 MB of packages on a Zero 2 W; bounds each silence, and pip talks.
BUILD_TIMEOUT_S = 1200.0

#: sysexits.h: somebody holds the lock.
_BUSY = 75

#: $0 workspace, $1 folder, $2 base Python, $3 an option of venv or nothing, $4 and $5 pip's blob and file
#: name, then blobs and file names of the wheels. TMPDIR: /tmp is memory on some boards. Nothing is compiled
#: ahead: most of numpy is never imported, and the proof compiles what is.
_BUILD = """
umask 077
workspace=$0 folder=$1 python=$2 site=$3 pip=$4 pip_name=$5
shift 5
exec 9>>"$workspace/lock" || exit 1
if command -v flock >/dev/null 2>&1; then flock -n 9 || exit 75; fi
printf '{"job":"device setup","since":%s,"pid":%s}' "$(date +%s)" $$ >"$workspace/lock"
fail() { rm -rf "$folder"; exit 1; }
place() { ln "$workspace/blobs/$1" "$2" 2>/dev/null || cp "$workspace/blobs/$1" "$2" || fail; }
rm -rf "$folder"
"$python" -I -m venv --without-pip $site "$folder" || fail
mkdir "$folder/wheels" "$folder/pip" "$folder/tmp" || fail
place "$pip" "$folder/pip/$pip_name"
while [ $# -ge 2 ]; do place "$1" "$folder/wheels/$2"; shift 2; done
TMPDIR="$folder/tmp" "$folder/bin/python" -I "$folder/pip/$pip_name/pip" install --isolated --no-index \
  --no-deps --ignore-installed --no-cache-dir --no-compile --disable-pip-version-check \
  --no-warn-script-location \
  "$folder"/wheels/*.whl || fail
rm -rf "$folder/wheels" "$folder/pip" "$folder/tmp"
"""

_IS_COMPLETE = 'test -f "$0/complete" && test -x "$0/bin/python"'
_COMPLETE = 'umask 077; : >"$0/complete" && sync'
_REMOVE = 'rm -rf "$0"'
_LIST = 'for folder in "$0"/venv-*; do if [ -f "$folder/complete" ]; then echo "$folder"; fi; done'


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of; blobs by their sha256 with the file names they go by."""

    base_python: str
    #: Whether it sees what apt installed for the system's Python.
    system_site_packages: bool
    pip: tuple[str, str]
    wheels: Sequence[tuple[str, str]]


class Environments:
    """Those below one workspace, by absolute paths."""

    def __init__(self, session: DeviceSession, workspace: str) -> None:
        self._session = session
        self._workspace = workspace

    def is_complete(self, folder: str) -> bool:
        """Whether the environment is there and was proven."""
        return self._session.run_script(_IS_COMPLETE, folder).status == 0

    def build(self, folder: str, recipe: Recipe) -> None:
        """Make it from blobs that are on the board; complete it once it is proven.

        Raises BoardBusy, BoardFull or DeviceError; then nothing of it remains.
        """
        site = "--system-site-packages" if recipe.system_site_packages else ""
        words = [word for wheel in recipe.wheels for word in wheel]
        done = self._session.run_script(
            _BUILD, self._workspace, folder, recipe.base_python, site, *recipe.pip, *words,
            timeout_s=BUILD_TIMEOUT_S,
        )  # fmt: skip
        if done.status != 0:
            raise self._failure(done)

    def mark_complete(self, folder: str) -> None:
        """Say that it works; what lacks this is made anew."""
        done = self._session.run_script(_COMPLETE, folder)
        if done.status != 0:
            raise self._failure(done)

    def remove(self, folder: str) -> None:
        """Take it away."""
        self._session.run_script(_REMOVE, folder)

    def all(self) -> tuple[str, ...]:
        """The complete ones."""
        done = self._session.run_script(_LIST, self._workspace)
        return tuple(done.stdout.decode("utf-8", "replace").splitlines())

    def _failure(self, done: Completed) -> DeviceError:
        device = self._session.device
        if done.status == _BUSY:
            return BoardBusy(f"{device}: a job is being measured or another setup is at work", "try later")
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        said = "; ".join((errors or lines)[-2:])[:600] or f"status {done.status}"
        if "No space left" in done.stderr or "quota" in done.stderr.lower():
            return BoardFull(
                f"{device}: no space for the environment: {said}",
                f"free some space on the board, for example with `bench device clean {device}`",
            )
        return DeviceError(
            f"{device}: the environment could not be made: {said}",
            "nothing was switched, and what was there before still works",
            "setup_failed",
        )
