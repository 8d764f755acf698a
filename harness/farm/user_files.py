"""Where edgebench keeps what belongs to the user and not to one farm."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def config_dir() -> Path:
    """`~/.config/edgebench` or what the system calls it; EDGEBENCH_CONFIG_DIR overrides."""
    override = os.environ.get("EDGEBENCH_CONFIG_DIR")
    return Path(override) if override else Path(platformdirs.user_config_dir("edgebench"))


def user_known_hosts() -> Path:
    """Host keys of boards and jump hosts that are in no inventory."""
    return config_dir() / "known_hosts"
