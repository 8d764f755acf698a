#!/usr/bin/env python3
"""Gives damaged agent lines and journals to the controller and the agent; anything but an error that is
designed for it is a finding, and so is a case that takes long.

The lines are those of a real agent, which runs one job of the null runtime first, with bits flipped, parts
cut out or repeated, other values, types, keys and numbers (tests/fuzzing/mutations.py). They go the way that
a board's lines go: decoded, followed, recorded, kept, shown. Every finding is printed with the number of its
case: `--only lines:123` does that one again.

    python benchmarks/fuzz.py [--lines 100000] [--journals 10000] [--seed 1] [--only KIND:NUMBER]
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzzing.material import Material, real_material
from tests.fuzzing.targets import generator_of, long_lines, one_conversation, one_journal

#: One case in so many is drawn as well: report, table and CSV take longer than all the rest.
PICTURE_EVERY = 100

SLOW_S = 5.0

#: Lines without a newline, bytes; the last one is a gigabyte, which nobody holds.
LONG_LINES = ((1 << 20) - 1, 1 << 20, (1 << 20) + 65536, 10 << 20, 1 << 30)


class Findings:
    """What should not have happened, and the figures of a run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.count = 0
        self.slowest_s = 0.0

    def case(self, kind: str, number: int, material: Material) -> int:
        """One case; returns its faulty lines."""
        rng = generator_of(self.seed, kind, number)
        begun = time.monotonic()
        faults = 1
        try:
            if kind == "lines":
                faults = one_conversation(rng, material, number % PICTURE_EVERY == 0)
            else:
                faults = one_journal(rng, material)
        except Exception:  # noqa: BLE001 - whatever comes through is what is looked for here
            self._tell(kind, number, traceback.format_exc(limit=-6))
        took = time.monotonic() - begun
        self.slowest_s = max(self.slowest_s, took)
        if took > SLOW_S:
            self._tell(kind, number, f"took {took:.1f} s\n")
        return faults

    def _tell(self, kind: str, number: int, what: str) -> None:
        self.count += 1
        print(f"FINDING  --seed {self.seed} --only {kind}:{number}\n{what}", flush=True)


def peak_mib() -> float:
    """Most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Runs everything; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--journals", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="KIND:NUMBER", help="lines:123 or journals:123")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # numpy's words on what a board's figures overflow
    with tempfile.TemporaryDirectory(prefix="edgebench-fuzz-") as folder:
        material = real_material(Path(folder))
    findings = Findings(asked.seed)
    if asked.only:
        kind, _, number = asked.only.partition(":")
        findings.case(kind, int(number), material)
        return int(findings.count > 0)
    findings.case("lines", 0, material)  # with a report: what has to be imported is, from now on
    before = peak_mib()
    long_lines(LONG_LINES)
    print(f"lines of up to {LONG_LINES[-1] >> 20} MiB: peak memory {before:.0f} -> {peak_mib():.0f} MiB")
    begun, lines, number = time.monotonic(), 0, 0
    while lines < asked.lines:
        lines += findings.case("lines", number, material)
        number += 1
    print(f"{lines} damaged lines in {number} conversations: {time.monotonic() - begun:.0f} s")
    begun = time.monotonic()
    for number in range(asked.journals):
        findings.case("journals", number, material)
    print(f"{asked.journals} damaged journals: {time.monotonic() - begun:.0f} s")
    print(f"slowest case {findings.slowest_s:.2f} s, peak memory {before:.0f} -> {peak_mib():.0f} MiB")
    print(f"{findings.count} findings")
    return int(findings.count > 0)


if __name__ == "__main__":
    sys.exit(main())
