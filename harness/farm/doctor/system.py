"""Which system a board runs: what decides how something is installed there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from device_agents.protocol import Examination

Family = Literal["jetpack", "raspberry-pi-os", "debian", "ubuntu", "other"]


@dataclass(frozen=True)
class System:
    """The system and its generation."""

    family: Family
    #: For people, as in "JetPack 4.6.1 (L4T 32.7.1)".
    name: str
    #: As in bookworm; None where the system does not say.
    codename: str | None
    #: JetPack's first number.
    jetpack: int | None

    @property
    def has_apt(self) -> bool:
        """Whether packages come by apt-get."""
        return self.family != "other"


def system_of(examined: Examination) -> System:
    """The system by what the board says of itself."""
    release = examined.os_release
    name = release.get("PRETTY_NAME") or examined.facts.os or "an unknown system"
    codename = release.get("VERSION_CODENAME") or None
    jetpack = re.match(r"\d{1,4}", examined.facts.details.get("jetpack", ""))
    if jetpack is not None:
        l4t = examined.facts.details.get("l4t_release", "unknown")
        words = f"JetPack {examined.facts.details['jetpack']} (L4T {l4t})"
        return System("jetpack", words, codename, int(jetpack[0]))
    like = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if like & {"debian", "raspbian"} and "ubuntu" not in like:
        pi = examined.facts.family == "raspberry-pi"
        pretty = name.replace("Debian GNU/Linux", "Raspberry Pi OS") if pi else name
        return System("raspberry-pi-os" if pi else "debian", pretty, codename, None)
    if "ubuntu" in like:
        return System("ubuntu", name, codename, None)
    return System("other", name, codename, None)
