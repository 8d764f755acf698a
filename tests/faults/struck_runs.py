"""`bench run` on a board through a link that can be struck, each run with folders of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from harness.store import Store
from reports.record import Record
from tests.end_to_end.boards import write_board
from tests.end_to_end.workplace import BENCH, Workplace
from tests.faults.link_proxy import HOST, LinkProxy
from tests.faults.struck_boards import StruckBoard

#: A run that takes longer is lost: every limit of the product for a silent link is a minute or two.
LONGEST_S = 600.0

#: Exactly so many iterations, whatever the board does meanwhile, so that counts can be compared.
ITERATIONS = 70
REPETITIONS = 2
_MEASUREMENT = f"""\
description = "a fixed number of iterations"
repetitions = {REPETITIONS}
warmup_min_s = 0.0
warmup_max_s = 0.05
min_iterations = {ITERATIONS}
max_iterations = {ITERATIONS}
min_time_s = 0.0
max_time_s = 120.0
median_ci_width = 0.02
"""


class StruckRun:
    """One run: a workplace on this host and a workspace on the board, both gone at the end."""

    def __init__(self, board: StruckBoard, link: LinkProxy, number: int, cache: Path | None) -> None:
        self.board, self.link, self.number = board, link, number
        self.folder = Path(tempfile.mkdtemp(prefix="struck-run-"))
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.cache = cache or self.folder / "cache"
        self.place = Workplace(self.folder, self.cache)
        self.place.environment["TMPDIR"] = str(self.temporary)
        write_board(
            self.place,
            board.name,
            **{**board.fields, "host": HOST, "port": link.port, "workspace": board.workspace(number)},
        )
        (self.folder / "devices.known_hosts").write_text(board.known_hosts)
        (self.folder / "fixed.toml").write_text(_MEASUREMENT)
        self.before = board.settings()
        self.running: subprocess.Popen[bytes] | None = None
        self.said = self.folder / "said.txt"

    def __enter__(self) -> StruckRun:
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take everything away, running or not."""
        self.link.hang_up()
        if self.running is not None and self.running.poll() is None:
            self.kill(with_children=True)
        for pid in self.board.processes(self.number):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.board.forget(self.number)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, *, resume: bool = False) -> None:
        """Begin or go on, as a user would."""
        command = [
            str(BENCH), "run", "--device", self.board.name, "--model", "digits", *self.board.options,
            "--measurement", "fixed.toml", "--out", "out", *(["--resume"] if resume else []),
        ]  # fmt: skip
        with self.said.open("ab") as said:
            self.running = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.place.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def wait(self, within_s: float = LONGEST_S) -> int | None:
        """Its exit status; None where it had to be killed for taking too long."""
        assert self.running is not None
        try:
            return self.running.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill(with_children=True)
            return None

    def wait_shortly(self, within_s: float) -> int:
        """Its exit status; TimeoutError where it is still running after that."""
        assert self.running is not None
        try:
            return self.running.wait(within_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error

    def kill(self, *, with_children: bool) -> bool:
        """SIGKILL to the controller, and to all it has started if asked; False if it had ended."""
        assert self.running is not None
        if self.running.poll() is not None:
            return False
        children = psutil.Process(self.running.pid).children(recursive=True) if with_children else []
        self.running.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.running.wait()
        return True

    # --- what there is of it ----------------------------------------------------------------------

    def runs(self) -> list[tuple[bool, tuple[Record, ...]]]:
        """Whether each run in its database has ended, and its records; the latest first."""
        path = self.folder / "bench-results/bench.sqlite"
        if not path.exists():
            return []
        store = Store.open(path)
        try:
            return [
                (run.finished_at is not None and not run.interrupted, store.results(run.id).records)
                for run in store.runs()
            ]
        finally:
            store.close()

    def ended(self) -> bool:
        """Whether the run has said in its database that it is complete: there is nothing left to resume."""
        runs = self.runs()
        return bool(runs) and runs[0][0]

    def host_processes(self) -> dict[int, str]:
        """What runs on this host for it, beside the controller itself."""
        found = {}
        for process in psutil.process_iter(["pid", "cmdline"]):
            with suppress(psutil.Error):
                if process.environ().get("TMPDIR") == str(self.temporary):
                    found[process.pid] = " ".join(process.info["cmdline"] or [])
        return found


def becomes_empty(look: object, within_s: float) -> object:
    """What `look` (a call) still gives after so long, or its empty answer as soon as it is that."""
    assert callable(look)
    give_up = time.monotonic() + within_s
    while (found := look()) and time.monotonic() < give_up:
        time.sleep(0.1)
    return found
