"""Where edgebench keeps things on this host."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from convert.workshop import Workshop


def host_cache() -> Path:
    """Where this host keeps artifacts, references and inputs; EDGEBENCH_CACHE_DIR overrides."""
    return _base() / "host"


def runs_folder() -> Path:
    """Where this user's runs on this host say that they are alive."""
    return Path(platformdirs.user_state_dir("edgebench")) / "runs"


def toolchains_home() -> Path:
    """Where pinned toolchains are made; EDGEBENCH_TOOLCHAINS overrides, so that several caches share them."""
    own = os.environ.get("EDGEBENCH_TOOLCHAINS")
    return Path(own) if own else _base() / "toolchains"


def lab_home() -> Path:
    """The folder of this host's virtual boards, with their inventory while there are any."""
    return _base() / "lab"


def lab_roots() -> Path:
    """Where the systems of virtual boards are kept; EDGEBENCH_LAB_ROOTS overrides, as for toolchains."""
    own = os.environ.get("EDGEBENCH_LAB_ROOTS")
    return Path(own) if own else _base() / "lab-roots"


def workshop(tell: Callable[[str], None]) -> Workshop:
    """The workshop of this host; `tell` gets a line where something takes long."""
    # Much to import for commands that convert nothing.
    from convert.workshop import Workshop

    return Workshop(host_cache(), toolchains_home(), tell)


def _base() -> Path:
    return Path(os.environ.get("EDGEBENCH_CACHE_DIR") or platformdirs.user_cache_dir("edgebench"))
