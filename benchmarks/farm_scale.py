#!/usr/bin/env python3
"""What one controller costs with many boards: wall time, memory, processor; and every case recorded once.

The demo model's cases are measured once, for real, on this machine. Their journals and result files are what
the stand-ins then play, each job stretched to --seconds with telemetry every second: their work is waiting,
so that they leave this machine's cores to the controller. All else is the product: transport, deployment,
sessions, preparation, records, database, and the display on a terminal that nobody sees. All boards have the
same work, so all of them end their jobs in the same moment: a mixed farm is easier.

Goals: wall time at most 1.15 x the longest board's own time plus start-up (what a campaign of one such board
and one case takes beyond that), the controller's peak memory below 600 MB, its mean processor use below half
a core. The stand-ins' own processes take part in the wall time, as boards over SSH would not.

    python benchmarks/farm_scale.py [--boards 200] [--cases 3] [--seconds 30] [--hanging 0]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from convert.workshop import Workshop
from device_agents.protocol import JobEnded, TelemetrySample, decode, encode
from harness.campaign import Campaign, CampaignSettings
from harness.commands import console
from harness.commands.progress_display import ProgressDisplay
from harness.errors import Unreachable
from harness.link.device_session import DeviceSession
from harness.link.local import LocalTransport
from harness.models import find_models
from harness.places import toolchains_home
from harness.plan import PlannedCase
from harness.preparation import Preparation
from harness.records.case_records import now
from harness.store import Store
from profiles.measurement import measurement_profile
from reports.record import Case, Run

STAND_IN = Path(__file__).with_name("stand_in_board.sh")
PRECISIONS = ("fp32", "int8", "int8-dynamic", "fp16")
RUNTIME = "onnxruntime"

#: What a login shell gives a process on most systems.
OPEN_FILES = 1024
#: How long a board that hangs keeps its controller waiting before it is given up.
HANG_S = 20.0

WALL_GOAL, MEMORY_GOAL_MB, CORES_GOAL = 1.15, 600.0, 0.5


def planned_cases(device: str, count: int) -> list[PlannedCase]:
    """The first `count` precisions of the demo model on a board."""
    model = find_models(["digits"])[0]
    return [
        PlannedCase(Case(device, model.name, RUNTIME, precision), model, True, True)
        for precision in PRECISIONS[:count]
    ]


def run_campaign(folder: Path, planned: list[PlannedCase], measurement: str, opener, observer) -> Store:
    """One run of the product's own campaign, with a new database in `folder`."""
    store = Store.open(folder / "bench.sqlite")
    store.begin(Run("scale", now(), "benchmark", ("farm_scale",)), "digest")
    preparation = Preparation(Workshop(folder / "host", toolchains_home()))
    settings = CampaignSettings("scale", measurement_profile(measurement), 3600.0)
    if not Campaign(settings, store, preparation, opener, observer).run(planned, frozenset()):
        raise SystemExit("the campaign was interrupted")
    return store


# --- what the stand-ins play ----------------------------------------------------------------------


def record(folder: Path, count: int, measurement: str, seconds: float) -> None:
    """Measure the cases here and leave `tapes/` of them; fills the host's caches on the way."""
    workspace = folder / "real"

    def opened(name: str) -> DeviceSession:
        return DeviceSession(
            LocalTransport(name), python=sys.executable, workspace=str(workspace), lease="scale"
        )

    with ProgressDisplay(count) as display:
        planned = planned_cases("local", count)
        store = run_campaign(folder, planned, measurement, opened, display)
    records = store.results("scale").records
    store.close()
    (folder / "bench.sqlite").unlink()
    if any(kept.status != "ok" for kept in records):
        raise SystemExit("the demo model could not be measured here")
    tapes = folder / "tapes"
    tapes.mkdir()
    (tapes / "probe").write_bytes(encode(opened("local").open([RUNTIME])))
    for kept in records:
        job = workspace / "jobs" / str(kept.job_id)
        tape = tapes / kept.case.precision
        shutil.copytree(job / "result", tape / "result")
        lines = (job / "journal.jsonl").read_bytes().splitlines(keepends=True)
        (tape / "journal").write_bytes(stretched(lines, seconds))


