"""A first look at a board: is there a Python that can run the agent."""

from __future__ import annotations

from harness.errors import DeviceError
from harness.farm.inventory import DeviceEntry
from harness.link.transport import Transport, run_command

#: The agent's own lower bound.
OLDEST_PYTHON = (3, 6)


def check_board(entry: DeviceEntry, transport: Transport) -> None:
    """Return if the agent can run on `entry`; raises DeviceError or what the connection raises."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = run_command(transport, [entry.python, "-c", program])
    words = done.stdout.decode("utf-8", "replace").split()
    if done.status != 0 or not words:
        complaint = done.stderr.strip() or f"exit status {done.status}"
        raise DeviceError(
            f"{entry.name}: {entry.python!r} does not run there: {complaint}",
            "install Python 3.6 or newer on the board, or name another one with --python PATH",
            "no_python",
        )
    # The last word: a login script may have talked before.
    found = tuple(int(part) for part in words[-1].split(".") if part.isdecimal())
    if found < OLDEST_PYTHON:
        raise DeviceError(
            f"{entry.name}: {entry.python} is Python {words[-1]}; the agent needs 3.6 or newer",
            "name another one with --python PATH",
            "old_python",
        )
