#!/usr/bin/env python3
"""Cuts the link and kills the controller of real runs at drawn points; counts what is not as without.

`bench run` measures a board over real SSH, through a proxy that ends, resets, refuses or swallows the
connection at drawn bytes, times and phases; or the controller is killed (SIGKILL) at drawn times and resumed.
After each run everything is compared with an undisturbed one: every case measured exactly once, the same
accuracy, fidelity and counts, a whole database and report, nothing left running, held or raised on the board,
nothing left on this host.

    python benchmarks/fault_campaign.py [--cuts 200] [--kills 100] [--seed 1] [--board nano] [--only cuts:17]

`--board nano` starts a stand-in Jetson Nano (needs what `make e2e` needs); any other name is a virtual board
of the lab that is up (`bench lab up pi4`), in --lab FOLDER. Every violation is printed with the point that
repeats it.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.places import lab_home
from tests.faults.link_proxy import Bytes, Direction, Kind, LinkProxy, Strike
from tests.faults.phases import HANDSHAKE_BYTES, PHASES, phase
from tests.faults.struck_boards import StruckBoard, nano, virtual
from tests.faults.struck_runs import StruckRun
from tests.faults.whole import Told, told, violations

#: A run is struck so often at most: each strike costs a new connection and its pause.
STRIKES_A_RUN = 4
KILLS_A_RUN = 3

#: How the kinds of strikes are drawn. Silence costs a minute, until the product's own limit, so it is rare.
KINDS: dict[Kind, float] = {"fin": 0.44, "rst": 0.40, "refuse": 0.135, "silent": 0.025}

#: The longest time without a server: a first connection is tried for 7.5 s.
REFUSED_S = 2.5

#: How often the phase is looked at where a strike waits for one.
LOOK_S = 0.06


@dataclass
class Undisturbed:
    """What a run is like when nothing happens to it."""

    told: Told
    seconds: float
    passed: dict[Direction, int]
    #: How long each phase was seen, seconds.
    phases: dict[str, float]


@dataclass
class Tally:
    """What came of it all."""

    hit: Counter[tuple[str, str]] = field(default_factory=Counter)
    by: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    runs: int = 0
    seconds: float = 0.0

    @property
    def hits(self) -> int:
        """How many points were hit."""
        return sum(self.hit.values())


@dataclass(frozen=True)
class Point:
    """Where a strike comes: after bytes (in the strike itself), at a time, or some way into a phase."""

    strike: Strike
    at_s: float | None = None
    phase: str | None = None
    into_s: float = 0.0

    @property
    def by(self) -> str:
        """How it was drawn."""
        return "bytes" if self.strike.after else "phase" if self.phase else "time"


class Campaign:
    """Runs on one board, one after the other."""

    def __init__(self, board: StruckBoard, link: LinkProxy, cache: Path, seed: int) -> None:
        self.board, self.link, self.cache, self.seed = board, link, cache, seed
        self.number = 0
        self.present: StruckRun | None = None
        self.hits: list[tuple[str, str]] = []
        self.normal: Undisturbed | None = None
        link.told = self.told_of_strike

    def told_of_strike(self, strike: Strike) -> None:
        """The proxy is about to strike: note what it hits."""
        if self.present is not None:
            self.hits.append((strike.kind, phase(self.board, self.present.number, self.link)))

    def new_run(self, cache: Path | None) -> StruckRun:
        """The next run, the link whole."""
        self.number += 1
        self.link.start_over([])
        self.hits = []
        self.present = StruckRun(self.board, self.link, self.number, cache)
        return self.present

    def undisturbed(self) -> Undisturbed:
        """The second of two runs: the first one fills the cache of this host."""
        for _ in range(2):
            with self.new_run(self.cache) as run:
                begun, seen = time.monotonic(), dict.fromkeys(PHASES, 0.0)
                strangers = Counter[str]()
                run.start()
                assert run.running is not None
                last = begun
                while run.running.poll() is None:
                    time.sleep(LOOK_S)
                    now = time.monotonic()
                    seen[phase(self.board, run.number, self.link, strangers)] += now - last
                    last = now
                took, status = time.monotonic() - begun, run.wait()
                passed, expected = dict(self.link.passed), told(run) if status == 0 else Told({})
                wrong = violations(run, status, expected)
                if wrong:
                    raise SystemExit(f"an undisturbed run is not whole: {wrong}")
        phases = {name: seconds for name, seconds in seen.items() if seconds}
        self.normal = Undisturbed(expected, took, passed, phases)
        return self.normal

    # --- cuts -------------------------------------------------------------------------------------

    def struck(self, number: int) -> tuple[list[Point], list[tuple[str, str]], list[str], float]:
        """One run with a few strikes: where they were to come, what they hit, what was wrong, its seconds."""
        assert self.normal is not None
        draw = random.Random(f"{self.seed}/cuts/{number}")
        points = [draw_point(draw, self.normal) for _ in range(STRIKES_A_RUN)]
        with self.new_run(self.cache) as run:
            begun, over = time.monotonic(), threading.Event()
            self.link.strikes = [point.strike for point in points if point.strike.after]
            run.start()
            later = [point for point in points if not point.strike.after]
            striking = threading.Thread(target=self._strike_later, args=(run, later, over), daemon=True)
            striking.start()
            status = run.wait()
            over.set()
            striking.join()
            took, hits = time.monotonic() - begun, list(self.hits)
            self.link.strikes = []
            return points, hits, violations(run, status, self.normal.told), took

    def _strike_later(self, run: StruckRun, points: Sequence[Point], over: threading.Event) -> None:
        """Strike when the points' times have come; one that finds no connection waits for the next."""
        begun, strangers = time.monotonic(), Counter[str]()
        due = {point: begun + point.at_s for point in points if point.at_s is not None}
        while not over.wait(LOOK_S):
            unseen = [point for point in points if point.phase and point not in due]
            now = phase(self.board, run.number, self.link, strangers) if unseen else None
            for point in unseen:
                if point.phase == now:
                    due[point] = time.monotonic() + point.into_s
            for point in [point for point, at in due.items() if time.monotonic() >= at]:
                if self.link.strike(point.strike):
                    due[point] = float("inf")

    # --- kills ------------------------------------------------------------------------------------

    def killed(self, number: int) -> tuple[list[tuple[str, str]], list[str], float]:
        """One run whose controller dies some times: what it was doing, what was wrong, how long it took."""
        assert self.normal is not None
        draw = random.Random(f"{self.seed}/kills/{number}")
        cut = draw.random() < 0.25
        # Every third one has to convert anew, which takes longer and can be killed too.
        with self.new_run(None if number % 3 == 0 else self.cache) as run:
            begun, kills = time.monotonic(), list[tuple[str, str]]()
            if cut:
                count = draw.randrange(self.normal.passed["up"])
                self.link.strikes = [Strike("rst", Bytes("up", count))]
            for again in range(KILLS_A_RUN):
                started = time.monotonic()
                run.start(resume=again > 0)
                with_children = draw.random() < 0.5
                try:
                    status: int | None = run.wait_shortly(draw.uniform(0.0, self.normal.seconds))
                except TimeoutError:
                    what = self._doing(run)
                    if run.kill(with_children=with_children):
                        kills.append(("with its children" if with_children else "alone", what))
                        if run.ended():
                            status = 0
                            break
                        continue
                    status = run.wait()
                if again == 0 and not cut:  # quicker than the undisturbed run: the machine has less to do now
                    self.normal.seconds = min(self.normal.seconds, time.monotonic() - started)
                break
            else:
                run.start(resume=True)
                status = run.wait()
            took = time.monotonic() - begun
            return kills, violations(run, status, self.normal.told), took

    def _doing(self, run: StruckRun) -> str:
        """What a controller does now: what its board does, else what is to be seen of itself."""
        now = phase(self.board, run.number, self.link)
        if now != "connect" and now != "between commands":
            return now
        if len(run.host_processes()) > 1:
            return "convert"
        if not self.link.connections:
            return "start"
        records = run.runs()
        if records and len(records[0][1]) == len(self.normal.told.cases if self.normal else ()):
            return "report"
        return now


