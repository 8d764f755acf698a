"""Where edgebench keeps things on this host."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from convert.workshop import Workshop


def host_cache() -> Path:
    """Where this host keeps artifacts, references and inputs; EDGEBENCH_CACHE_DIR overrides."""
    return _base() / "host"


def toolchains_home() -> Path:
    """Where pinned toolchains are made; EDGEBENCH_TOOLCHAINS overrides, so that several caches share them."""
    own = os.environ.get("EDGEBENCH_TOOLCHAINS")
    return Path(own) if own else _base() / "toolchains"


def workshop(tell: Callable[[str], None]) -> Workshop:
    """The workshop of this host; `tell` gets a line where something takes long."""
    return Workshop(host_cache(), toolchains_home(), tell)


def _base() -> Path:
    return Path(os.environ.get("EDGEBENCH_CACHE_DIR") or platformdirs.user_cache_dir("edgebench"))
