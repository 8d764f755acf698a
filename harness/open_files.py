"""Enough open files for many boards at once: most shells give a process 1024."""

from __future__ import annotations

import resource

#: A local command has up to ten for a moment: its pipes, and what starting it takes. SSH takes fewer.
FILES_PER_BOARD = 16
#: Python's own, the database, artifacts, the terminal, and conversions.
OTHER_FILES = 256


def allow_open_files(boards: int) -> str | None:
    """Raise this process's limit to what so many boards need, no further; says so where that is refused.

    No further, because children inherit it, and some walk through all descriptors they might have.
    """
    wanted = OTHER_FILES + FILES_PER_BOARD * boards
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # macOS refuses more than its own limit, whatever it says is the hard one
        allowed = soft
    if allowed == wanted:
        return None
    return (
        f"{boards} boards at once may need {wanted} open files and this system allows {allowed}; "
        "measure fewer at a time, or raise the hard limit (`ulimit -Hn`)"
    )
