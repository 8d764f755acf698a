"""`bench lab`: virtual boards on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from harness.commands import console
from harness.commands.option_values import words
from harness.errors import UsageError
from harness.lab.boards.board import Board
from harness.lab.boards.kinds import chosen_kinds
from harness.lab.lab import Lab
from harness.lab.values.board_values import BoardValues
from harness.lab.values.playing import Player
from harness.lab.values.value_script import read_script
from harness.places import lab_home, lab_roots

lab_app = typer.Typer(
    no_args_is_help=True,
    help="Virtual boards on this machine (Linux, root): everything of a board but its speed.",
)

_MOST = 250


@lab_app.command("up")
def up(
    kind: Annotated[str, typer.Argument(metavar="KIND[,KIND..]", help="pi3, zero2w, pi4, pi5, nano.")],
    count: Annotated[int, typer.Option(min=1, max=_MOST, metavar="N", help="Boards of each kind.")] = 1,
    bare: Annotated[bool, typer.Option("--bare", help="Without runtimes, as boards come.")] = False,
) -> None:
    """Start virtual boards, with numpy, onnxruntime and TFLite as `bench device setup` leaves them.

    The first time takes some minutes and 300 MB: Debian, a QEMU where this machine's is too old, and
    the runtimes. They stay for the next time, which takes a second.

    A board is reached by its name: bench run --device pi5. Its results carry the reason `emulated`: accuracy,
    deployment and failures are real, times say nothing about the real board.

    Example: bench lab up pi4,pi5 --count 2
    """
    chosen = chosen_kinds(words(kind) or ())
    lab = _lab()
    began = time.monotonic()
    boards = lab.up(chosen, count, bare=bare)
    _show(boards)
    names = " ".join(board.name for board in boards)
    console.note(f"{len(boards)} up in {time.monotonic() - began:.1f} s. Next: bench device check {names}")


@lab_app.command("status")
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the virtual boards there are.

    Example: bench lab status --json
    """
    lab = _lab()
    boards = lab.boards()
    if as_json:
        rows = [_row(board) for board in boards]
        typer.echo(json.dumps({"inventory": str(lab.inventory.path), "boards": rows}, indent=2))
    elif boards:
        _show(boards)
    else:
        typer.echo("No virtual boards. Start one: bench lab up pi4", err=True)


@lab_app.command("play")
def play(
    board: Annotated[str, typer.Argument(metavar="BOARD", help="A board that runs.")],
    script: Annotated[Path, typer.Argument(metavar="FILE.toml", help="Steps: at which second what is what.")],
    loop: Annotated[bool, typer.Option("--loop", help="The last step begins anew, until Ctrl-C.")] = False,
) -> None:
    """Change what a board's sensors, firmware and tools say over time; ends at the last step, which stays.

    Each step has `at` in seconds and values: temperature_c, throttled, clock_khz, ... or paths of files.

    Example: bench lab play pi4 heat.toml
    """
    lab = _lab()
    played = lab.board(board)
    values = BoardValues.of(played)
    steps = read_script(script, values)
    if loop and steps[-1].at_s == 0:
        raise UsageError("--loop: every step is at 0 s", "give the last step a later `at`: it ends a round")
    Player(values, console.note, lambda: played.is_running).play(steps, loop=loop)


@lab_app.command("restart")
def restart(
    board: Annotated[str, typer.Argument(metavar="BOARD[,BOARD..]", help="Boards that are up.")],
) -> None:
    """Cut the power of virtual boards and start them again: another boot id, the same address and host key.

    What is measured there is lost, as on a real board, and a run that waits for it measures it again. `nano`
    keeps nothing: its changes lie in memory.

    Example: bench lab restart pi4
    """
    began = time.monotonic()
    boards = _lab().restart(words(board) or ())
    names = ", ".join(each.name for each in boards)
    console.note(f"restarted in {time.monotonic() - began:.1f} s: {names}")


@lab_app.command("down")
def down() -> None:
    """Take all virtual boards away, also what a crash left of them; the Debian they share is kept.

    Example: bench lab down
    """
    gone = _lab().down()
    console.note(f"taken away: {', '.join(gone)}" if gone else "there were no virtual boards")


def _lab() -> Lab:
    return Lab(lab_home(), lab_roots(), console.note)


def _row(board: Board) -> dict[str, str | int]:
    return {
        "name": board.name,
        "kind": board.kind.name,
        "profile": board.kind.profile,
        "address": str(board.address),
        "memory_bytes": board.kind.memory_kib * 1024,
        "state": "running" if board.is_running else "stopped",
        "log": str(Path(board.folder) / "log"),
    }


def _show(boards: Sequence[Board]) -> None:
    table = Table("name", "kind of board", "address", "memory", "state", box=None, pad_edge=False)
    for board in boards:
        row = _row(board)
        memory = f"{board.kind.memory_kib / 1024:.0f} MiB"
        table.add_row(board.name, board.kind.profile, str(row["address"]), memory, str(row["state"]))
    console.out.print(table)