def draw_point(draw: random.Random, normal: Undisturbed) -> Point:
    """A third by bytes, a third by time, a third by phase."""
    kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
    seconds = draw.uniform(0.2, REFUSED_S) if kind == "refuse" else 0.0
    by = draw.choice(("bytes", "time", "phase", "phase"))
    if by == "time":
        return Point(Strike(kind, seconds=seconds), at_s=draw.uniform(0.0, normal.seconds))
    direction: Direction = draw.choice(("up", "down"))
    if by == "bytes":
        count = draw.randrange(normal.passed[direction])
        return Point(Strike(kind, Bytes(direction, count), seconds))
    wanted = draw.choice([name for name in PHASES if name == "connect" or name in normal.phases])
    if wanted == "connect":
        return Point(Strike(kind, Bytes(direction, draw.randrange(HANDSHAKE_BYTES)), seconds))
    return Point(
        Strike(kind, seconds=seconds), phase=wanted, into_s=draw.uniform(0.0, normal.phases[wanted] / 2)
    )


def cuts(campaign: Campaign, wanted: int, first: int, only: int | None) -> Tally:
    """Strikes until so many have hit."""
    tally, number = Tally(), (first if only is None else only) - 1
    while tally.hits < wanted:
        number += 1
        points, hits, wrong, took = campaign.struck(number)
        tally.runs += 1
        tally.seconds += took
        tally.hit.update(hits)
        tally.by.update(point.by for point in points)
        print(f"cuts:{number}  {took:5.1f} s  {'; '.join(f'{k} in {p}' for k, p in hits)}", flush=True)
        tally.wrong += [f"cuts:{number} {points}: {words}" for words in wrong]
        for words in wrong:
            print(f"   VIOLATION cuts:{number}: {words}", flush=True)
        if only is not None:
            break
    return tally


