"""What the lab's things are called on this machine, so that they are found again whatever happened.

Labs of several users or caches live side by side: each has a word of its own, drawn from its folder.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LabNames:
    """The names of one lab's bridge, namespaces, links, groups and binfmt line."""

    word: str

    @classmethod
    def of(cls, home: Path) -> LabNames:
        """The names for the lab in that folder."""
        return cls("ebl" + hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:4])

    @property
    def bridge(self) -> str:
        """At most 15 characters, as every link's name."""
        return self.word

    @property
    def binfmt(self) -> str:
        """The line for aarch64 programs."""
        return f"{self.word}-aarch64"

    @property
    def group(self) -> str:
        """The control group that holds those of the boards."""
        return f"edgebench-{self.word}"

    def namespace(self, board: str) -> str:
        """A board's network namespace."""
        return f"{self.word}-{board}"

    def link(self, number: int) -> str:
        """The near end of a board's cable."""
        return f"{self.word}v{number}"

    def owns_link(self, name: str) -> bool:
        """Whether a link of that name is the lab's."""
        return name == self.bridge or name.startswith(self.word + "v")

    def owns_namespace(self, name: str) -> bool:
        """Whether a namespace of that name is the lab's."""
        return name.startswith(self.word + "-")


def board_names(kind: str, count: int, taken: frozenset[str]) -> list[str]:
    """Names for new boards: `pi4`, then `pi4-2` and so on, the first that are free."""
    found: list[str] = []
    number = 1
    while len(found) < count:
        name = kind if number == 1 else f"{kind}-{number}"
        if name not in taken:
            found.append(name)
        number += 1
    return found
