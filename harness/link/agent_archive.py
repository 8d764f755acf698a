"""The agent as one file: a zip that Python runs, byte-equal for equal sources, named by its hash."""

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

_MAIN = b"""import sys

from device_agents.main import main

sys.exit(main(sys.argv[1:]))
"""


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
