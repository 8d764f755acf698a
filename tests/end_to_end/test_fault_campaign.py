"""The fault campaign's short part: cuts and kills where an event says so, one for each phase of a run.

benchmarks/fault_campaign.py draws many more.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.errors import BenchError
from tests.faults.link_proxy import Bytes, LinkProxy, Strike
from tests.faults.struck_boards import StruckBoard, nano
from tests.faults.struck_runs import ITERATIONS, REPETITIONS, StruckRun
from tests.faults.whole import Told, told, violations
from tests.openssh import missing

pytestmark = pytest.mark.e2e


@dataclass
class Place:
    """A board behind a link, and what an undisturbed run on it says."""

    board: StruckBoard
    link: LinkProxy
    cache: Path
    expected: Told
    number: int = 1

    def run(self, *precisions: str) -> StruckRun:
        self.number += 1
        self.link.start_over([])
        options = ("--runtime", "tensorrt", "--precision", ",".join(precisions), "--performance-mode", "max")
        return StruckRun(replace(self.board, options=options), self.link, self.number, self.cache)

    def expects(self, *precisions: str) -> Told:
        return Told({precision: self.expected.cases[precision] for precision in precisions})


@pytest.fixture(scope="module")
def place(shared_cache: Path) -> Iterator[Place]:
    why = missing()
    if why is not None:
        pytest.skip(why)
    try:
        board = nano()
        with board as struck, LinkProxy(struck.host, struck.port) as link:
            with StruckRun(struck, link, 1, shared_cache) as run:
                run.start()
                assert run.wait() == 0, run.said.read_text()
                expected = told(run)
            yield Place(struck, link, shared_cache, expected)
    except BenchError as error:
        pytest.skip(error.message)


def told_by_jobs(run: StruckRun) -> list[str]:
    """Kinds of the events in all journals, those of one job after the other."""
    return [str(event["type"]) for _, events in run.board.jobs(run.number).values() for event in events]


def wait_for(run: StruckRun, condition: Callable[[], bool]) -> None:
    """Until it is so; the run has to be going on meanwhile."""
    while not condition():
        assert run.running is not None
        assert run.running.poll() is None, run.said.read_text()
        time.sleep(0.01)


def test_an_undisturbed_run_says_what_the_others_are_compared_with(place: Place) -> None:
    assert sorted(place.expected.cases) == ["fp16", "fp32"]
    for case in place.expected.cases.values():
        assert (case["status"], case["latencies"], case["computes"]) == (
            "ok",
            ITERATIONS * REPETITIONS,
            ITERATIONS * REPETITIONS,
        )
        assert (case["accuracy"]["n"], case["repetitions"]) == (450, REPETITIONS)


#: By bytes sent: in the handshake, in the midst of the agent (it has some 180 kB) and of the model (1.8 MB).
BY_BYTES = (
    Strike("rst", Bytes("up", 700)),
    Strike("fin", Bytes("up", 60_000)),
    Strike("rst", Bytes("up", 1_000_000)),
)

#: By what a job has told last: the engine is being built, a repetition measured, its outputs proved; the job
#: has ended and its results are being fetched.
BY_EVENTS = (
    ("performance_mode", Strike("refuse", seconds=0.3)),
    ("repetition_started", Strike("fin")),
    ("samples", Strike("rst")),
    ("ended", Strike("rst")),
)


def test_a_link_that_breaks_once_in_every_phase_changes_nothing(place: Place) -> None:
    with place.run("fp32") as run:
        place.link.strikes = list(BY_BYTES)
        run.start()
        for kind, strike in BY_EVENTS:
            wait_for(run, lambda kind=kind: kind in told_by_jobs(run))  # type: ignore[misc]
            # The cut before may still be in its pause; a link that is not there cannot be cut.
            wait_for(run, lambda strike=strike: place.link.strike(strike))  # type: ignore[misc]
        status = run.wait()
        assert place.link.strikes == []
        assert place.link.connections == 1 + len(BY_BYTES) + len(BY_EVENTS)
        assert violations(run, status, place.expects("fp32")) == []


def test_a_controller_that_is_killed_again_and_again_is_resumed_to_the_same_end(place: Place) -> None:
    with place.run("fp32", "fp16") as run:
        moments: tuple[Callable[[], bool], ...] = (
            lambda: "repetition_started" in told_by_jobs(run),
            lambda: len(run.board.jobs(run.number)) == 2,
            lambda: (run.folder / "out/results.json").exists(),
        )
        for again, moment in enumerate(moments):
            run.start(resume=again > 0)
            wait_for(run, moment)
            assert run.kill(with_children=again % 2 == 0)
        assert not run.ended()  # the report was not written yet
        run.start(resume=True)
        assert violations(run, run.wait(), place.expects("fp32", "fp16")) == []


def test_a_laptop_whose_lid_was_shut_while_its_job_ended_fetches_the_results(place: Place) -> None:
    with place.run("fp32") as run:
        run.start()
        wait_for(run, lambda: "repetition_started" in told_by_jobs(run))
        assert run.running is not None
        run.running.send_signal(signal.SIGSTOP)
        wait_for(run, lambda: "ended" in told_by_jobs(run))
        place.link.strike(Strike("silent"))  # whom nobody answers, routers and boards forget
        over = threading.Timer(0.5, place.link.hang_up)
        over.start()
        run.running.send_signal(signal.SIGCONT)
        status = run.wait()
        over.join()
        assert violations(run, status, place.expects("fp32")) == []