def kills(campaign: Campaign, wanted: int, first: int, only: int | None) -> Tally:
    """Kills until there were so many."""
    tally, number = Tally(), (first if only is None else only) - 1
    while tally.hits < wanted:
        number += 1
        killed, wrong, took = campaign.killed(number)
        tally.runs += 1
        tally.seconds += took
        tally.hit.update(killed)
        print(f"kills:{number}  {took:5.1f} s  {'; '.join(f'{p} ({k})' for k, p in killed)}", flush=True)
        tally.wrong += [f"kills:{number}: {words}" for words in wrong]
        for words in wrong:
            print(f"   VIOLATION kills:{number}: {words}", flush=True)
        if only is not None:
            break
    return tally


def show(what: str, tally: Tally) -> None:
    """The table of one half."""
    kinds = sorted({kind for kind, _ in tally.hit})
    print(f"\n{what}: {tally.hits} in {tally.runs} runs, {tally.seconds:.0f} s in all, "
          f"{tally.seconds / max(1, tally.runs):.1f} s a run, {len(tally.wrong)} violations")  # fmt: skip
    print(f"{'':22}" + "".join(f"{kind:>19}" for kind in kinds) + f"{'all':>8}")
    for name in (*PHASES, "start", "convert", "report"):
        row = [tally.hit[kind, name] for kind in kinds]
        if sum(row):
            print(f"{name:22}" + "".join(f"{count:19}" for count in row) + f"{sum(row):8}")
    if tally.by:
        print("drawn by:", dict(tally.by))


def opened(arguments: argparse.Namespace) -> AbstractContextManager[StruckBoard]:
    """The board that was asked for."""
    if arguments.board == "nano":
        return nano()
    options = ("--runtime", arguments.runtime, "--precision", arguments.precision)
    return virtual(arguments.board, arguments.lab, options)


def main() -> None:
    """Run all; the exit status says whether everything was as without faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--board", default="nano")
    parser.add_argument("--lab", type=Path, default=lab_home(), help="folder of the lab that is up")
    parser.add_argument("--runtime", default="null", help="for boards of the lab")
    parser.add_argument("--precision", default="fp32", help="for boards of the lab")
    parser.add_argument("--first", type=int, default=1, help="begin with the runs of this number")
    parser.add_argument("--only", help="one point again: cuts:N or kills:N")
    arguments = parser.parse_args()
    half, _, number = (arguments.only or "").partition(":")
    only = int(number) if number else None
    wrong: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the board is taken away
    with (
        opened(arguments) as board,
        tempfile.TemporaryDirectory(prefix="struck-cache-") as cache,
        LinkProxy(board.host, board.port) as link,
    ):
        campaign = Campaign(board, link, Path(cache), arguments.seed)
        normal = campaign.undisturbed()
        phases = {name: round(took, 2) for name, took in normal.phases.items()}
        print(f"undisturbed: {normal.seconds:.1f} s, bytes {normal.passed}, phases (s) {phases}", flush=True)
        for what, work, count in (("cuts", cuts, arguments.cuts), ("kills", kills, arguments.kills)):
            if count and half in ("", what):
                tally = work(campaign, count, arguments.first, only)
                show(what, tally)
                wrong += tally.wrong
    print(f"\nviolations: {len(wrong)}")
    for words in wrong:
        print("  ", words)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
