#!/usr/bin/env python3
"""Kills agents in performance mode and counts the boards that are not as they were before.

First at every line of the performance mode that is executed, in this Python, some minutes
(tests/device_agents/performance/kill_points.py). Then real jobs through the real agent archive on stand-in
boards, with the oldest Python that is here, killed at drawn times: the supervisor, its process group, its
guard, both at once, or the supervisor and a moment later its guard, in the midst of it. Then `restore`
is asked once, as the next contact would, and governor, clocks and power mode are compared with before.

    python benchmarks/performance_mode_kills.py [--kills 240] [--seed 1] [--no-lines]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.device_agents.board_trees import agent_python
from tests.device_agents.performance.archive import Victim, kill

ROOT = Path(__file__).resolve().parents[1]
BOARDS = ("raspberry-pi", "jetson")
LINES = ("supervisor", "guard", "both", "guard-restoring", "contact-restoring")
DRAWN = ("supervisor", "group", "guard", "both", "supervisor, then guard")

#: As short as a job can be that goes through all of the performance mode.
JOB_S = 0.1


def lines() -> int:
    """Every line; returns how many boards were wrong."""
    wrong = 0
    for who in LINES:
        for board in BOARDS:
            told = subprocess.run(
                [sys.executable, "-m", "tests.device_agents.performance.kill_points", board, who],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
            result = json.loads(told.stdout)
            wrong += len(result["wrong"])
            print(
                f"every line   {who:22} {board:13} {result['points']:5} points   {len(result['wrong'])} wrong"
            )
            for line in result["wrong"][:5]:
                print("   ", line)
    return wrong


def undisturbed_s(python: str, board: str) -> float:
    """How long a job takes from its supervisor's start to the last process's end."""
    with tempfile.TemporaryDirectory() as folder:
        victim = Victim(Path(folder), board, python)
        victim.submit(seconds=JOB_S)
        begun = time.monotonic()
        victim.wait()
        assert victim.changed() == {}
        return time.monotonic() - begun


def die(victim: Victim, who: str, pause_s: float) -> None:
    """Kill whom the draw has hit."""
    supervisor, guards = victim.supervisor, victim.guards()
    if who == "group":
        with suppress(ProcessLookupError):
            os.killpg(supervisor, signal.SIGKILL)
    if who.startswith("supervisor") or who == "both":
        kill(supervisor)
    if who == "supervisor, then guard":
        time.sleep(pause_s)
    if who in ("guard", "both", "supervisor, then guard"):
        for pid in guards:
            kill(pid)


def phase(journal: str) -> str:
    """How far the job had come."""
    if '"type":"ended"' in journal:
        return "ended"
    if '"type":"performance_mode_restored"' in journal:
        return "put back"
    if '"type":"repetition_ended"' in journal:
        return "measured, or putting back"
    if '"type":"performance_mode"' in journal:
        return "raised"
    return "before, or raising" if '"type":"started"' in journal else "starting"


def one(python: str, board: str, who: str, at_s: float, pause_s: float) -> tuple[str, bool, dict[str, str]]:
    """One death: when it came, whether it left the lease open, and what is not as before after a contact."""
    with tempfile.TemporaryDirectory() as folder:
        victim = Victim(Path(folder), board, python)
        try:
            victim.submit(seconds=JOB_S)
            time.sleep(at_s)
            hit = phase(victim.told())
            die(victim, who, pause_s)
            if not victim.wait():
                return hit, False, {"processes": "still there after a minute"}
            left_open = victim.lease_is_open()
            victim.restore()
            wrong = victim.changed()
            if victim.lease_is_open():
                wrong["performance.json"] = "the lease is still open"
            return hit, left_open, wrong
        finally:
            victim.kill_all()


def drawn(kills: int, seed: int) -> int:
    """Deaths at drawn times; returns how many boards were wrong."""
    python = agent_python("3.6") or sys.executable
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    draw = random.Random(seed)
    whole = {board: undisturbed_s(python, board) for board in BOARDS}
    print(f"real archive, {(version.stdout or version.stderr).strip()}, undisturbed job:", whole)
    phases: Counter[str] = Counter()
    done: Counter[tuple[str, str]] = Counter()
    open_leases: Counter[tuple[str, str]] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    for number in range(kills):
        board, who = BOARDS[number % 2], DRAWN[number // 2 % len(DRAWN)]
        at_s, pause_s = draw.uniform(0.0, whole[board]), draw.uniform(0.0, 0.5)
        hit, left_open, changed = one(python, board, who, at_s, pause_s)
        phases[hit] += 1
        done[who, board] += 1
        open_leases[who, board] += left_open
        if changed:
            wrong[who, board] += 1
            print(f"   wrong: {who} of {board} killed after {at_s:.3f} s ({pause_s:.3f} s), {hit}: {changed}")
    for who, board in sorted(done):
        print(
            f"drawn times  {who:22} {board:13} {done[who, board]:5} kills    {wrong[who, board]} wrong   "
            f"{open_leases[who, board]} put back by the next contact only"
        )
    print("they hit:", dict(phases))
    return sum(wrong.values())


def main() -> None:
    """Run all; the exit status says whether every board was as before."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-lines", action="store_true")
    arguments = parser.parse_args()
    wrong = 0 if arguments.no_lines else lines()
    wrong += drawn(arguments.kills, arguments.seed)
    print("boards that were not as before:", wrong)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