def stretched(lines: list[bytes], seconds: float) -> bytes:
    """A journal as lines of "MILLISECONDS EVENT": its events in their order, and telemetry every second."""
    events = [decode(line) for line in lines]
    running = [e for e in events if isinstance(e, TelemetrySample) and e.phase == "running"]
    others = [e for e in events if e not in running]
    assert isinstance(others[-1], JobEnded)
    sample = running[0] if running else next(e for e in events if isinstance(e, TelemetrySample))
    timed = [(seconds * i / (len(others) - 1), event) for i, event in enumerate(others)]
    timed += [(float(second), sample._replace(phase="running")) for second in range(1, int(seconds))]
    timed.sort(key=lambda pair: pair[0])
    return b"".join(f"{int(1000 * at)} ".encode() + encode(event) for at, event in timed)


# --- one campaign, measured -----------------------------------------------------------------------


class Hanging:
    """A board that takes connections and says nothing for HANG_S."""

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, _command: object) -> object:
        """Nothing comes of it."""
        time.sleep(HANG_S)
        raise Unreachable(f"{self.name}: does not answer", "look at it")

    def close(self) -> None:
        """Nothing to hang up."""


class Watched(ProgressDisplay):
    """The display of `bench run`, which also notes when boards had answered and cases had begun."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.began = time.monotonic()
        self.ready_s: list[float] = []
        self.first_case_s: dict[str, float] = {}

    def device_ready(self, device: str, description: str) -> None:
        """One more."""
        self.ready_s.append(time.monotonic() - self.began)
        super().device_ready(device, description)

    def case_started(self, case: Case) -> None:
        """The first of a board."""
        self.first_case_s.setdefault(case.device, time.monotonic() - self.began)
        super().case_started(case)


def measure(folder: Path, boards: int, hanging: int, count: int, seconds: float) -> dict[str, float]:
    """Run `boards` stand-ins in this process; its figures."""
    nowhere = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    console.err = Console(file=nowhere, force_terminal=True, width=100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    names = [f"board-{number:03}" for number in range(boards)]
    lost = [f"hanging-{number:03}" for number in range(hanging)]

    def opened(name: str) -> DeviceSession:
        transport = Hanging(name) if name in lost else LocalTransport(name)
        return DeviceSession(transport, python=str(STAND_IN), workspace=str(folder / name), lease="scale")

    planned = [item for name in [*lost, *names] for item in planned_cases(name, count)]
    threads = Peak(threading.active_count)
    usage, begun = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    with ProgressDisplay(0), threads, Watched(len(planned)) as display:
        store = run_campaign(folder, planned, "standard", opened, display)
    wall = time.monotonic() - begun
    spent = resource.getrusage(resource.RUSAGE_SELF)
    records = store.results("scale").records
    accepted = Counter(job for name in names for job in (folder / name / "accepted").read_text().splitlines())
    store.close()
    return {
        "wall_s": wall,
        "own_s": seconds * count,
        "cpu_s": spent.ru_utime + spent.ru_stime - usage.ru_utime - usage.ru_stime,
        "peak_mb": peak_rss_mb(),
        "threads": threads.value,
        "last_ready_s": max(display.ready_s, default=0.0),
        "first_case_s": min(display.first_case_s.values(), default=0.0),
        "last_first_case_s": max(display.first_case_s.values(), default=0.0),
        "records": len(records),
        "ok": sum(kept.status == "ok" for kept in records),
        "tried_again": sum(bool(kept.attempts) for kept in records),
        "jobs": len(accepted),
        "jobs_twice": sum(times > 1 for times in accepted.values()),
    }


class Peak:
    """The largest of a figure, looked at twice a second."""

    def __init__(self, figure) -> None:
        self._figure, self._done = figure, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.value = 0

    def _run(self) -> None:
        while not self._done.wait(0.5):
            self.value = max(self.value, self._figure())

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def peak_rss_mb() -> float:
    """VmHWM of this process: ru_maxrss would be that of whoever started it, if that is more."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("the kernel does not say VmHWM")


