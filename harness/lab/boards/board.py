"""One virtual board: made, started, waited for, taken away."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from harness.errors import LabError
from harness.lab.boards.board_files import VIRTUAL_BOARD, write_board_files
from harness.lab.boards.fittings import Fittings
from harness.lab.boards.kinds import Kind
from harness.lab.jetson import files as jetson
from harness.lab.machine import cgroups, network
from harness.lab.machine.programs import environment
from harness.lab.names import LabNames

_START = Path(__file__).with_name("start_board.sh")
_START_TIMEOUT_S = 20.0
SSH_PORT = 22


@dataclass(frozen=True)
class Board:
    """A board and the places of what it is made of."""

    name: str
    kind: Kind
    number: int
    subnet: IPv4Network
    #: Everything of it on this machine's disk.
    folder: Path
    #: Holds its processes to its memory.
    group: Path
    names: LabNames

    @property
    def address(self) -> IPv4Address:
        """Reached from this machine alone."""
        return network.address(self.subnet, self.number)

    @property
    def host_key(self) -> Path:
        """The public part."""
        return self.folder / "files/etc/ssh/ssh_host_ed25519_key.pub"

    @property
    def is_running(self) -> bool:
        """Whether it has any process."""
        return bool(cgroups.processes(self.group))

    def make(self, public_key: str, fittings: Fittings) -> None:
        """Its files, group and network; `public_key` opens it."""
        for name in ("root", "disk", "files"):
            place = self.folder / name
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o755)
        software = fittings.jetson
        variables = jetson.environment(self.kind, software) if software else None
        write_board_files(self.folder, self.name, self.kind, public_key, fittings.host_python, variables)
        if software is not None:
            jetson.write_jetson(self.folder, self.name, self.kind, software)
        cgroups.make_group(self.group, self.kind.memory_kib * 1024)
        network.connect(self.names, self.subnet, self.name, self.number)

    @property
    def root_seen_from_here(self) -> Path:
        """Its whole tree while it runs; its mounts are in no other namespace. Raises LabError."""
        for pid in cgroups.processes(self.group):
            root = Path(f"/proc/{pid}/root")
            if (root / VIRTUAL_BOARD).exists():
                return root
        raise LabError(f"{self.name}: runs no more: {self._last_words()}")

    def start(self, *lowers: Path) -> None:
        """Start it on its root, the last of `lowers`, under the others; it runs on when this process ends."""
        self._lowers.write_text(":".join(map(str, lowers)), "utf-8")
        # It goes on once it is in its group: no process of the board is ever outside of it.
        enter = 'read -r _ && exec "$@" </dev/null'
        command = [
            "sh", "-c", enter, "enter",
            "ip", "netns", "exec", self.names.namespace(self.name),
            "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
            "sh", _START, self.folder, self._lowers.read_text("utf-8"), self.name, self.kind.cpu or "",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=environment(),
            )
        cgroups.enter(self.group, child.pid)
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.close()

    def wait(self) -> None:
        """Return once its sshd answers; raises LabError with the log's end if it does not."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if not self.is_running and not self._answers():
                raise LabError(f"{self.name}: did not start: {self._last_words()}")
            if time.monotonic() > deadline:
                raise LabError(
                    f"{self.name}: its sshd at {self.address} gave no sign within "
                    f"{_START_TIMEOUT_S:.0f} s: {self._last_words()}"
                )
            time.sleep(0.02)

    def cut_power(self) -> None:
        """End it as a pulled plug does; its files stay, and its address answers that nobody listens."""
        cgroups.end_processes(self.group)

    def restart(self) -> None:
        """Cut its power and start it again, as another boot; returns once its sshd answers.

        Its files stay, but for those of a board whose changes lie in memory (`root = "host"`).
        """
        self.cut_power()
        (self.folder / "stand-ins/boot_id").write_text(f"{uuid.uuid4()}\n")
        self.start(*map(Path, self._lowers.read_text("utf-8").split(":")))
        self.wait()

    def remove(self) -> None:
        """End it and take away all it was made of, as much as there is."""
        cgroups.remove_group(self.group)
        # Before its namespace, which the kernel clears later: the next board of that number takes its name.
        network.remove_link(self.names, self.names.link(self.number))
        network.disconnect(self.names, self.names.namespace(self.name))
        remove_folder(self.folder)

    @property
    def _lowers(self) -> Path:
        """What it was started on: a restart finds the same."""
        return self.folder / "lowers"

    def _answers(self) -> bool:
        try:
            with socket.create_connection((str(self.address), SSH_PORT), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _last_words(self) -> str:
        try:
            return (self.folder / "log").read_text("utf-8", "replace").strip()[-600:] or "its log is empty"
        except OSError:
            return "it left no log"


def remove_folder(folder: Path) -> None:
    """Remove a board's folder; an overlay's work folder is closed even to its owner."""
    if not folder.exists():
        return
    work = folder / "disk/work/work"
    if work.is_dir():
        work.chmod(0o700)
    shutil.rmtree(folder)
