"""How long to measure: profiles/measurement/*.toml and their loader."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from profiles import strict_toml
from profiles.strict_toml import InvalidFile

FOLDER = Path(__file__).with_suffix("")


@dataclass(frozen=True)
class MeasurementProfile:
    """Bounds of one repetition (a fresh process) and how many there are; times in seconds."""

    description: str
    #: Fresh processes per case: what differs between them belongs into the interval.
    repetitions: int
    warmup_min_s: float
    warmup_max_s: float
    #: Sampling goes on until both minima are reached and the median is known well enough ...
    min_iterations: int
    min_time_s: float
    #: ... which is when its 95 % interval is at most this share of it wide ...
    median_ci_width: float
    #: ... or until one of these.
    max_iterations: int
    max_time_s: float


def measurement_names() -> tuple[str, ...]:
    """The profiles that come with edgebench."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def measurement_profile(name: str) -> MeasurementProfile:
    """A profile by name, or a file of one's own by path; raises InvalidFile."""
    path = FOLDER / f"{name}.toml"
    if name not in measurement_names():
        path = Path(name)
        if not path.is_file():
            raise InvalidFile([f"no measurement profile {name!r}; known: {', '.join(measurement_names())}"])
    profile = strict_toml.load(path, MeasurementProfile)
    faults = _faults(profile)
    if faults:
        raise InvalidFile([f"{path}: {fault}" for fault in faults])
    return profile


def _faults(profile: MeasurementProfile) -> list[str]:
    """What is wrong with the numbers themselves."""
    faults = [
        f"{field.name}: {getattr(profile, field.name)} is not a finite number"
        for field in fields(profile)
        if field.name != "description" and not math.isfinite(getattr(profile, field.name))
    ]
    faults += [
        f"{name}: {getattr(profile, name)} has to be at least {least}"
        for name, least in (
            ("repetitions", 1),
            ("min_iterations", 1),
            ("max_iterations", 1),
            ("warmup_min_s", 0),
        )
        if getattr(profile, name) < least
    ]
    faults += [
        f"{low}: {getattr(profile, low)} is more than {high} = {getattr(profile, high)}"
        for low, high in (
            ("warmup_min_s", "warmup_max_s"),
            ("min_iterations", "max_iterations"),
            ("min_time_s", "max_time_s"),
        )
        if getattr(profile, low) > getattr(profile, high)
    ]
    if not 0 < profile.median_ci_width < 1:
        faults.append(f"median_ci_width: {profile.median_ci_width} is not a share between 0 and 1")
    return faults
