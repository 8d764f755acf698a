"""Where the agent's files lie: whether they stay, whether there is room, how fast it is."""

from __future__ import annotations

from collections.abc import Iterator

from harness.farm.doctor.findings import Finding, Patient, advice, good, problem

#: An environment takes 300 MB, an engine and its timing cache up to 200.
_LITTLE_BYTES = 500_000_000
_SCARCE_BYTES = 2_000_000_000

#: A card of class A1 on any board reads at 20 MB/s and more; below this it is a bad or old one.
_SLOW_READ_MB_PER_S = 15.0
_SLOW_WRITE_MB_PER_S = 5.0

_IN_MEMORY = "What is sent takes memory from what is measured, and is gone after the next start"


def rules(patient: Patient) -> Iterator[Finding]:
    """Whether files stay, then room, then speed."""
    yield from _lasting(patient)
    yield from _room(patient)
    yield from _speed(patient)


def _lasting(patient: Patient) -> Iterator[Finding]:
    examined = patient.examined
    options = (examined.mount_options or "").split(",")
    if "ro" in options:
        yield problem(
            "storage",
            f"{examined.workspace} is on a file system that is mounted read-only",
            "The agent can neither take a model nor keep a result.",
            "sudo mount -o remount,rw /",
            blocks=True,
        )
    elif examined.overlay_root is not None and examined.filesystem in (None, "overlay", "tmpfs"):
        pi = patient.system.family == "raspberry-pi-os"
        yield problem(
            "storage",
            f"{examined.workspace} is in memory: the root is an overlay ({examined.overlay_root})",
            f"{_IN_MEMORY}; make changes last, or name a folder on another disk as `workspace`.",
            *(["sudo raspi-config nonint disable_overlayfs && sudo reboot"] if pi else []),
        )
    elif examined.storage_kind == "memory":
        yield problem(
            "storage",
            f"{examined.workspace} is in memory ({examined.filesystem})",
            f"{_IN_MEMORY}; name a folder on a card or disk as `workspace` in the inventory.",
        )
    elif examined.storage_kind == "network":
        yield advice(
            "storage",
            f"{examined.workspace} is on a network ({examined.filesystem})",
            "Loading a model then depends on the network; name a folder on a card or disk as `workspace`.",
        )


def _room(patient: Patient) -> Iterator[Finding]:
    free = patient.examined.free_bytes
    if free is None:
        return
    found = f"{free / 1e9:.1f} GB free in {patient.examined.workspace}"
    why = "Runtimes, models and engines have to fit."
    if free < _LITTLE_BYTES:
        yield problem("space", found, why, f"bench device clean {patient.name}", "sudo apt-get clean")
    elif free < _SCARCE_BYTES:
        yield advice("space", found, why, f"bench device clean {patient.name}")
    else:
        yield good("space", found)


def _speed(patient: Patient) -> Iterator[Finding]:
    read, write = patient.examined.read_mb_per_s, patient.examined.write_mb_per_s
    if read is None or write is None:
        return
    found = f"{patient.examined.storage_kind or 'storage'} reads {read:g} MB/s, writes {write:g} MB/s"
    if read < _SLOW_READ_MB_PER_S or write < _SLOW_WRITE_MB_PER_S:
        yield advice(
            "storage speed",
            found,
            "Load times and cold starts are then the card's, not the model's; a card of class A2, or a disk "
            "on USB 3 or NVMe, is several times faster.",
        )
    else:
        yield good("storage speed", found)