# --- the whole ------------------------------------------------------------------------------------


def in_a_fresh_process(*arguments: object) -> dict[str, float]:
    """What a step of this script prints, run where nothing was imported or measured before."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, arguments))}: ended with status {done.returncode}")
    return json.loads(done.stdout or "{}")


def show(name: str, text: str, reached: bool) -> bool:
    """One line of the result."""
    print(f"{name:27} {text:66} {'ok' if reached else 'NOT reached'}")
    return reached


def judge(one: dict[str, float], all_: dict[str, float], boards: int, cases: int) -> bool:
    """Print what came out against the goals; whether all are reached."""
    startup, wall, own = one["wall_s"] - one["own_s"], all_["wall_s"], all_["own_s"]
    wanted, cores = boards * cases, all_["cpu_s"] / all_["wall_s"]
    print(f"one board alone: {one['wall_s']:.1f} s, of them start-up {startup:.1f} s")
    print(f"{boards} boards: {all_['threads']:.0f} threads at most; the last answered after", end=" ")
    print(f"{all_['last_ready_s']:.1f} s; first jobs began from {all_['first_case_s']:.1f} s", end=" ")
    print(f"to {all_['last_first_case_s']:.1f} s")
    time_ = f"{wall:.1f} s = {(wall - startup) / own:.3f} x own {own:.0f} s + start-up (goal {WALL_GOAL})"
    memory = f"{all_['peak_mb']:.0f} MB (goal {MEMORY_GOAL_MB:.0f})"
    cpu = f"{cores:.2f} cores, {1000 * all_['cpu_s'] / wanted:.0f} ms a case (goal {CORES_GOAL} cores)"
    once = f"{all_['ok']:.0f} of {wanted} ok, {all_['tried_again']:.0f} tried again, "
    once += f"{all_['jobs']:.0f} jobs, {all_['jobs_twice']:.0f} twice"
    return all(
        [
            show("wall time", time_, wall <= WALL_GOAL * own + startup),
            show("controller, peak memory", memory, all_["peak_mb"] < MEMORY_GOAL_MB),
            show("controller, mean processor", cpu, cores < CORES_GOAL),
            show("every case once", once, all_["ok"] == all_["jobs"] == wanted and not all_["jobs_twice"]),
        ]
    )


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=200)
    parser.add_argument(
        "--cases", type=int, default=3, choices=range(1, len(PRECISIONS) + 1), help="per board"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="how long a case takes on its board")
    parser.add_argument("--measurement", default="standard", help="profile of the recorded cases")
    parser.add_argument("--hanging", type=int, default=0, help=f"boards more that hang for {HANG_S:g} s")
    parser.add_argument("--step", choices=("record", "measure"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Record, then one board, then all."""
    asked = arguments()
    if asked.step == "record":
        record(asked.folder, asked.cases, asked.measurement, asked.seconds)
        return
    if asked.step == "measure":
        print(json.dumps(measure(asked.folder, asked.boards, asked.hanging, asked.cases, asked.seconds)))
        return
    with tempfile.TemporaryDirectory(prefix="farm-scale-") as name:
        folder = Path(name)
        common = ("--folder", folder, "--seconds", asked.seconds)
        recorded = ("--cases", asked.cases, "--measurement", asked.measurement)
        in_a_fresh_process("--step", "record", *recorded, *common)
        one = in_a_fresh_process("--step", "measure", "--boards", 1, "--cases", 1, *common)
        shutil.rmtree(folder / "board-000")
        (folder / "bench.sqlite").unlink()
        every = ("--boards", asked.boards, "--hanging", asked.hanging, "--cases", asked.cases)
        all_ = in_a_fresh_process("--step", "measure", *every, *common)
    sys.exit(0 if judge(one, all_, asked.boards, asked.cases) else 1)


if __name__ == "__main__":
    main()
