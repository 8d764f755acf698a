"""Engines kept on the board between jobs: engines/<key>/{engine.plan, engine.json}.

The key stands for everything an engine depends on, so an engine of another TensorRT, GPU, model or setting is
not found at all. What is found has to be whole; that it loads is the runtime's to say.
"""

import contextlib
import hashlib
import json
import os
import shutil
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from device_agents.workspace import least_recent_first

PLAN_FILE = "engine.plan"
NOTE_FILE = "engine.json"

#: What the note looks like; one of another format is none.
NOTE_FORMAT = 1

#: Least recently used engines go once all of them together exceed this; one is about as large as its model.
ENGINE_BUDGET_BYTES = 2 << 30

#: Folders beside the engines that builds share; small, and worth more than any engine.
SHARED = ("timing", "calibration")

_PART = ".part"
_CHUNK_BYTES = 1 << 20


class StoredEngine(NamedTuple):
    """An engine that is whole, and what was noted of its building."""

    key: str
    plan: str
    note: Dict[str, Any]


def engine_key(identity: Dict[str, Any]) -> str:
    """The same for the same identity, whatever its order."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class EngineCache:
    """The engines under `folder`. One job at a time has the board, so nobody else builds meanwhile."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find(self, key: str) -> Optional[StoredEngine]:
        """The engine of that key, marked as used now; None where there is none or it is not whole."""
        home = os.path.join(self.folder, key)
        plan = os.path.join(home, PLAN_FILE)
        try:
            with open(os.path.join(home, NOTE_FILE), "rb") as file:
                note = json.loads(file.read().decode("utf-8"))
            whole = (
                note["format"] == NOTE_FORMAT
                and note["key"] == key
                and note["bytes"] == os.path.getsize(plan)
                and note["sha256"] == _sha256(plan)
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not whole:
            return None
        os.utime(home)
        return StoredEngine(key, plan, note)

    def remove(self, key: str) -> bool:
        """Forget an engine; whether there was one."""
        home = os.path.join(self.folder, key)
        was_there = os.path.isdir(home)
        shutil.rmtree(home, ignore_errors=True)
        return was_there

    @contextlib.contextmanager
    def new(self, key: str) -> Iterator[str]:
        """A path to build an engine at. Nothing remains of it unless `keep` took it over."""
        self._remove_parts()
        part = os.path.join(self.folder, key + _PART)
        os.makedirs(part, mode=0o700)
        try:
            yield os.path.join(part, PLAN_FILE)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def keep(self, key: str, note: Dict[str, Any]) -> StoredEngine:
        """Take over what was built at the path of `new`: it is there whole or not at all."""
        part, home = os.path.join(self.folder, key + _PART), os.path.join(self.folder, key)
        plan = os.path.join(part, PLAN_FILE)
        full = dict(note, format=NOTE_FORMAT, key=key, bytes=os.path.getsize(plan), sha256=_sha256(plan))
        with open(os.path.join(part, NOTE_FILE), "wb") as file:
            file.write(json.dumps(full, sort_keys=True, indent=1).encode("ascii"))
        for path in (plan, os.path.join(part, NOTE_FILE), part):
            _sync(path)
        self.remove(key)
        os.rename(part, home)
        _sync(self.folder)
        self.evict(keep=key)
        return StoredEngine(key, os.path.join(home, PLAN_FILE), full)

    def evict(self, keep: str) -> None:
        """Remove the least recently used engines over the budget. Jobs hold hard links of their own."""
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        for _, size, key in sorted(entries, key=least_recent_first):
            if total <= ENGINE_BUDGET_BYTES:
                return
            if key != keep:
                self.remove(key)
                total -= size

    def _entries(self) -> List[Tuple[float, int, str]]:
        found = []
        for key in os.listdir(self.folder):
            home = os.path.join(self.folder, key)
            if key in SHARED or key.endswith(_PART):
                continue
            with contextlib.suppress(OSError):
                size = sum(os.path.getsize(os.path.join(home, name)) for name in os.listdir(home))
                found.append((os.stat(home).st_mtime, size, key))
        return found

    def _remove_parts(self) -> None:
        """What builds that were killed left behind."""
        for name in os.listdir(self.folder):
            if name.endswith(_PART):
                shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
