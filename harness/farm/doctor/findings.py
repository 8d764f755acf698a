"""What the doctor says: one finding a topic, with the commands that mend it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from device_agents.protocol import Examination, RuntimeStatus
from harness.farm.board_packages import BoardPlatform, platform_of
from harness.farm.doctor.system import System, system_of
from profiles.devices import DeviceProfile

State = Literal["good", "advice", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    state: State
    #: The value found.
    found: str
    #: Why it matters, one sentence; empty where all is well.
    why: str = ""
    #: What mends it: commands to paste, on the board unless they begin with `bench`.
    commands: tuple[str, ...] = ()
    #: Nothing can be measured before this is mended.
    blocks: bool = False


@dataclass(frozen=True)
class Patient:
    """A board and everything that is known of its setup."""

    name: str
    examined: Examination
    runtimes: Mapping[str, RuntimeStatus]
    profile: DeviceProfile | None = None
    #: The board's clock less this host's, seconds.
    clock_ahead_s: float | None = None
    #: Sentences on where it differs from its profile.
    differences: tuple[str, ...] = ()
    system: System = field(init=False)
    platform: BoardPlatform = field(init=False)

    def __post_init__(self) -> None:
        """What follows from the examination."""
        system = system_of(self.examined)
        object.__setattr__(self, "system", system)
        object.__setattr__(self, "platform", platform_of(self.examined, system.jetpack))

    @property
    def family(self) -> str:
        """The kind of board it showed itself to be."""
        return self.examined.facts.family

    @property
    def something_works(self) -> bool:
        """Whether any runtime does."""
        return any(status.available for status in self.runtimes.values())

    @property
    def python(self) -> str:
        """Its Python's version, two numbers."""
        return ".".join(map(str, self.platform.python))


def good(topic: str, found: str) -> Finding:
    """All is well."""
    return Finding(topic, "good", found)


def advice(topic: str, found: str, why: str, *commands: str) -> Finding:
    """It could be better."""
    return Finding(topic, "advice", found, why, commands)


def problem(topic: str, found: str, why: str, *commands: str, blocks: bool = False) -> Finding:
    """Something does not work, or spoils what is measured."""
    return Finding(topic, "problem", found, why, commands, blocks)
