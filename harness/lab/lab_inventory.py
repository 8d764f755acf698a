"""How the lab's boards are reached: an inventory, pinned host keys and one private key, while they are up."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path

from harness.farm.inventory import FILE_NAME, DeviceEntry, known_hosts_beside, load_inventory
from harness.farm.inventory_edit import add_device, remove_device
from harness.lab.boards.board import Board
from harness.lab.boards.board_files import USER
from harness.lab.machine.programs import call
from harness.link.host_keys import HostKey, pin, unpin


@dataclass(frozen=True)
class LabInventory:
    """The files of one lab's folder that commands without root read."""

    home: Path

    @property
    def path(self) -> Path:
        """devices.toml of the lab."""
        return self.home / FILE_NAME

    @property
    def identity(self) -> Path:
        """The private key that opens every board."""
        return self.home / "id_ed25519"

    @property
    def public_key(self) -> str:
        """Its public part, as a line."""
        return self.identity.with_suffix(".pub").read_text("utf-8")

    def make_key(self) -> None:
        """The key, where there is none yet."""
        if not self.identity.exists():
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edgebench-lab", "-f", self.identity)

    def has(self, name: str) -> bool:
        """Whether the board can be named on a command line."""
        return self.path.exists() and name in load_inventory(self.path).devices

    def add(self, board: Board, python: str | None) -> None:
        """Take a board in that runs."""
        entry = self.entry(board, python, self.path)
        add_device(self.path, entry, replace=True)

    def entry(self, board: Board, python: str | None, inventory: Path) -> DeviceEntry:
        """How the board is reached, its host key pinned beside `inventory` without asking it."""
        kind, key = board.host_key.read_text("utf-8").split()[:2]
        pin(known_hosts_beside(inventory), board.name, [HostKey(kind, base64.b64decode(key))])
        return DeviceEntry(
            board.name,
            profile=board.kind.profile,
            host=str(board.address),
            user=USER,
            identity=self.identity,
            python=python or DeviceEntry(board.name).python,
            inventory=inventory,
        )

    def remove(self, name: str) -> None:
        """Forget a board."""
        if self.has(name):
            remove_device(self.path, name)
        unpin(known_hosts_beside(self.path), name)

    def forget(self) -> None:
        """Remove all of it."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> tuple[Path, ...]:
        return self.path, known_hosts_beside(self.path), self.identity, self.identity.with_suffix(".pub")

    def give_to_caller(self, state: Path) -> None:
        """With sudo, the one who called it measures on the boards without it."""
        user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
        if user and group:
            for path in (self.home, state, *self._files()):
                os.chown(path, int(user), int(group))
