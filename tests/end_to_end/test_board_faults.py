"""Everything that can happen to a board, to each its own virtual board, in one run over real SSH.

One run measures on all of them at once, so that every fault is beside boards that are in order. While it goes
on, boards lose their power, and the clock of this computer jumps.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.lab.lab import Lab
from tests.end_to_end.agent_processes import becomes_true
from tests.end_to_end.boards import only_failure
from tests.end_to_end.faulty_boards import WORKSPACE, FaultyBoard, clock_library
from tests.end_to_end.test_resume import read_until
from tests.end_to_end.test_virtual_boards import LabPlace
from tests.end_to_end.workplace import Workplace
from tests.interpreters import interpreter
from tests.interpreters import missing as no_interpreter
from tests.virtual_boards import ROOTS, left_of, missing

#: The first test waits for twenty boards that share this machine's cores.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

RUN = ("run", "--runtime", "null", "--precision", "fp32", "--measurement", "quick", "--out", "out")

#: What the null runtime of each board does; those of the second kind are Raspberry Pis, under QEMU.
NANOS = {
    "good": "none", "segfaults": "segfaults", "babbles": "babbles", "garbage": "garbage",
    "fills": "fills disk", "fills-journal": "fills disk and hangs", "no-room": "none", "newer": "none",
    "older": "none", "disorder": "none", "gigabyte": "none", "paths": "none", "jumps": "clock jumps",
    "gone": "waits", "rekeyed": "none",
    "forgets": "waits", "hangs": "hangs", "stops-a": "waits", "stays": "none",
}  # fmt: skip
PIS = {"reboots": "hangs once", "newer-code": "runs sdot", "hungry": "eats memory", "stops-b": "waits"}

#: Of those that fail: class, reason, a part of the message, a part of the remedy, attempts before.
FAILURES = {
    "segfaults": ("runtime", "crashed", "the worker died of SIGSEGV", "another version of the runtime", 0),
    "newer-code": ("runtime", "illegal_instruction", "built for a newer processor", "install a version", 0),
    "hungry": ("runtime", "out_of_memory", "the kernel killed the worker for lack of memory", "smaller", 0),
    "garbage": (
        "infrastructure",
        "protocol",
        "the worker wrote to the agent's channel",
        "another version",
        2,
    ),
    "fills": ("infrastructure", "disk_full", "No space left on device", "free space on the board", 0),
    "fills-journal": ("infrastructure", "disk_full", "No space left on device", "free space on the board", 0),
    "no-room": ("infrastructure", "disk_full", "no space for the agent", "free some space on the board", 0),
    "newer": ("infrastructure", "protocol_mismatch", "its agent speaks protocol 99", "update edgebench", 0),
    "older": ("infrastructure", "protocol_mismatch", "its agent speaks protocol 1", "remove the agent's", 0),
    "disorder": ("infrastructure", "bad_result", "without a single sample", "", 2),
    "gigabyte": ("infrastructure", "bad_protocol", "a line of more than", "", 2),
    "paths": ("infrastructure", "bad_result", "is not the name of a result file", "", 2),
    "rekeyed": ("infrastructure", "host_key_changed", "host key", "bench device add rekeyed", 0),
}

#: Of those that are measured in the end: the reasons of the attempts before.
MEASURED = {"good": [], "babbles": [], "jumps": [], "reboots": ["board_restarted"], "forgets": ["job_lost"]}

#: Boards whose agents tell a spoiled journal.
SPOILED = ("disorder", "gigabyte", "paths")

HOSTILE_NAME = "<script>alert(1)</script>\x1b[31mNano"


@dataclass
class Farm:
    """All boards and the run over them."""

    place: LabPlace
    boards: dict[str, FaultyBoard]
    running: subprocess.Popen[str]
    said: str | None = None

    def finish(self) -> str:
        """Wait for the run's end; what it said."""
        if self.said is None:
            _, self.said = self.running.communicate(timeout=280)
        return self.said

    def record(self, name: str) -> dict[str, Any]:
        """The record of that board's one case."""
        self.finish()
        (record,) = [r for r in self.place.results()["records"] if r["case"]["device"] == name]
        return record


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabPlace]:
    why = missing("pi4", "nano") or (None if interpreter("3.6") else no_interpreter("3.6"))
    why = why or (None if shutil.which("gcc") else "gcc is missing, which makes the clock that jumps")
    if why is not None:
        pytest.skip(f"no faulty boards: {why}")
    place = LabPlace(tmp_path_factory.mktemp("faults"))
    yield place
    assert place.bench("lab", "down").status == 0
    assert left_of(place.lab) == []


