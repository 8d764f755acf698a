"""`bench device setup`: an environment with runtimes for a board, made on request and nowhere else."""

from __future__ import annotations

import functools
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from device_agents.protocol import Examination, ProbeReply
from harness.board_lease import BoardLease, holder_words, kept
from harness.commands import console
from harness.commands.option_values import words
from harness.errors import BoardBusy, UsageError
from harness.farm.board_packages import PACKAGES_OF
from harness.farm.board_setup import SetupOutcome, SetupPlan, plan_setup, set_up
from harness.farm.boards import load_boards, open_session
from harness.farm.inventory import DeviceEntry, did_you_mean
from harness.farm.inventory_edit import set_python
from harness.farm.sudoers import sudoers_for
from harness.farm.wheelhouse import download_command
from harness.link.device_session import DeviceSession
from harness.places import host_cache
from reports.plain_text import plain


def setup(
    name: Annotated[str, typer.Argument(help="A board of the inventory.")],
    inventory: Annotated[
        Path | None,
        typer.Option("--inventory", metavar="FILE", help="Inventory to use instead of devices.toml."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(metavar="R,..", help="onnxruntime, tflite, tensorrt. Default: what there is for it."),
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Take packages from this folder and ask no package index."),
    ] = None,
    sudoers: Annotated[
        bool, typer.Option("--sudoers", help="Only print the narrow sudoers file for this board.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
) -> None:
    """Make a Python environment with pinned runtimes in the agent's own folder on a board.

    Packages come from this computer; the system's own are not touched. Once the runtimes are proven, the
    inventory names the new Python. Running it twice does nothing.

    Example: bench device setup nano-01 --runtime onnxruntime,tensorrt
    """
    wanted = _runtimes(runtime)
    (entry,) = load_boards([name], inventory).values()
    if entry.is_local:
        raise UsageError(
            "local runs in the Python that runs bench, which is yours to set up",
            f"{sys.executable} -m pip install onnxruntime ai-edge-litert",
        )
    lease = f"setup-{secrets.token_hex(8)}"
    session = open_session(entry, lease)
    try:
        probe = session.open(["null"])
        examined = session.examine()
        if sudoers:
            _print_sudoers(examined, entry.name)
            return
        plan = plan_setup(examined, wanted, wheels, entry.name)
        _show_plan(plan, entry)
        outcome = None if dry_run else _carry_out(plan, entry, session, lease, probe, yes)
    finally:
        session.close()
    if outcome is not None:
        _switch(entry, outcome)


def _carry_out(
    plan: SetupPlan, entry: DeviceEntry, session: DeviceSession, lease: str, probe: ProbeReply, yes: bool
) -> SetupOutcome:
    """Nobody measures while packages are unpacked: the setup has the board, or is refused at once."""
    _check_inventory(entry)
    if probe.busy_with:  # which is not asked for a confirmation first
        raise BoardBusy(f"{entry.name}: held by {plain(probe.busy_with, 200)}", "wait until that has ended")
    _confirm(entry.name, yes)
    home = host_cache() / "wheels"
    board = BoardLease(session, holder_words("bench device setup"), wait_s=0.0)
    board.take()
    try:
        with kept({entry.name: lambda: open_session(entry, lease)}):
            proving = functools.partial(_session_with, entry, lease)
            return set_up(plan, session, proving, home, console.note)
    finally:
        board.release()


def _runtimes(option: str | None) -> tuple[str, ...] | None:
    found = words(option)
    for runtime in found or ():
        if runtime not in PACKAGES_OF:
            raise UsageError(
                f"--runtime {runtime}: there is no such runtime{did_you_mean(runtime, tuple(PACKAGES_OF))}"
            )
    return found


def _session_with(entry: DeviceEntry, lease: str, python: str) -> DeviceSession:
    return open_session(replace(entry, python=python), lease)


def _check_inventory(entry: DeviceEntry) -> None:
    """Before anything is made: somewhere the new Python has to be written down."""
    if entry.inventory is None:
        raise UsageError(
            f"{entry.name} is in no inventory, so its new Python could not be noted",
            f"bench device add NAME {entry.user + '@' if entry.user else ''}{entry.host}",
        )


def _confirm(name: str, yes: bool) -> None:
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            f"{name}: nobody is there to confirm", "give --yes, or --dry-run to see what it does"
        )
    if not typer.confirm("Do this?", default=True):
        raise typer.Exit


def _show_plan(plan: SetupPlan, entry: DeviceEntry) -> None:
    packages = ", ".join(pin.loose if plan.wheels else pin.exact for pin in plan.pins)
    source = f"from {plan.wheels}" if plan.wheels else "from this computer's package index"
    site = ", which sees the system's packages (TensorRT)" if plan.system_site_packages else ""
    lines = {
        "system": f"{plan.system.name}, Python {'.'.join(map(str, plan.platform.python))}",
        "environment": f"in {plan.workspace}, made with {plan.base_python}{site}",
        "packages": f"{packages} {source}",
        "proves": ", ".join(plan.runtimes),
        "then": f"`python` of {entry.name} in {entry.inventory or 'the inventory'} names its Python",
    }
    console.out.print(f"[bold]{escape(entry.name)}[/]")
    for word, text in lines.items():
        console.out.print(f"  {word:12} {_safe(text)}")
    for text in plan.left_out:
        console.out.print(f"  {'left out':12} {_safe(text)}")
    command = download_command(plan.platform, plan.everything)
    console.out.print(f"  {'offline':12} {_safe(command)}, then --wheels DIR")


def _switch(entry: DeviceEntry, outcome: SetupOutcome) -> None:
    """Note the new Python, and say so."""
    for status in outcome.runtimes:
        said = f"{status.package or ''} {status.version or ''}" if status.available else status.reason or ""
        mark = "[green]works[/]" if status.available else "[red]no[/]   "
        console.out.print(f"  {status.name:12} {mark}  {_safe(said)}")
    if not outcome.built:
        console.out.print(f"  {_safe(outcome.python)} is there already")
    if entry.python == outcome.python:
        console.out.print(f"[bold]{escape(entry.name)}[/]: nothing to do")
    elif entry.inventory is not None:
        set_python(entry.inventory, entry.name, outcome.python)
        change = f"python is now {outcome.python} (was {entry.python}) in {entry.inventory}"
        console.out.print(f"[bold]{escape(entry.name)}[/]: {_safe(change)}")
    for folder in outcome.older:
        console.note(f"an older environment, which no longer serves {entry.name}: rm -r {folder}")


def _print_sudoers(examined: Examination, name: str) -> None:
    """The file on standard output, everything about it on standard error: `> edgebench.sudoers` works."""
    made = sudoers_for(examined, name)
    typer.echo(made.text, nl=False)
    console.note(f"Save this on {name} as edgebench.sudoers, then check and install it there:")
    for command in made.install:
        console.note(f"    {command}")
    console.note("It allows each command with exactly these arguments, and no other.")


def _safe(text: str) -> str:
    return escape(plain(text, 2000))
