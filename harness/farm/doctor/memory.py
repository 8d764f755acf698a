"""Memory: swap that carries a build through, and what else takes memory."""

from __future__ import annotations

from collections.abc import Iterator

from harness.farm.doctor import prescriptions
from harness.farm.doctor.findings import Finding, Patient, advice, good

_GIB = 1 << 30

#: The system sees a little less than what is soldered on.
_SMALL_BYTES = int(1.1 * _GIB)
_MEDIUM_BYTES = int(4.2 * _GIB)

#: 4 GB of swap carry TensorRT's builder through on a board with 4 GB or less.
_BUILD_SWAP_BYTES = int(3.9 * _GIB)


def rules(patient: Patient) -> Iterator[Finding]:
    """Swap, then the desktop."""
    yield from _swap(patient)
    yield from _desktop(patient)


def _swap(patient: Patient) -> Iterator[Finding]:
    memory = patient.examined.facts.memory_bytes
    if memory is None:
        return
    compressed, lasting = _swap_bytes(patient)
    found = f"{_size(memory)} memory, {_size(lasting)} swap"
    if compressed:
        found += f" and {_size(compressed)} in compressed memory (zram)"
    if patient.system.jetpack is not None and memory <= _MEDIUM_BYTES and lasting < _BUILD_SWAP_BYTES:
        yield advice(
            "memory",
            found,
            "TensorRT's builder is otherwise Killed for lack of memory; swap helps its host part only, so a "
            "small workspace and no desktop help as well.",
            *prescriptions.swap(patient, 4),
        )
    elif memory <= _SMALL_BYTES and lasting + compressed < _GIB // 2:
        yield advice(
            "memory",
            found,
            "A runtime and its model may need more for a moment, and the kernel then kills the measurement.",
            *prescriptions.swap(patient, 1),
        )
    else:
        yield good("memory", found)


def _swap_bytes(patient: Patient) -> tuple[int, int]:
    """Swap in compressed memory, and on a card or disk."""
    swaps = patient.examined.swaps
    compressed = sum(size for path, size in swaps.items() if path.startswith("/dev/zram"))
    return compressed, sum(swaps.values()) - compressed


def _desktop(patient: Patient) -> Iterator[Finding]:
    examined = patient.examined
    if examined.default_target != "graphical.target" or examined.display_manager is None:
        return
    large = ", ".join(f"{name} {_size(size)}" for name, size in examined.largest_processes.items())
    yield advice(
        "desktop",
        f"{examined.display_manager} is started with the system"
        + (f"; most memory: {large}" if large else ""),
        "It takes several hundred megabytes and some of the processor, which shows in slow outliers.",
        *prescriptions.no_desktop(),
    )


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / (1 << 20):.0f} MiB"
