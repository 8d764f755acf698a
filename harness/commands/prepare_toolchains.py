"""`bench convert --prepare`: make toolchains before they are needed, for example while there is a network."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from convert.errors import ConvertError
from convert.processes.toolchain import TOOLCHAINS, find_toolchain, prepare_toolchain, remove_unused
from harness.commands import console
from harness.converter_errors import as_bench_error
from harness.errors import UsageError
from harness.places import toolchains_home

EXIT_FAILED = 3
#: What the usual paths need; the others are fallbacks and extras.
USUAL = ("torch", "tensorflow", "onnx2tf", "tflite-runtime", "tensorrt-parser")


def prepare_toolchains(names: Sequence[str] | None, *, prune: bool = False) -> None:
    """Make the named toolchains, or the usual ones; one that fails does not stop the others.

    With `prune` those of other pins go first: an upgrade of edgebench leaves them behind.
    """
    names = names or USUAL
    for name in names:
        if name not in TOOLCHAINS:
            raise UsageError(
                f"--prepare {name}: there is no such toolchain", f"choose from {', '.join(TOOLCHAINS)}"
            )
    home = toolchains_home()
    for old in remove_unused(home) if prune else ():
        console.note(f"removed {old}, which this version does not use")
    missing = [name for name in names if find_toolchain(name, home) is None]
    if len(missing) > 1:
        disk = sum(TOOLCHAINS[name].disk_mb for name in missing)
        fetched = sum(TOOLCHAINS[name].download_mb for name in missing)
        console.note(
            f"making {len(missing)} toolchains in {home}: about {disk / 1000:.1f} GB on disk, "
            f"{fetched / 1000:.1f} GB to fetch"
        )
    failed = False
    for name in names:
        try:
            python = prepare_toolchain(name, home, console.note)
        except ConvertError as error:
            console.show_error(as_bench_error(error, name))
            failed = True
            continue
        console.out.print(f"{name} ({TOOLCHAINS[name].purpose}): ready", markup=False)
        console.note(f"  {python}")
    if failed:
        raise typer.Exit(EXIT_FAILED)
