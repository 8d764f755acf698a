"""Files that only their owner reads, replaced whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.errors import ConfigurationError


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path` with mode 0600; whoever reads meanwhile, or after a crash, sees old or new.

    Raises ConfigurationError where that is not possible.
    """
    target = path.resolve()  # a link stays a link
    temporary = ""
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes it 0600 from the start.
        descriptor, temporary = tempfile.mkstemp(prefix=target.name + ".", dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
        temporary = ""
        _sync_folder(target.parent)
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be written: {error.strerror or error}"]) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """The new name is on disk only once the folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
