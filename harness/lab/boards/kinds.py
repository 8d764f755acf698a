"""The kinds of virtual boards there are: kinds.toml as frozen dataclasses."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from harness.errors import UsageError
from harness.farm.inventory import did_you_mean


@dataclass(frozen=True)
class Kind:
    """What boards of one kind are made of."""

    name: str
    #: Kind of board as the profiles call it.
    profile: str
    #: `debian` (aarch64, under QEMU) or `host` (this machine's own system).
    root: str
    memory_kib: int
    #: Its device tree's `model` and `compatible`.
    model: str
    compatible: tuple[str, ...]
    #: QEMU's name of the processor; None where nothing is emulated.
    cpu: str | None = None
    #: What its one sensor reads, in thousandths of a degree; None where its tree says it.
    temperature_mc: int | None = None
    #: Clocks that Linux shows; None where the board has no stand-in for them.
    min_khz: int | None = None
    max_khz: int | None = None
    #: /proc/cpuinfo's lines for each core. QEMU 10 writes its own; 7.2 would show this machine's.
    cpuinfo: Mapping[str, str] = field(default_factory=dict)
    #: What the Raspberry Pi's firmware answers, by the question's words with hyphens.
    vcgencmd: Mapping[str, str] = field(default_factory=dict)
    #: The Python its system has, where that is to be another one than the root's own.
    python: str | None = None
    #: A file beside this with the rest of its system and its whole /sys; None where that is plain.
    tree: str | None = None

    @property
    def is_emulated(self) -> bool:
        """Whether its programs are aarch64's."""
        return self.root == "debian"


@functools.cache
def kinds() -> Mapping[str, Kind]:
    """All kinds by name, in the file's order."""
    tables = tomllib.loads(Path(__file__).with_name("kinds.toml").read_text("utf-8"))
    return MappingProxyType(
        {
            name: Kind(**{**table, "name": name, "compatible": tuple(table["compatible"])})
            for name, table in tables.items()
        }
    )


def chosen_kinds(words: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of those names; raises UsageError for one that is not there."""
    known = kinds()
    if not words:
        raise UsageError("no kind of board given", f"one or more of {', '.join(known)}")
    for word in words:
        if word not in known:
            raise UsageError(
                f"there is no virtual board {word!r}{did_you_mean(word, tuple(known))}",
                f"bench lab up KIND[,KIND..], of {', '.join(known)}",
            )
    return tuple(known[word] for word in words)
