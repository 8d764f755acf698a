"""`bench device check` and `bench device clean`: ask a board what it can do, and free its space."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from device_agents.protocol import Examination, ProbeReply
from harness.commands import console
from harness.farm.boards import load_boards, open_session
from harness.farm.doctor.diagnosis import diagnose
from harness.farm.doctor.findings import Finding, Patient
from harness.farm.inventory import DeviceEntry
from harness.plan import RUNTIMES
from harness.records.board_expectations import differences, profile_of
from profiles.devices import device_profile
from reports.plain_text import plain
from reports.units import moment, size

EXIT_NOTHING_WORKS = 3

#: The null runtime works everywhere, so it says nothing about a board.
_REAL_RUNTIMES = tuple(name for name in RUNTIMES if name != "null")

NameArgument = Annotated[str, typer.Argument(help="An inventory name, user@host or local.")]
InventoryOption = Annotated[
    Path | None, typer.Option("--inventory", metavar="FILE", help="Inventory to use instead of devices.toml.")
]


def check(
    name: NameArgument,
    inventory: InventoryOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a board is, which runtimes really work on it, and how what is amiss is mended.

    Changes nothing but the agent's own folder.

    Example: bench device check nano-01
    """
    (entry,) = load_boards([name], inventory).values()
    session = open_session(entry)
    try:
        probe = session.open(_REAL_RUNTIMES)
        examined = session.examine()
        clock_ahead_s = examined.time - time.time()
    finally:
        session.close()
    findings = diagnose(_patient(entry, probe, examined, clock_ahead_s))
    if as_json:
        console.out.print_json(json.dumps(_plain(probe, examined, findings)), ensure_ascii=True)
    else:
        _show(entry.name, probe)
        _show_findings(findings)
    if not any(status.available for status in probe.runtimes):
        raise typer.Exit(EXIT_NOTHING_WORKS)


def clean(name: NameArgument, inventory: InventoryOption = None) -> None:
    """Remove from a board every file of edgebench that no running job needs.

    Refused while a run has the board, which still needs what it has there.

    Example: bench device clean nano-01
    """
    (entry,) = load_boards([name], inventory).values()
    session = open_session(entry)
    try:
        session.open(["null"])
        freed = session.clean()
    finally:
        session.close()
    console.out.print(f"{escape(entry.name)}: {size(freed)} freed")


def _show(name: str, probe: ProbeReply) -> None:
    facts = probe.facts
    known = {
        "board": facts.board,
        "processor": facts.cpu_model and f"{facts.cpu_model}, {facts.cpu_count} cores",
        "memory": facts.memory_bytes and size(facts.memory_bytes),
        "system": f"{facts.os or 'unknown'}, kernel {facts.kernel}, {facts.machine}",
        "python": facts.python,
        "governor": facts.governor,
        "runs in": facts.virtualization,
        "workspace": f"{probe.workspace}, {size(probe.free_bytes)} free"
        if probe.free_bytes
        else probe.workspace,
    }
    console.out.print(f"[bold]{escape(name)}[/]")
    for word, value in known.items():
        if value:
            console.out.print(f"  {word:10} {_safe(value)}")
    for status in probe.runtimes:
        words = f"{status.package or ''} {status.version or ''}" if status.available else status.reason or ""
        mark = "[green]works[/]" if status.available else "[red]no[/]   "
        console.out.print(f"  {_safe(status.name):12} {mark}  {_safe(words)}")
    if probe.busy_with:
        since = f" since {moment(probe.busy_since)}" if probe.busy_since is not None else ""
        console.out.print(f"  {'held by':10} {_safe(probe.busy_with)}{since}")


def _patient(entry: DeviceEntry, probe: ProbeReply, examined: Examination, clock_ahead_s: float) -> Patient:
    claimed = device_profile(entry.profile)
    return Patient(
        name=entry.name,
        examined=examined,
        runtimes={status.name: status for status in probe.runtimes},
        profile=profile_of(claimed, probe.facts),
        # The very same clock; what differs is how long the answer took.
        clock_ahead_s=None if entry.is_local else clock_ahead_s,
        differences=differences(claimed, probe.facts, probe.runtimes),
    )


def _show_findings(findings: Sequence[Finding]) -> None:
    """What has to be done first; what is well takes a line of its own at the end."""
    for finding in findings:
        if finding.state == "good":
            continue
        colour = "red" if finding.state == "problem" else "yellow"
        console.out.print(
            f"\n[{colour}]{finding.state}[/]  [bold]{escape(finding.topic)}[/]: {_safe(finding.found)}"
        )
        console.out.print(f"  {_safe(finding.why)}")
        for command in finding.commands:
            console.out.print(f"    {_safe(command)}")
    well = [finding for finding in findings if finding.state == "good"]
    if well:
        console.out.print("")
    for finding in well:
        console.out.print(f"[green]good[/]  {escape(finding.topic)}: {_safe(finding.found)}")


def _plain(probe: ProbeReply, examined: Examination, findings: Sequence[Finding]) -> dict[str, Any]:
    return probe._asdict() | {
        "facts": probe.facts._asdict(),
        "runtimes": [status._asdict() for status in probe.runtimes],
        "examination": examined._asdict() | {"facts": examined.facts._asdict()},
        "findings": [asdict(finding) for finding in findings],
    }


def _safe(text: str) -> str:
    return escape(plain(text, 500))
