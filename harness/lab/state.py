"""What the lab has made: written before each thing is made, so that a crash leaves nothing unknown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

from harness.errors import LabError
from harness.link.private_files import replace_file


@dataclass(frozen=True)
class BoardState:
    """One board."""

    name: str
    kind: str
    #: The last byte of its address.
    number: int


@dataclass(frozen=True)
class LabState:
    """The whole lab."""

    subnet: str | None = None
    boards: tuple[BoardState, ...] = ()

    @property
    def network(self) -> IPv4Network:
        """The subnet, which a lab with boards has."""
        assert self.subnet is not None
        return IPv4Network(self.subnet)

    def with_board(self, board: BoardState) -> LabState:
        """The state with one more."""
        return replace(self, boards=(*self.boards, board))

    def without_board(self, name: str) -> LabState:
        """The state with that one gone."""
        return replace(self, boards=tuple(board for board in self.boards if board.name != name))

    def next_number(self, first: int, last: int) -> int:
        """The first number no board has; LabError where all have one."""
        taken = {board.number for board in self.boards}
        for number in range(first, last + 1):
            if number not in taken:
                return number
        raise LabError(f"there are {len(taken)} boards, as many as the lab has addresses", "bench lab down")


def read_state(path: Path) -> LabState:
    """What `path` says, nothing where there is no such file; raises LabError for one that makes no sense."""
    try:
        content = json.loads(path.read_text("utf-8"))
        boards = tuple(BoardState(**board) for board in content.pop("boards"))
        return LabState(**content, boards=boards)
    except FileNotFoundError:
        return LabState()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LabError(
            f"{path}: does not say what the lab has made: {error}",
            "`bench lab down` finds it by its names and removes it",
        ) from error


def write_state(path: Path, state: LabState) -> None:
    """Replace the file whole."""
    replace_file(path, json.dumps(asdict(state), indent=1) + "\n")
