"""Boards whose link and controller are struck: how one is reached, and how we look into it from outside."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.farm.inventory import known_hosts_beside, load_inventory
from tests.device_agents.board_trees import agent_python
from tests.end_to_end.stand_in_nano import StandInNano
from tests.openssh import OpenSshServer

#: Larger files of a stand-in's tree are libraries, not settings.
_SETTING_BYTES = 1 << 16

#: How often a process is asked what it runs.
_TIMES_ASKED = 20

#: What a stand-in notes of what was asked of it.
_NOTES = (".log", ".pid")


@dataclass(frozen=True)
class StruckBoard:
    """A board that is reached through a LinkProxy."""

    name: str
    host: str
    port: int
    #: Further fields of its inventory entry, and the known_hosts line that pins its key.
    fields: Mapping[str, str | Path]
    known_hosts: str
    #: What `bench run` is asked for on it.
    options: Sequence[str]
    #: Where the workspace of a run is: for the board, and for us.
    home: str
    seen_home: Path
    #: The settings that a performance mode changes lie below; None where there are none.
    tree: Path | None = None
    #: Processes of the board are those below this root; None where they are among our own.
    root_of: str | None = None

    def workspace(self, number: int) -> str:
        """The workspace of that run, as the board calls it."""
        return f"{self.home}/struck-{number}"

    def seen(self, number: int) -> Path:
        """The same, as we see it."""
        return self.seen_home / f"struck-{number}"

    def processes(self, number: int, strangers: Counter[str] | None = None) -> dict[int, str]:
        """Command lines of what runs on the board for that run, by process id.

        Who asks often keeps `strangers`: processes that were none of the board's some times are not looked
        at again. (Not at once: a process has its parent's command line until it starts its own program.)
        """
        found = {}
        wanted = self.workspace(number).encode()
        for pid in os.listdir("/proc"):  # noqa: PTH208 - asked many times a second
            if not pid.isdecimal() or (strangers is not None and strangers[pid] > _TIMES_ASKED):
                continue
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
                    line = file.read()
                is_ours = wanted in line and b"bin/bench" not in line and int(pid) != os.getpid()
                if is_ours and self.root_of is not None:
                    is_ours = os.readlink(f"/proc/{pid}/root") == self.root_of  # noqa: PTH115
            except OSError:
                continue
            if is_ours:
                found[int(pid)] = line.decode("utf-8", "replace").replace("\0", " ")
            elif strangers is not None:
                strangers[pid] += 1
        return found

    def settings(self) -> dict[str, str]:
        """Everything small that its tree says now: clocks, governor, power mode and the rest."""
        if self.tree is None:
            return {}
        found = {}
        for path in self.tree.rglob("*"):
            plain = path.is_file() and not path.is_symlink() and path.suffix not in _NOTES
            if plain and path.stat().st_size <= _SETTING_BYTES:
                found[str(path.relative_to(self.tree))] = path.read_bytes().decode("latin-1")
        return found

    def is_held(self, number: int) -> bool:
        """Whether somebody holds the board's lock."""
        with suppress(FileNotFoundError), (self.seen(number) / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def jobs(self, number: int) -> dict[str, tuple[str, list[dict[str, object]]]]:
        """Precision and events of every job that the board was given, by its id."""
        found = {}
        folder = self.seen(number) / "jobs"
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            with suppress(FileNotFoundError):
                precision = json.loads((path / "job.json").read_bytes())["precision"]
                found[path.name] = (precision, _events(path / "journal.jsonl"))
        return found

    def forget(self, number: int) -> None:
        """Remove what a run left on it."""
        shutil.rmtree(self.seen(number), ignore_errors=True)


def _events(journal: Path) -> list[dict[str, object]]:
    if not journal.exists():
        return []
    whole, _, _ = journal.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]


@contextmanager
def nano() -> Iterator[StruckBoard]:
    """A stand-in Jetson Nano behind a real sshd: Python 3.6, TensorRT's API of 8.2, a performance mode."""
    python = agent_python("3.6")
    if python is None:
        raise RuntimeError("no Python 3.6 with numpy (tests/agent_pythons.sh makes it)")
    folder = Path(tempfile.mkdtemp(prefix="edgebench-struck-"))
    folder.chmod(0o755)
    try:
        with OpenSshServer() as server:
            board = StandInNano(folder / "nano", Path(python))
            board.give_to(server.user)
            yield StruckBoard(
                name="nano-01",
                host=server.host,
                port=server.port,
                fields={
                    "user": server.user,
                    "identity": server.identity,
                    "profile": "jetson-nano",
                    "python": board.python,
                },
                known_hosts=server.host_key_line("nano-01"),
                options=("--runtime", "tensorrt", "--precision", "fp32,fp16", "--performance-mode", "max"),
                home=str(server.home),
                seen_home=server.home,
                tree=Path(board.root),
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def virtual(name: str, lab: Path, options: Sequence[str]) -> Iterator[StruckBoard]:
    """A board of the lab in that folder, which is up (`bench lab up`); its workspace is that of its user."""
    inventory = lab / "devices.toml"
    entry = load_inventory(inventory).devices[name]
    assert entry.host is not None
    lines = known_hosts_beside(inventory).read_text().splitlines(keepends=True)
    root = _root_of(lab, name)
    yield StruckBoard(
        name=name,
        host=entry.host,
        port=entry.port or 22,
        fields={
            "user": entry.user or "bench",
            "identity": str(entry.identity),
            "profile": entry.profile or "",
            "python": entry.python,
        },
        known_hosts="".join(line for line in lines if line.split()[0] == name),
        options=options,
        home="/home/bench",
        seen_home=root / "home/bench",
        root_of=os.readlink(root),  # noqa: PTH115 - its name on the board's side is what processes show
    )


def _root_of(lab: Path, name: str) -> Path:
    """The root of the board's first process, by which we see its files."""
    give_up = time.monotonic() + 5
    wanted = str(lab / "boards" / name / "root")
    while time.monotonic() < give_up:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.readlink(folder / "root") == wanted:  # noqa: PTH115
                    return folder / "root"
    raise RuntimeError(f"no process of the board {name} is found: is it up? (`bench lab status`)")
