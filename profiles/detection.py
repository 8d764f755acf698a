"""Which profile a board is of: by its device tree, never by a name that somebody typed.

A device tree names its board most specific first, NVIDIA's as carrier+module:
"nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from profiles.devices import DeviceProfile, device_profile, device_profile_names

#: An NVIDIA part number, the revision of its board, and whether it was flashed for super clocks.
_PART = re.compile(r"(p\d{4}-\d{4})(?:-[a-z]\d{2})?(-super)?")


@dataclass(frozen=True)
class Detected:
    """The profile a board is of, and the device tree's word that decided it."""

    profile: str
    by: str
    #: False: only the SoC is known, and this is the nearest profile with it.
    exact: bool


def detect(
    compatible: Sequence[str], memory_bytes: int | None = None, cpu_count: int | None = None
) -> str | None:
    """The name of the profile that fits best; None where nothing is known of the board, not even its SoC."""
    found = detection(compatible, memory_bytes, cpu_count)
    return found.profile if found else None


def detection(
    compatible: Sequence[str], memory_bytes: int | None = None, cpu_count: int | None = None
) -> Detected | None:
    """What `detect` finds, with the reason. RAM and cores only choose between boards of one SoC."""
    words = identities(compatible)
    known = _profiles_by_identity()
    for word in words:
        if word in known:
            return Detected(known[word], word, exact=True)
    for word in words:
        nearest = _nearest(word, memory_bytes, cpu_count)
        if nearest is not None:
            return Detected(nearest, word, exact=False)
    return None


def detected_profile(
    compatible: Sequence[str], memory_bytes: int | None = None, cpu_count: int | None = None
) -> DeviceProfile | None:
    """The detected profile, in the variant that the board is."""
    found = detection(compatible, memory_bytes, cpu_count)
    if found is None:
        return None
    profile = device_profile(found.profile).for_board(identities(compatible), memory_bytes)
    return replace(profile, stands_in=not found.exact)


def identities(compatible: Sequence[str]) -> tuple[str, ...]:
    """Every word by which a device tree may name its board, most specific first, as profiles spell them."""
    return tuple(dict.fromkeys(word for text in compatible for word in _words(text)))


def _words(text: str) -> Iterator[str]:
    text = text.strip("\0 \t\n").lower()
    if not text:
        return
    yield text
    # Carriers of other makers put their own name in front of NVIDIA's module.
    for part in re.split(r"[,+]", text):
        found = _PART.fullmatch(part)
        if found and found[2]:
            yield f"nvidia,{found[1]}{found[2]}"
        if found:
            yield f"nvidia,{found[1]}"


@cache
def _profiles_by_identity() -> dict[str, str]:
    return {word: name for name in device_profile_names() for word in device_profile(name).compatible}


def _nearest(soc: str, memory_bytes: int | None, cpu_count: int | None) -> str | None:
    """Of the profiles with that SoC the nearest in RAM, then the smallest: expect no more than is sure."""
    of_soc = [
        profile
        for profile in map(device_profile, device_profile_names())
        if profile.soc_compatible == soc and (profile.cpu_cores or 0) >= (cpu_count or 0)
    ]
    if not of_soc or (memory_bytes is None and len(of_soc) > 1):
        return None

    def distance(profile: DeviceProfile) -> tuple[int, int, str]:
        missing = min((abs(size - (memory_bytes or size)) for size in profile.ram_bytes), default=0)
        return missing, profile.cpu_cores or 0, profile.name

    return min(of_soc, key=distance).name
