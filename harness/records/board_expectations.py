"""Where a board differs from what its kind should be, and records that are far from what others measured.

A profile says what to expect, the probe says what is there; the probe wins. These sentences tell the
difference: they are for a person to read and decide nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from device_agents.protocol import DeviceFacts, RuntimeStatus
from profiles.detection import Detected, detected_profile, detection
from profiles.devices import DeviceProfile, device_profile, has_ram
from profiles.references import reference_for
from profiles.systems import SystemGeneration, generation_of
from reports.record import Case

GENERIC = "generic-linux"

#: Clocks that differ by less are the same: 1479 is printed for 1479.4.
SAME_CLOCK = 0.02

#: Words of /proc/cpuinfo that kernels of runtimes choose by; what else is missing there is the kernel's age.
_FAST_FEATURES = {
    "asimddp": "dot product",
    "asimdhp": "half-precision arithmetic",
    "i8mm": "int8 matrix products",
    "bf16": "bf16",
    "sve2": "SVE2",
}


def profile_of(claimed: DeviceProfile | None, facts: DeviceFacts) -> DeviceProfile:
    """The profile a board is measured by: the one its device tree names, in its variant.

    A claim of devices.toml counts only where the device tree names no board, but the family is right.
    """
    found = detected_profile(facts.compatible, facts.memory_bytes, facts.cpu_count)
    if found is not None:
        return found
    if claimed is not None and claimed.board_family == facts.family:
        return claimed.for_board((), facts.memory_bytes)
    return device_profile(GENERIC)


def differences(
    claimed: DeviceProfile | None, facts: DeviceFacts, runtimes: Sequence[RuntimeStatus]
) -> tuple[str, ...]:
    """Sentences on where a board differs; `claimed` is the profile that devices.toml names for it, if any."""
    found = detection(facts.compatible, facts.memory_bytes, facts.cpu_count)
    actual = profile_of(claimed, facts)
    return (
        *_kind(claimed.name if claimed else GENERIC, actual, facts, found),
        *_memory(actual, facts),
        *_cores(actual, facts),
        *_clock(actual, facts),
        *_instructions(actual, facts),
        *_system(actual, facts, runtimes),
        *_accelerator(actual, runtimes),
    )


def remarks(
    profile: DeviceProfile, case: Case, latency_ms: float, input_size: int | None = None
) -> tuple[str, ...]:
    """Sentences on a median latency that is far from what others measured under the same conditions.

    `profile` is the one the board was measured by, `input_size` the side of a square input if known.
    """
    if case.batch_size != 1 or profile.stands_in:
        return ()
    reference = reference_for(
        profile.name, case.model, case.runtime, case.precision, case.num_threads, input_size
    )
    remark = reference.judge(latency_ms) if reference else None
    return (remark,) if remark else ()


def _kind(claimed: str, actual: DeviceProfile, facts: DeviceFacts, found: Detected | None) -> Iterator[str]:
    """What kind of board it is, where devices.toml or the list of boards says otherwise."""
    board = facts.board or "it has no name"
    if found is not None and not found.exact:
        yield (
            f"its device tree names no board that edgebench knows ({board}): it is compared with "
            f"{actual.name}, the nearest with the same SoC ({found.by})"
        )
    if claimed == GENERIC:
        return
    if found is not None and found.profile != claimed:
        yield (
            f"devices.toml says {claimed}, the board says it is {board} ({actual.name}); its own word counts"
        )
    if found is None and actual.name == claimed:
        yield (
            f"its device tree does not say that it is a {claimed}, but it is of that family "
            f"({facts.family}): devices.toml is believed"
        )
    if found is None and actual.name != claimed:
        yield (
            f"devices.toml says {claimed}, but nothing on the board says so ({board}): it counts as {GENERIC}"
        )


def _memory(profile: DeviceProfile, facts: DeviceFacts) -> Iterator[str]:
    seen = facts.memory_bytes
    if seen is not None and profile.ram_bytes and not has_ram(profile.ram_bytes, seen):
        sold = _one_of([f"{size / 2**30:g}" for size in profile.ram_bytes])
        yield f"it sees {seen / 2**30:.1f} GiB of RAM; {_named(profile)} has {sold} GiB"


def _cores(profile: DeviceProfile, facts: DeviceFacts) -> Iterator[str]:
    online, all_cores = facts.cpu_count, profile.cpu_cores
    if online is None or all_cores is None or online == all_cores:
        return
    if online > all_cores:
        yield f"it has {online} cores; {_named(profile)} has {all_cores}"
        return
    why = f"; its power mode is {facts.power_mode}" if facts.power_mode else ""
    yield f"{online} of the {all_cores} cores of {_named(profile)} are online{why}"


def _clock(profile: DeviceProfile, facts: DeviceFacts) -> Iterator[str]:
    found, shipped = facts.cpu_max_mhz, profile.cpu_max_mhz
    if found is None or shipped is None:
        return
    known = (shipped, *profile.other_cpu_max_mhz)
    if all(abs(found - clock) > SAME_CLOCK * clock for clock in known):
        how = "overclocked" if found > shipped else "capped"
        yield f"its CPU goes up to {found:.0f} MHz; {_named(profile)} is shipped with {shipped} MHz ({how})"


def _instructions(profile: DeviceProfile, facts: DeviceFacts) -> Iterator[str]:
    if not profile.isa_features:
        return
    if facts.machine.startswith("arm"):
        yield (
            f"its system is 32-bit ({facts.machine}): the package index has no onnxruntime and no "
            "ai-edge-litert for it; install a 64-bit system"
        )
        return
    if facts.machine != "aarch64":
        yield f"its processor is {facts.machine}, that of {_named(profile)} is aarch64"
        return
    present = set((facts.cpu_features or "").split())
    missing = [word for word in _FAST_FEATURES if word in profile.isa_features and word not in present]
    if present and missing:
        words = ", ".join(f"{word} ({_FAST_FEATURES[word]})" for word in missing)
        yield f"its CPU does not report {words}, which {_named(profile)} has: runtimes choose slower kernels"


def _system(profile: DeviceProfile, facts: DeviceFacts, runtimes: Sequence[RuntimeStatus]) -> Iterator[str]:
    if not profile.systems:
        return
    l4t = _l4t_release(facts)
    system = generation_of(profile.system_generations, l4t, facts.os)
    if system is None:
        running = f"L4T {l4t}" if l4t else facts.os
        known = ", ".join(known.name for known in profile.system_generations)
        if running:
            yield f"it runs {running}; known for {_named(profile)}: {known}"
        return
    yield from _python(system, facts)
    yield from _tensorrt(system, runtimes)


def _python(system: SystemGeneration, facts: DeviceFacts) -> Iterator[str]:
    if ".".join(facts.python.split(".")[:2]) == system.python:
        return
    why = ": TensorRT's Python package exists for that one only" if system.tensorrt else ""
    yield f"its Python is {facts.python}; {system.name} brings {system.python}{why}"


def _tensorrt(system: SystemGeneration, runtimes: Sequence[RuntimeStatus]) -> Iterator[str]:
    status = _working(runtimes, "tensorrt")
    if status is None or status.version is None or system.tensorrt is None:
        return
    if status.version.split(".")[:2] != system.tensorrt.split(".")[:2]:
        yield f"its TensorRT is {status.version}; {system.name} brings {system.tensorrt}"


def _accelerator(profile: DeviceProfile, runtimes: Sequence[RuntimeStatus]) -> Iterator[str]:
    """What TensorRT says of the GPU, against the profile."""
    status = _working(runtimes, "tensorrt")
    if status is None or profile.compute_capability is None:
        return
    capability = status.details.get("compute_capability")
    if capability is not None and capability != profile.compute_capability:
        yield (
            f"its GPU has compute capability {capability}; that of {_named(profile)} has "
            f"{profile.compute_capability}"
        )
    yield from (
        f"TensorRT says that its GPU has no {precision}; that of {_named(profile)} has it"
        for precision in profile.native_for("tensorrt")
        if status.details.get(precision) == "no"
    )


def _working(runtimes: Sequence[RuntimeStatus], name: str) -> RuntimeStatus | None:
    return next((status for status in runtimes if status.name == name and status.available), None)


def _l4t_release(facts: DeviceFacts) -> str | None:
    """36.4.3 of what the agent says: "36.4.3", "R36.4.3", or the file's "# R36 (release), REVISION: 4.3"."""
    text = facts.details.get("l4t_release", "")
    # Short, and not from within a number: a board may give a megabyte of digits.
    found = re.search(r"(?<!\d)(\d{1,4})(?: \(release\), REVISION: |\.)(\d[\d.]{0,15})", text)
    return f"{found[1]}.{found[2].rstrip('.')}" if found else None


def _named(profile: DeviceProfile) -> str:
    return f"{profile.name} ({profile.variant})" if profile.variant else profile.name


def _one_of(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
