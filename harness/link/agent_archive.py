"""The agent as one file: a zip that Python runs, byte-equal for equal sources, named by its hash.

On a board its first process unpacks it beside itself, so that Python keeps the bytecode of its modules: every
repetition is a fresh process, and compiling them anew would cost each a tenth of a second and more on a Pi.
"""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

#: zip's earliest date; a fixed one makes equal sources equal archives.
_DATE = (1980, 1, 1, 0, 0, 0)

_MAIN = b'''import os
import sys


def home(archive):
    """Where to import from: the folder beside the archive, or the archive where there can be none."""
    folder = archive[: -len(".pyz")]
    disk = os.statvfs(os.path.dirname(archive))
    small = disk.f_bavail * disk.f_frsize < 32 << 20  # keep what little there is for artifacts and results
    if os.path.isdir(folder) or small or not archive.endswith(".pyz"):
        return folder if os.path.isdir(folder) else archive
    import shutil
    import zipfile

    part = "{}.{}.part".format(folder, os.getpid())
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(part)
        os.sync()  # after a power cut, a name may be there whose files are empty: no agent would ever start
        os.rename(part, folder)
    except OSError:  # a full disk, or somebody else was first
        shutil.rmtree(part, ignore_errors=True)
    return folder if os.path.isdir(folder) else archive


# Everything on the board belongs to its user alone.
os.umask(0o077)
sys.path[0] = home(os.path.abspath(sys.argv[0]))

from device_agents.main import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
'''


@dataclass(frozen=True)
class AgentArchive:
    """Its bytes, their sha256 in hex, and the file name it has on a board."""

    content: bytes
    sha256: str

    @property
    def file_name(self) -> str:
        """Carries the hash, so that "already there" needs no further look."""
        return f"edgebench-agent-{self.sha256[:20]}.pyz"


@functools.cache
def agent_archive() -> AgentArchive:
    """The archive of the installed device_agents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _MAIN)
        for name, source in sorted(_sources(resources.files("device_agents"), "device_agents")):
            _add(archive, name, source)
    content = buffer.getvalue()
    return AgentArchive(content, hashlib.sha256(content).hexdigest())


def _sources(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for item in folder.iterdir():
        name = f"{prefix}/{item.name}"
        if item.is_dir() and item.name != "__pycache__":
            found += _sources(item, name)
        elif item.name.endswith(".py"):
            found.append((name, item.read_bytes()))
    return found


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # the same on every host
    info.external_attr = 0o600 << 16
    archive.writestr(info, content, compresslevel=9)
