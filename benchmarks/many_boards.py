#!/usr/bin/env python3
"""Virtual boards under one controller by the real `bench run`, over real SSH: does every case come out once?

Boards of all kinds of the lab are started in a cache of their own, measured with the null runtime, the first
--onnxruntime of the emulated ones with onnxruntime too (fp32 and int8 of the demo model; `bench device setup`
puts it there before), and taken away. Each case has to be in results.json once with status ok, and on its
board as one job that ended well. Emulated boards take turns on this machine's cores: the wall times are
theirs.

    sudo python benchmarks/many_boards.py [--boards 30] [--onnxruntime 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from device_agents.protocol import JobEnded, decode
from harness.lab.machine import cgroups
from harness.lab.names import LabNames
from tests.virtual_boards import ROOTS, left_of, missing

BENCH = Path(sys.executable).with_name("bench")
KINDS = ("pi3", "zero2w", "pi4", "pi5", "nano")
#: What a board is measured with by each runtime.
PRECISIONS = {"null": ("fp32",), "onnxruntime": ("fp32", "int8")}

#: What a board may need at once: sshd, and under QEMU the agent with supervisor and worker (145 MB were
#: seen); and with onnxruntime.
BOARD_MB, ONNXRUNTIME_BOARD_MB = 180.0, 600.0
#: Left to this machine and the controller.
SPARE_MB = 1500.0
#: /24, and what the lab numbers in it.
MOST_BOARDS = 200

MEMORY_GOAL_MB, CORES_GOAL = 600.0, 0.5


@dataclass(frozen=True)
class Bench:
    """The command, with a cache, a configuration and a database of its own."""

    folder: Path

    @property
    def lab(self) -> Path:
        """The folder of its boards."""
        return self.folder / "cache/lab"

    def start(self, *words: str, **more: object) -> subprocess.Popen[str]:
        """Start it."""
        environment = {
            **os.environ,
            "EDGEBENCH_CACHE_DIR": str(self.folder / "cache"),
            "EDGEBENCH_CONFIG_DIR": str(self.folder / "config"),
            "EDGEBENCH_LAB_ROOTS": str(ROOTS),
        }
        return subprocess.Popen([BENCH, *words], cwd=self.folder, env=environment, text=True, **more)

    def ask(self, *words: str) -> str:
        """Run it to its end; what it printed."""
        process = self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"bench {' '.join(words)}: {err.strip()[-2000:]}")
        return out


@dataclass(frozen=True)
class Cost:
    """What the controller took."""

    status: int
    wall_s: float
    cpu_s: float
    peak_mb: float


# --- boards ---------------------------------------------------------------------------------------


def boards_up(bench: Bench, count: int) -> list[str]:
    """Start `count` boards, of each kind as many as of the next; their names."""
    each, rest = divmod(count, len(KINDS))
    if each:
        bench.ask("lab", "up", ",".join(KINDS), "--count", str(each))
    if rest:
        bench.ask("lab", "up", ",".join(KINDS[:rest]))
    return [row["name"] for row in json.loads(bench.ask("lab", "status", "--json"))["boards"]]


def affordable(wanted: int, with_onnxruntime: int) -> int:
    """How many boards there is memory for; says so where it is fewer than wanted."""
    free = available_mb() - SPARE_MB - with_onnxruntime * (ONNXRUNTIME_BOARD_MB - BOARD_MB)
    count = min(wanted, MOST_BOARDS, int(free / BOARD_MB))
    if count < max(1, with_onnxruntime):
        raise SystemExit(f"{available_mb():.0f} MB of memory are available: too few for a board")
    if count < wanted:
        print(f"{count} boards instead of {wanted}: {available_mb():.0f} MB of memory are available")
    return count


def available_mb() -> float:
    """MemAvailable of this machine."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("the kernel does not say MemAvailable")


def memory_mb(bench: Bench) -> dict[str, float]:
    """What the processes of each board hold now, shared pages by halves and thirds."""
    group = cgroups.memory_hierarchy() / LabNames.of(bench.lab).group
    return {
        place.name: sum(map(pss_mb, cgroups.processes(place))) for place in group.iterdir() if place.is_dir()
    }


def pss_mb(pid: int) -> float:
    """Proportional set size of a process; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


class Watched:
    """The boards' memory, looked at every two seconds."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._done = bench, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.all_mb = self.one_mb = 0.0

    def _run(self) -> None:
        while not self._done.wait(2.0):
            found = memory_mb(self._bench).values()
            self.all_mb, self.one_mb = max(self.all_mb, sum(found)), max(self.one_mb, *found)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def jobs_on(bench: Bench, board: str) -> list[str]:
    """The last word of each job's journal on a board, read there as root sees it."""
    group = cgroups.memory_hierarchy() / LabNames.of(bench.lab).group / board
    own_init = f"/proc/{cgroups.processes(group)[-1]}/root"
    found = []
    for journal in Path(f"{own_init}/home/bench/.cache/edgebench/jobs").glob("*/journal.jsonl"):
        lines = journal.read_bytes().splitlines()
        last = decode(lines[-1]) if lines else None
        found.append(last.outcome if isinstance(last, JobEnded) else "not ended")
    return found


