"""Placeholder until its owner writes it (minutes)."""

from __future__ import annotations

from typing import Any


def explain(*_arguments: Any) -> str | None:
    """Nothing yet."""
    return None