@pytest.fixture(scope="module")
def farm(place: LabPlace) -> Iterator[Farm]:
    """The run, begun; boards lose their power once their jobs have."""
    boards = _boards(place)
    clock = clock_library(place.folder)
    _make_faults(place, boards, clock)
    offset = place.folder / "clock_offset"
    place.environment |= {"LD_PRELOAD": str(clock), "CLOCK_OFFSET": str(offset)}
    devices = [word for name in (*FAILURES, *MEASURED) for word in ("--device", name)]
    farm = Farm(place, boards, place.start(*RUN, *devices))
    for name in ("LD_PRELOAD", "CLOCK_OFFSET"):
        del place.environment[name]
    try:
        _disturb(place, boards, offset)
        yield farm
    finally:
        farm.running.kill()
        farm.finish()


def _boards(place: LabPlace) -> dict[str, FaultyBoard]:
    place.up("nano", "--count", str(len(NANOS)))
    place.up("pi4", "--count", str(len(PIS)))
    lab = Lab(place.lab, ROOTS, lambda _words: None)
    found: dict[str, FaultyBoard] = {}
    for kind, faults in (("nano", NANOS), ("pi4", PIS)):
        there = [board for board in lab.boards() if board.kind.name == kind]
        for (name, fault), board in zip(faults.items(), there, strict=True):
            found[name] = FaultyBoard(lab, board)
            found[name].prepare(fault, spoiled=name if name in SPOILED else None)
            found[name].enrol(place, name)
    return found


def restart(place: LabPlace, board: FaultyBoard) -> None:
    """Power off and on."""
    done = place.bench("lab", "restart", board.board.name)
    assert done.status == 0, done.err


def _make_faults(place: LabPlace, boards: dict[str, FaultyBoard], clock: Path) -> None:
    boards["jumps"].put("home/bench/clock.so", clock.read_bytes())
    boards["newer"].put_agent(protocol=99)
    boards["older"].put_agent(protocol=1)
    boards["no-room"].small_disk("64k")
    for name in ("fills", "fills-journal"):
        boards[name].small_disk("24m")
    boards["hungry"].limit_memory(400 << 20)
    boards["rekeyed"].new_host_key()
    restart(place, boards["rekeyed"])
    (model,) = (boards["babbles"].board.folder / "stand-ins").rglob("devicetree/base/model")
    model.write_text(HOSTILE_NAME)


def _disturb(place: LabPlace, boards: dict[str, FaultyBoard], clock_offset: Path) -> None:
    """Once the jobs are under way."""
    for name in ("forgets", "reboots"):
        assert becomes_true(lambda name=name: boards[name].has("reached"), 240), name
        if name == "forgets":
            boards[name].fault("none")
        restart(place, boards[name])
    clock_offset.write_text("18000")
    time.sleep(1)
    clock_offset.write_text("-18000")


# --- while that run goes on -----------------------------------------------------------------------


def test_ctrl_c_reaches_the_boards_and_leaves_them_as_they_were(farm: Farm, tmp_path: Path) -> None:
    boards = {name: farm.boards[name] for name in ("stops-a", "stops-b")}
    policy = boards["stops-b"].board.folder / "stand-ins/cpu/cpufreq/policy0"
    for path in policy.iterdir():
        path.chmod(0o666)
    workplace = Workplace(tmp_path, tmp_path / "cache")
    for name, board in boards.items():
        board.enrol(workplace, name)
    devices = [word for name in boards for word in ("--device", name)]
    running = workplace.start(*RUN, "--performance-mode", "max", *devices)
    for board in boards.values():
        assert becomes_true(lambda board=board: board.has("reached"), 240)
    assert (policy / "scaling_governor").read_text() == "performance"
    assert [board.is_free() for board in boards.values()] == [False, False]

    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted; go on with the same command and --resume" in said
    for board in boards.values():
        assert becomes_true(lambda board=board: board.agents() == [], 20), board.agents()
    assert [board.is_free() for board in boards.values()] == [True, True]
    assert (policy / "scaling_governor").read_text() == "ondemand"
    assert workplace.results()["records"] == []


