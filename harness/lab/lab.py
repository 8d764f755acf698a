"""The lab from the outside: boards up, what there is, a restart, everything down."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import CaseError, LabError, UsageError
from harness.farm.inventory import FILE_NAME
from harness.lab.boards.board import Board, remove_folder
from harness.lab.boards.fittings import Fittings
from harness.lab.boards.kinds import Kind, kinds
from harness.lab.jetson.software import JetsonSoftware, find_software
from harness.lab.lab_inventory import LabInventory
from harness.lab.locking import locked, machine_locked
from harness.lab.machine import binfmt, cgroups, network
from harness.lab.machine.pythons import find_python
from harness.lab.machine.requirements import check, check_root
from harness.lab.names import LabNames, board_names
from harness.lab.state import BoardState, LabState, read_state, write_state
from harness.lab.systems import qemu
from harness.lab.systems.roots import make_root, must_unpack, root_folder
from harness.lab.systems.runtimes_layer import RuntimesLayer, layer_of, make_layer

Tell = Callable[[str], None]

#: Begins the name of a board on which runtimes are installed for the others; kinds have no such name.
_SETUP = "setup-"


@dataclass(frozen=True)
class Lab:
    """The virtual boards of one folder. All changes are made under its lock."""

    #: Boards, state, key and inventory.
    home: Path
    #: The systems that boards share; kept by `down`.
    roots: Path
    tell: Tell

    @property
    def names(self) -> LabNames:
        """What its things are called on this machine."""
        return LabNames.of(self.home)

    @property
    def inventory(self) -> LabInventory:
        """How its boards are reached."""
        return LabInventory(self.home)

    def up(self, chosen: Sequence[Kind], count: int = 1, *, bare: bool = False) -> list[Board]:
        """Start `count` boards of each kind; returns them once they answer. Raises LabError.

        They have the runtimes there are for them, unless they are to be `bare`.
        """
        check(chosen, unpacks=must_unpack(self.roots, chosen))
        if set(":,\\") & set(str(self.home) + str(self.roots)):
            raise LabError(
                f"{self.home}: an overlay takes no folder with a colon, a comma or a backslash in its name",
                "set EDGEBENCH_CACHE_DIR to another folder",
            )
        with locked(self.home, self.tell):
            self._remove_dead_boards()
            there = {board.name for board in read_state(self._state).boards}
            try:
                return self._start_all(chosen, count, bare)
            except BaseException:
                # Also Ctrl-C: the new ones go, whole or not, and those of before stay.
                for entry in read_state(self._state).boards:
                    if entry.name not in there:
                        self._remove_board(entry)
                if not there:
                    self._remove_everything()
                raise

    def boards(self) -> list[Board]:
        """All boards, as the state file has them; raises LabError where it makes no sense."""
        state = read_state(self._state)
        return [self._board(state, entry) for entry in state.boards]

    def board(self, name: str) -> Board:
        """The board of that name, which runs; raises UsageError where there is no such one."""
        running = {board.name: board for board in self.boards() if board.is_running}
        if name not in running:
            there = f"; running: {', '.join(running)}" if running else ""
            raise UsageError(f"no virtual board {name!r} runs{there}", "bench lab status")
        return running[name]

    def restart(self, names: Sequence[str]) -> list[Board]:
        """Cut the power of these boards and start them again; raises LabError for one that is not there."""
        check_root()
        with locked(self.home, self.tell):
            there = {board.name: board for board in self.boards()}
            for name in names:
                if name not in there:
                    known = ", ".join(there) or "none"
                    raise LabError(f"there is no virtual board {name!r}", f"boards that are up: {known}")
            for name in names:
                there[name].restart()
        return [there[name] for name in names]

    def down(self) -> list[str]:
        """Take everything away, also what a crash left; returns the names of the boards there were."""
        check_root()
        with locked(self.home, self.tell):
            gone = self._all_names()
            self._remove_everything()
        return gone

    # --- one step each

    def _prepare(self, state: LabState, chosen: Sequence[Kind]) -> LabState:
        """What boards share, each part only where it is not there yet."""
        with machine_locked(self.tell):
            if state.subnet is None or not network.lab_links(self.names):
                taken = network.taken_subnets()
                wanted = state.subnet if state.boards else str(network.free_subnet(taken))
                state = self._save(replace(state, subnet=wanted))
            network.make_bridge(self.names, state.network)
        if any(kind.is_emulated for kind in chosen):
            if qemu.is_needed():
                program = qemu.get_qemu(self.roots, self.tell)
                with machine_locked(self.tell):
                    binfmt.mount()
                    binfmt.register(self.names.binfmt, program.path, self.tell)
            make_root(self.roots, self.tell)
        self.inventory.make_key()
        return state

    def _start_all(self, chosen: Sequence[Kind], count: int, bare: bool) -> list[Board]:
        """They start side by side; in the inventory are those that answered."""
        self._prepare(read_state(self._state), chosen)
        fittings = {kind.name: self._fittings(kind, bare) for kind in chosen}
        state = read_state(self._state)
        boards: list[Board] = []
        for kind in chosen:
            for name in board_names(kind.name, count, frozenset(entry.name for entry in state.boards)):
                state, board = self._start(state, name, kind, fittings[kind.name])
                boards.append(board)
        for board in boards:
            board.wait()
            self.inventory.add(board, fittings[board.kind.name].agent_python)
        self.inventory.give_to_caller(self._state)
        return boards

    def _runtimes(self, kind: Kind) -> RuntimesLayer | None:
        """What boards of the kind come up with, made where it is not there yet; None where it cannot be."""
        layer = layer_of(self.roots, kind)
        if layer is None or layer.is_made:
            return layer
        if qemu.is_needed() and not qemu.runs_runtimes(self.roots):
            return None
        try:
            with locked(self.roots, self.tell):
                # Another lab may have made it meanwhile.
                if not layer.is_made:
                    self._make_runtimes(layer)
        except CaseError as error:
            # Its own remedy names a board that is gone.
            remedy = f"bench device setup {kind.name}, with --wheels DIR where there is no package index"
            self.tell(f"{kind.name} comes up bare: {error.message}; {remedy} (--bare does not try)")
            return None
        return layer

    def _make_runtimes(self, layer: RuntimesLayer) -> None:
        """On the board with the most memory of those that will share it, which then goes."""
        packages = ", ".join(pin.exact for pin in layer.pins if pin.name != "pip")
        size = f"50 MB from the package index, 150 MB in {layer.folder}"
        self.tell(f"setting a board up, once for all of its kind: {packages}; {size}, a minute")
        sharing = [kind for kind in kinds().values() if layer_of(self.roots, kind) == layer]
        kind = max(sharing, key=lambda kind: kind.memory_kib)
        _, board = self._start(read_state(self._state), _SETUP + kind.name, kind, self._bare(kind))
        try:
            board.wait()
            make_layer(layer, board, self.inventory.entry(board, None, board.folder / FILE_NAME), self.tell)
        finally:
            self._remove_board(BoardState(board.name, kind.name, board.number))

    def _remove_dead_boards(self) -> None:
        """Those whose processes are gone: this machine was started anew, or somebody ended them.

        And one that was being set up when its `up` was killed.
        """
        for board in self.boards():
            if not board.is_running or board.name.startswith(_SETUP):
                if not board.is_running:
                    self.tell(f"{board.name} runs no more; it is taken away")
                self._remove_board(BoardState(board.name, board.kind.name, board.number))

    def _fittings(self, kind: Kind, bare: bool) -> Fittings:
        """What boards of that kind get of this machine; what they lack is said once."""
        fittings = self._bare(kind)
        if bare:
            return fittings
        layer = self._runtimes(kind)
        if layer is not None:
            lowers = (layer.tree, *fittings.lowers)
            fittings = replace(fittings, lowers=lowers, agent_python=layer.python)
        if kind.tree is not None:
            software = find_software(kind, self.roots, self.tell)
            if software.lacks:
                self.tell(f"{kind.name}: {'; '.join(software.lacks)}")
            fittings = replace(fittings, jetson=software)
        return fittings

    def _bare(self, kind: Kind) -> Fittings:
        root = root_folder(self.roots) if kind.is_emulated else Path("/")
        python = find_python(kind)
        nothing = JetsonSoftware(None, None, has_sudo=False, lacks=()) if kind.tree is not None else None
        return Fittings((root,), python, str(python) if python else None, nothing)

    def _start(self, state: LabState, name: str, kind: Kind, fittings: Fittings) -> tuple[LabState, Board]:
        number = state.next_number(network.FIRST_NUMBER, network.LAST_NUMBER)
        entry = BoardState(name, kind.name, number)
        state = self._save(state.with_board(entry))
        board = self._board(state, entry)
        board.make(self.inventory.public_key, fittings)
        board.start(*fittings.lowers)
        return state, board

    def _remove_board(self, entry: BoardState) -> None:
        state = read_state(self._state)
        self._board(state, entry).remove()
        self.inventory.remove(entry.name)
        self._save(state.without_board(entry.name))

    def _remove_everything(self) -> None:
        """Processes first: nothing goes that they still use."""
        group = self._group
        if group.is_dir():
            for board in [place for place in group.iterdir() if place.is_dir()]:
                cgroups.remove_group(board)
            cgroups.remove_group(group)
        network.remove_links(self.names)
        for namespace in network.lab_namespaces(self.names):
            network.disconnect(self.names, namespace)
        with machine_locked(self.tell):
            binfmt.unregister(self.names.binfmt)
            binfmt.unmount()
        if self._boards_folder.is_dir():
            for folder in self._boards_folder.iterdir():
                remove_folder(folder)
            shutil.rmtree(self._boards_folder)
        self.inventory.forget()
        self._state.unlink(missing_ok=True)

    def _all_names(self) -> list[str]:
        """Boards of which something is there, whether the state file knows or not."""
        prefix = self.names.namespace("")
        found = set()
        with suppress(LabError):
            found = {entry.name for entry in read_state(self._state).boards}
        found |= {name.removeprefix(prefix) for name in network.lab_namespaces(self.names)}
        if self._boards_folder.is_dir():
            found |= {folder.name for folder in self._boards_folder.iterdir()}
        return sorted(found)

    # --- places

    def _board(self, state: LabState, entry: BoardState) -> Board:
        return Board(
            name=entry.name,
            kind=kinds()[entry.kind],
            number=entry.number,
            subnet=state.network,
            folder=self._boards_folder / entry.name,
            group=self._group / entry.name,
            names=self.names,
        )

    @property
    def _group(self) -> Path:
        return cgroups.memory_hierarchy() / self.names.group

    @property
    def _boards_folder(self) -> Path:
        return self.home / "boards"

    @property
    def _state(self) -> Path:
        return self.home / "state.json"

    def _save(self, state: LabState) -> LabState:
        write_state(self._state, state)
        return state
