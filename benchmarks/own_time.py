#!/usr/bin/env python3
"""How long a `bench run` takes beyond its timed loops, everything being cached; and the agent's size.

Own time is the wall time of the whole command less the seconds of the timed loops (warm-up counts as own).
The goal is 1.5 s per device plus 0.5 s per repetition. Runs on this machine and, where OpenSSH's server is
installed, over SSH on loopback.

    python benchmarks/own_time.py [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.link.agent_archive import agent_archive
from tests.openssh import OpenSshServer, missing

BENCH = Path(sys.executable).with_name("bench")
DEVICE_S, REPETITION_S = 1.5, 0.5
RUNTIMES = ("--runtime", "onnxruntime,tflite")


def own_time(folder: Path, environment: dict[str, str], *options: str) -> tuple[float, int]:
    """Own seconds and number of repetitions of one run."""
    begun = time.perf_counter()
    done = subprocess.run(
        [BENCH, "run", *RUNTIMES, "--out", "out", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - begun
    if done.returncode != 0:
        raise SystemExit(done.stderr + done.stdout)
    repetitions = [
        repetition
        for record in json.loads((folder / "out" / "results.json").read_text())["records"]
        for repetition in record["repetitions"]
    ]
    return wall - sum(repetition["loop_s"] for repetition in repetitions), len(repetitions)


def show(name: str, folder: Path, environment: dict[str, str], runs: int, *options: str) -> None:
    """Print one line: the median over `runs` after a first run that fills the caches."""
    own_time(folder, environment, *options)
    figures = [own_time(folder, environment, *options) for _ in range(runs)]
    count = figures[0][1]
    goal = DEVICE_S + REPETITION_S * count
    own = statistics.median(seconds for seconds, _ in figures)
    print(
        f"{name:28} {count:3} repetitions   own time {own:6.2f} s   goal {goal:5.2f} s   "
        f"ratio {own / goal:.2f}   {'ok' if own <= goal else 'NOT reached'}"
    )


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    size = len(agent_archive().content)
    print(f"agent archive {size} bytes (goal 250000)   {'ok' if size < 250_000 else 'NOT reached'}")
    cases = {
        "one case": ("--precision", "fp32", "--runtime", "onnxruntime"),
        "eight cases": (),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {
            **os.environ,
            "EDGEBENCH_CACHE_DIR": f"{name}/cache",
            "EDGEBENCH_CONFIG_DIR": f"{name}/config",
        }
        for words, options in cases.items():
            for profile in ("quick", "standard"):
                show(
                    f"local, {words}, {profile}",
                    folder,
                    environment,
                    runs,
                    "--measurement",
                    profile,
                    *options,
                )
        if missing():
            print(f"over SSH: left out ({missing()})")
            return
        with OpenSshServer() as server:
            python = os.environ.get(
                "EDGEBENCH_TEST_PYTHONS", f"/var/tmp/edgebench-test-pythons-{os.getuid()}"
            )
            add = [BENCH, "device", "add", "board", server.destination, "--identity", server.identity]
            add += ["--python", f"{python}/python-3.11", "--host-key", server.fingerprint()]
            subprocess.run(add, cwd=folder, env=environment, check=True, capture_output=True)
            for words, options in cases.items():
                over = ("--device", "board", "--measurement", "quick", *options)
                show(f"ssh, {words}, quick", folder, environment, runs, *over)


if __name__ == "__main__":
    main()
