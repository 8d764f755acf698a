"""A first look at a board: has it a Python that can run the agent, and what does its device tree call it."""

from __future__ import annotations

from harness.errors import DeviceError
from harness.farm.inventory import DeviceEntry
from harness.link.transport import Transport, run_command
from profiles.detection import detect

#: The agent's own lower bound.
OLDEST_PYTHON = (3, 6)

#: The last line is the version; before it, where there is one, the device tree's words. Any Python runs it.
_PROGRAM = """
import os, sys
root = os.environ.get('EDGEBENCH_BOARD_ROOT') or '/'
for place in ('proc/device-tree', 'sys/firmware/devicetree/base'):
    path = os.path.join(root, place, 'compatible')
    if os.path.isfile(path):
        print('compatible ' + ' '.join(open(path).read().split(chr(0))))
        break
print('%d.%d' % sys.version_info[:2])
"""


def check_board(entry: DeviceEntry, transport: Transport) -> str | None:
    """The profile `entry` is of by its own words, None where it does not say.

    Raises DeviceError where the agent cannot run, or what the connection raises.
    """
    done = run_command(transport, [entry.python, "-c", _PROGRAM])
    lines = [line.split() for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
    if done.status != 0 or not lines:
        complaint = done.stderr.strip() or f"exit status {done.status}"
        raise DeviceError(
            f"{entry.name}: {entry.python!r} does not run there: {complaint}",
            "install Python 3.6 or newer on the board, or name another one with --python PATH",
            "no_python",
        )
    # The last word: a login script may have talked before.
    version = lines[-1][-1]
    numbers = [int(part[:4]) for part in version.split(".") if part.isdecimal()]
    if tuple(numbers) < OLDEST_PYTHON:
        raise DeviceError(
            f"{entry.name}: {entry.python} is Python {version}; the agent needs 3.6 or newer",
            "name another one with --python PATH",
            "old_python",
        )
    words = next((line[1:] for line in lines if line[0] == "compatible"), [])
    return detect(words)