# --- the run --------------------------------------------------------------------------------------


def measure(bench: Bench, boards: list[str], runtime: str) -> Cost:
    """One `bench run` on all of them."""
    command = ["run", "--runtime", runtime, "--precision", ",".join(PRECISIONS[runtime])]
    command += ["--measurement", "quick", "--out", runtime]
    command += [word for name in boards for word in ("--device", name)]
    begun = time.monotonic()
    with (bench.folder / f"{runtime}.log").open("w") as log:
        process = bench.start(*command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begun
    return Cost(process.returncode, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def faults(bench: Bench, boards: list[str], runtime: str) -> list[str]:
    """Cases that are not in the results once with status ok, in words; prints what was tried again."""
    records = json.loads((bench.folder / runtime / "results.json").read_text())["records"]
    found = Counter((record["case"]["device"], record["case"]["precision"]) for record in records)
    wanted = Counter((board, precision) for board in boards for precision in PRECISIONS[runtime])
    wrong = [f"{' '.join(case)}: {found[case]} records" for case in found | wanted if found[case] != 1]
    for record in records:
        name = f"{record['case']['device']} {record['case']['precision']}"
        if record["status"] != "ok":
            wrong.append(f"{name}: {record['failure']}")
        for attempt in record["attempts"]:
            print(f"   {name} was tried again: {attempt['failure']['message']}")
    return wrong


def show(name: str, text: str, reached: bool = True) -> bool:
    """One line of the result."""
    print(f"{name:27} {text:70} {'ok' if reached else 'NOT reached'}", flush=True)
    return reached


def run(bench: Bench, boards: list[str], runtime: str) -> bool:
    """Measure with a runtime and judge what came out."""
    begun_with = {board: len(jobs_on(bench, board)) for board in boards}
    with Watched(bench) as watched:
        cost = measure(bench, boards, runtime)
    if cost.status not in (0, 3):
        print((bench.folder / f"{runtime}.log").read_text()[-2000:])
        return show(f"{runtime}", f"bench run ended with status {cost.status}", False)
    wrong = faults(bench, boards, runtime)
    jobs = {board: jobs_on(bench, board) for board in boards}
    new = {board: len(jobs[board]) - begun_with[board] for board in boards}
    many = [f"{board}: {new[board]} jobs" for board in boards if new[board] != len(PRECISIONS[runtime])]
    many += [f"{board}: a job is {end}" for board in boards for end in jobs[board] if end != "ok"]
    cores, total = cost.cpu_s / cost.wall_s, len(boards) * len(PRECISIONS[runtime])
    for words in (*wrong, *many):
        print(f"   {words}")
    return all(
        [
            show(f"{runtime}, every case once", f"{total} cases in {cost.wall_s:.0f} s", not wrong),
            show("one job a case on its board", f"{sum(new.values())} jobs", not many),
            show("boards' memory", f"{watched.all_mb:.0f} MB at most, {watched.one_mb:.0f} MB the largest"),
            show(
                "controller, peak memory",
                f"{cost.peak_mb:.0f} MB (goal {MEMORY_GOAL_MB:.0f})",
                cost.peak_mb < MEMORY_GOAL_MB,
            ),
            show(
                "controller, mean processor",
                f"{cores:.2f} cores, {1000 * cost.cpu_s / total:.0f} ms a case (goal {CORES_GOAL} cores)",
                cores < CORES_GOAL,
            ),
        ]
    )


def campaign(bench: Bench, count: int, with_onnxruntime: int) -> bool:
    """Boards up, both runs."""
    begun = time.monotonic()
    boards = boards_up(bench, count)
    up_s = time.monotonic() - begun
    idle = memory_mb(bench)
    words = f"{len(boards)} in {up_s:.1f} s, idle with {sum(idle.values()):.0f} MB"
    reached = show("boards up", words, len(boards) == count)
    emulated = [board for board in boards if not board.startswith("nano")][:with_onnxruntime]
    for board in emulated:
        begun = time.monotonic()
        bench.ask("device", "setup", board, "--runtime", "onnxruntime", "--yes")
        show("onnxruntime set up", f"{board} in {time.monotonic() - begun:.0f} s")
    reached &= run(bench, boards, "null")
    return run(bench, emulated, "onnxruntime") and reached if emulated else reached


def main() -> None:
    """Up, measured, down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=30)
    parser.add_argument("--onnxruntime", type=int, default=2, metavar="K", help="boards that get it")
    asked = parser.parse_args()
    why = missing(*KINDS)
    if why is not None:
        print(f"no virtual boards: {why}")
        return
    count = affordable(asked.boards, asked.onnxruntime)
    with tempfile.TemporaryDirectory(prefix="many-boards-") as name:
        bench = Bench(Path(name))
        try:
            reached = campaign(bench, count, asked.onnxruntime)
        finally:
            begun = time.monotonic()
            bench.ask("lab", "down")
            left = left_of(bench.lab)
            down = f"{time.monotonic() - begun:.1f} s, left: {', '.join(left) or 'nothing'}"
            gone = show("boards down", down, not left)
    sys.exit(0 if reached and gone else 1)


if __name__ == "__main__":
    main()
