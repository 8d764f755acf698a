"""What this board is and which runtimes work on it. A runtime counts only once it ran a tiny model.

Importing proves nothing: tflite_runtime 2.14 imports beside numpy 2 and then fails, onnxruntime 1.21 dies of
SIGILL on a Raspberry Pi 4. So each is proven in a child process, and what it dies of is told.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List, Optional, Tuple

from device_agents import device_facts
from device_agents.boards.host import this_host
from device_agents.boards.table import this_board
from device_agents.own_command import agent_command
from device_agents.protocol import (
    MAX_LINE_BYTES,
    PROTOCOL_VERSION,
    ProbeReply,
    ProtocolError,
    RuntimeStatus,
    encode,
    expect,
)
from device_agents.runtimes.base import LoadFailed, RuntimeMissing
from device_agents.runtimes.table import RUNTIMES
from device_agents.workspace import Workspace

PROOF_TIMEOUT_S = 120.0


def probe(workspace: Workspace, names: List[str]) -> ProbeReply:
    """Facts of the board and the state of the named runtimes (all of them if none is named)."""
    holder = _who_has_it(workspace)
    return ProbeReply(
        protocol=PROTOCOL_VERSION,
        facts=device_facts.collect(this_board(this_host())),
        runtimes=_prove_all(workspace, names or sorted(RUNTIMES)),
        workspace=workspace.root,
        free_bytes=workspace.free_bytes(),
        busy_with=holder[0] if holder else None,
        busy_since=holder[1] if holder else None,
    )


def _who_has_it(workspace: Workspace) -> Optional[Tuple[str, float]]:
    """Whoever keeps the asking run from this board, in words, and since when by the board's clock."""
    from device_agents.leases import Leases

    holder = Leases(workspace).holder()
    return None if holder is None else (holder.words[:500], time.time() - holder.held_s)


def prove_here(name: str) -> RuntimeStatus:
    """Start the runtime in this process and run a tiny model with it."""
    runtime = RUNTIMES[name]()()
    try:
        runtime.start()
        details = runtime.prove()
    except (RuntimeMissing, LoadFailed) as error:
        return RuntimeStatus(name, False, runtime.version or None, runtime.package, str(error)[:2000], {})
    return RuntimeStatus(name, True, runtime.version, runtime.package, None, details)


def _prove_all(workspace: Workspace, names: List[str]) -> List[RuntimeStatus]:
    """Proofs run beside each other; good ones are remembered until the installed packages change."""
    remembered = _Remembered(workspace)
    children = {}
    for name in names:
        if name in RUNTIMES and remembered.get(name) is None:
            children[name] = _Proof(workspace, name)
    give_up = time.monotonic() + PROOF_TIMEOUT_S
    found = []
    for name in names:
        if name in children:
            status = children[name].result(give_up)
            remembered.put(status)
        else:
            unknown = RuntimeStatus(name, False, None, None, "this agent has no such runtime", {})
            status = remembered.get(name) or unknown
        found.append(status)
    remembered.save()
    return found


class _Proof:
    """A child that proves a runtime."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self._name = name
        self._child = subprocess.Popen(
            agent_command("--workspace", workspace.root, "prove", name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._said, self._errors = _Tail(self._child.stdout), _Tail(self._child.stderr)

    def result(self, give_up: float) -> RuntimeStatus:
        """What it found, or what became of it until `give_up` on the monotonic clock."""
        in_time = True
        try:
            self._child.wait(max(0.0, give_up - time.monotonic()))
        except subprocess.TimeoutExpired:
            in_time = False
            self._child.kill()
            self._child.wait()
        said, errors = self._said.content(), self._errors.content()
        if not in_time:
            return self._failed(f"did not answer within {PROOF_TIMEOUT_S:g} s")
        try:
            return expect(RuntimeStatus, said)
        except ProtocolError:
            last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
            return self._failed("; ".join([_death(self._child.returncode)] + [line[:2000] for line in last]))

    def _failed(self, reason: str) -> RuntimeStatus:
        return RuntimeStatus(self._name, False, None, None, reason, {})


class _Tail:
    """The end of what a child says, read as it comes: a flood neither blocks it nor fills this process."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._content = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def content(self) -> bytes:
        """What came, once the child has ended; what it left behind may hold the stream open for ever."""
        self._thread.join(1.0)
        return self._content

    def _read(self) -> None:
        with self._stream:
            for piece in iter(lambda: os.read(self._stream.fileno(), 1 << 16), b""):
                self._content = (self._content + piece)[-MAX_LINE_BYTES:]


def _death(status: int) -> str:
    if status == -signal.SIGILL:
        return "died of SIGILL: its package was built for a newer processor than this board has"
    if status < 0:
        return f"died of signal {-status}"
    return f"ended with status {status}"


class _Remembered:
    """Good proofs, kept beside the workspace under a key that changes with Python, agent or packages."""

    def __init__(self, workspace: Workspace) -> None:
        self._path = os.path.join(workspace.root, "runtimes.json")
        self._key = _installation_key()
        self._proofs: Dict[str, RuntimeStatus] = {}
        self._changed = False
        try:
            with open(self._path, "rb") as file:
                stored = json.loads(file.read().decode("utf-8"))
            if stored.get("key") == self._key:
                for line in stored["proofs"]:
                    status = expect(RuntimeStatus, line.encode("ascii"))
                    self._proofs[status.name] = status
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ProtocolError):
            self._proofs = {}  # absent or written by another version: prove again

    def get(self, name: str) -> Optional[RuntimeStatus]:
        return self._proofs.get(name)

    def put(self, status: RuntimeStatus) -> None:
        if status.available:
            self._proofs[status.name] = status
            self._changed = True

    def save(self) -> None:
        if not self._changed:
            return
        lines = [encode(status).decode("ascii") for status in self._proofs.values()]
        part = f"{self._path}.{os.getpid()}.part"
        try:
            with open(part, "w") as file:
                json.dump({"key": self._key, "proofs": lines}, file)
            os.rename(part, self._path)
        except OSError:  # a full disk costs this memory; that it is full is told where it matters
            with contextlib.suppress(OSError):
                os.remove(part)


def _installation_key() -> str:
    """Installing, upgrading or removing a package changes the folder it lies in, and so this key.

    Native libraries (CUDA, by apt) change the loader's cache.
    """
    parts = [sys.executable, sys.version, os.path.abspath(__file__)]
    places = [place for place in sys.path if os.path.isdir(place)] + ["/etc/ld.so.cache"]
    parts.extend(f"{place}:{os.stat(place).st_mtime}" for place in places if os.path.exists(place))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()
