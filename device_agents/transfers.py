"""Files to the board and back, on standard input and output: what came stays, and the rest is asked for."""

import os
import select
import time
from typing import BinaryIO, List

from device_agents.protocol import BlobState, encode
from device_agents.signs_of_life import show_life
from device_agents.workspace import Workspace

#: Less than the controller waits for the board while sending (WRITE_TIMEOUT_S).
PUT_SILENCE_S = 60.0

#: How often a transfer renews the lease it is part of.
LIFE_S = 20.0

_CHUNK_BYTES = 1 << 18


def put(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    """Say how much is there, take the rest from standard input, check the hash."""
    sha256, size = arguments[0], int(arguments[1])
    if os.path.exists(workspace.blob(sha256)):
        out.write(encode(BlobState(size, True)))
        return 0
    with workspace.partial_blob(sha256, size) as part:
        if os.path.exists(workspace.blob(sha256)):  # somebody else sent it while we waited
            os.remove(part.name)
            out.write(encode(BlobState(size, True)))
            return 0
        have, shown = part.tell(), time.monotonic()
        out.write(encode(BlobState(have, False)))
        out.flush()
        while have < size:
            # A link that died without a word must not keep the next try from this file.
            ready = select.select([0], [], [], PUT_SILENCE_S)[0]
            chunk = os.read(0, min(_CHUNK_BYTES, size - have)) if ready else b""
            if not chunk:  # the link broke; what came is kept and resumed from
                return 1
            part.write(chunk)
            have += len(chunk)
            shown = _show_life_again(workspace, shown)
        workspace.finish_blob(sha256, size, part)
    out.write(encode(BlobState(size, True)))
    return 0


def get(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    """Result files one after the other, the first from an offset on: who asks knows sizes and hashes."""
    job_id, offset, names = arguments[0], int(arguments[1]), arguments[2:]
    folder = os.path.join(workspace.job(job_id), "result")
    shown = time.monotonic()
    for name in names:
        with open(os.path.join(folder, os.path.basename(name)), "rb") as file:
            file.seek(offset)
            for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
                out.write(chunk)
                shown = _show_life_again(workspace, shown)
        offset = 0
    return 0


def _show_life_again(workspace: Workspace, last: float) -> float:
    """The same every now and then in a transfer, which may take longer than a lease lasts."""
    if time.monotonic() - last < LIFE_S:
        return last
    show_life(workspace)
    return time.monotonic()