def test_a_board_that_is_gone_for_good_can_be_left_and_measured_another_day(
    farm: Farm, tmp_path: Path
) -> None:
    gone, workplace = farm.boards["gone"], Workplace(tmp_path, tmp_path / "cache")
    for name in ("gone", "stays"):
        farm.boards[name].enrol(workplace, name)
    devices = ("--device", "gone", "--device", "stays")
    running = workplace.start(*RUN, *devices)
    assert becomes_true(lambda: gone.has("reached"), 240)
    gone.board.cut_power()
    read_until(running, "1/2 ")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    (record,) = workplace.results()["records"]
    assert (record["case"]["device"], record["status"], record["attempts"]) == ("stays", "ok", [])

    gone.fault("none")
    restart(farm.place, gone)
    done = workplace.bench(*RUN, *devices, "--resume")
    assert done.status == 0, done.err
    assert "1 case is finished already" in done.err
    after = {record["case"]["device"]: record for record in workplace.results()["records"]}
    assert after["stays"] == record
    assert after["gone"]["status"] == "ok"


def test_a_job_that_hangs_is_ended_at_its_deadline_and_the_board_is_free_again(
    farm: Farm, tmp_path: Path
) -> None:
    workplace = Workplace(tmp_path, tmp_path / "cache")
    farm.boards["hangs"].enrol(workplace, "hangs")
    failure = only_failure(workplace, workplace.bench(*RUN, "--deadline", "3", "--device", "hangs"))
    assert (failure["class"], failure["reason"]) == ("timeout", "deadline")
    assert failure["message"] == "the job took longer than its 3 s"
    assert "look why the board hangs" in failure["remedy"]
    assert farm.boards["hangs"].is_free()


# --- once it has ended ----------------------------------------------------------------------------


def test_the_run_ends_with_3_and_tells_every_failure_without_a_traceback(farm: Farm) -> None:
    said = farm.finish()
    assert farm.running.returncode == 3, said
    assert "Traceback" not in said
    records = farm.place.results()["records"]
    assert {r["case"]["device"]: r["status"] for r in records} == {
        **dict.fromkeys(FAILURES, "failed"),
        **dict.fromkeys(MEASURED, "ok"),
    }


@pytest.mark.parametrize("name", FAILURES)
def test_a_fault_that_stays_is_named_and_says_what_to_do(farm: Farm, name: str) -> None:
    record = farm.record(name)
    failure_class, reason, words, remedy, attempts = FAILURES[name]
    failure = record["failure"]
    assert (failure["class"], failure["reason"]) == (failure_class, reason), failure
    assert words in failure["message"]
    assert remedy in (failure["remedy"] or "")
    assert len(record["attempts"]) == attempts, record["attempts"]


@pytest.mark.parametrize("name", MEASURED)
def test_boards_beside_them_and_faults_that_can_be_overcome_are_measured(farm: Farm, name: str) -> None:
    record = farm.record(name)
    assert record["status"] == "ok", record["failure"]
    assert [attempt["failure"]["reason"] for attempt in record["attempts"]] == MEASURED[name]
    assert record["job_id"].endswith(f"-{len(MEASURED[name])}")
    assert record["latency_ms"]["count"] > 0


def test_a_restart_is_told_with_the_boot_ids_of_before_and_after(farm: Farm) -> None:
    (attempt,) = farm.record("reboots")["attempts"]
    now = (farm.boards["reboots"].board.folder / "stand-ins/boot_id").read_text().strip()
    assert "the board restarted during the job: its boot id was " in attempt["failure"]["message"]
    assert attempt["failure"]["message"].endswith(f" and is {now}")


def test_no_board_is_left_with_an_agent_at_work_or_its_lock_held(farm: Farm) -> None:
    farm.finish()
    for name, board in farm.boards.items():
        assert becomes_true(lambda board=board: board.agents() == [], 10), name
    assert [name for name, board in farm.boards.items() if not board.is_free()] == []


def test_what_boards_say_reaches_neither_the_terminal_nor_the_report_as_more_than_text(farm: Farm) -> None:
    assert farm.record("babbles")["facts"]["board"] == HOSTILE_NAME
    assert "\x1b" not in farm.finish()
    report = (farm.place.folder / "out/report.html").read_text()
    assert "<script>alert" not in report
    assert "\x1b" not in report


def test_a_flood_on_fd_1_is_kept_off_the_boards_disk(farm: Farm) -> None:
    farm.finish()
    logs = list((farm.boards["babbles"].root / WORKSPACE / "jobs").glob("*/worker-0.log"))
    assert len(logs) == 1
    assert logs[0].stat().st_size < 8 << 20
