"""Runs over several boards: what fails, what is tried again, what is kept. Sessions are played back."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from device_agents.protocol import (
    BlobRef,
    DeviceFacts,
    Event,
    Job,
    JobEnded,
    JobWaiting,
    LeaseReply,
    ProbeReply,
    RepetitionEnded,
    RuntimeStatus,
)
from harness.board_cases import MAX_LEASES_LOST, MAX_RETRIES
from harness.board_options import BoardOptions
from harness.campaign import Campaign, CampaignSettings
from harness.errors import (
    AccessDenied,
    AgentError,
    BenchError,
    CaseError,
    ConversionFailed,
    LeaseLost,
    LinkLost,
    ModelError,
    Unreachable,
    UsageError,
)
from harness.models import BenchModel
from harness.negotiation import ArtifactForm
from harness.plan import PlannedCase
from harness.preparation import Preparation, Workload
from harness.store import Store, case_key
from profiles.devices import device_profile
from profiles.measurement import measurement_profile
from reports.record import Case, Record
from tests.harness.conftest import RUN
from tests.harness.events import FACTS, ResultFiles, beginning, loaded, well

RUN_ID = RUN.id
MS = 1_000_000
AVAILABLE = RuntimeStatus("null", True, "1", None, None, {})

#: What a job tells on its board; an error is raised where it stands.
Play = Sequence[Event | Exception]


@dataclass
class PlayedSession:
    """A board that plays back a job for every one that is submitted."""

    device: str
    folder: Path
    #: Played one after the other; the last one for all jobs that come after.
    plays: list[Play | Callable[[], Iterator[Event]]]
    runtimes: list[RuntimeStatus] = field(default_factory=lambda: [AVAILABLE])
    facts: DeviceFacts = FACTS
    unreachable: CaseError | None = None
    #: Jobs the board knows from an earlier run.
    known: set[str] = field(default_factory=set)
    submitted: list[Job] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    closed: bool = False
    #: What is said each time the board is asked for; it is granted once there is no more.
    leases: list[Iterable[LeaseReply | None]] = field(default_factory=list)
    #: Why jobs are not taken, one after the other.
    refusals: list[CaseError] = field(default_factory=list)
    #: How long each asked to wait.
    asked: list[float] = field(default_factory=list)
    released: int = 0
    #: What has to happen before it answers.
    answers_after: Callable[[], object] = lambda: None

    def open(self, runtimes: Sequence[str], persistence: object) -> ProbeReply:
        self.answers_after()
        if self.unreachable is not None:
            raise self.unreachable
        return ProbeReply(1, self.facts, self.runtimes, "/w", None, None, None)

    def submit(self, job: Job, blobs: object, on_progress: object) -> bool:
        self.submitted.append(job)
        if self.refusals:
            raise self.refusals.pop(0)
        return job.job_id not in self.known

    def follow(self, job_id: str) -> Iterator[Event]:
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        if callable(play):
            yield from play()
            return
        for event in play:
            if isinstance(event, Exception):
                raise event
            yield event

    def fetch(self, job_id: str, files: Sequence[BlobRef], folder: Path) -> None:
        for file in files:
            (folder / file.name).write_bytes((self.folder / file.name).read_bytes())

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def take_lease(self, words: str, wait_s: float) -> Iterator[LeaseReply | None]:
        self.asked.append(wait_s)
        yield from self.leases.pop(0) if self.leases else [LeaseReply("granted")]

    def release_lease(self) -> None:
        self.released += 1

    def close(self) -> None:
        self.closed = True


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *what: self.told.append((name, *what))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [what[1:] for what in self.told if what[0] == name]


class FixedPreparation(Preparation):
    """Makes every workload but those that are said to fail."""

    def __init__(self, failures: dict[str, BenchError]) -> None:
        self._failures = failures

    def workload(
        self, model: BenchModel | None, runtime: str, form: ArtifactForm, batch_size: int
    ) -> Workload:
        if form.precision in self._failures:
            raise self._failures[form.precision]
        return Workload(notes=("shapes were guessed",))


@dataclass
class Lab:
    """Everything a campaign needs, and what came out of it."""

    store: Store
    folder: Path
    notes: Notes = field(default_factory=Notes)
    sessions: dict[str, PlayedSession] = field(default_factory=dict)
    failures: dict[str, BenchError] = field(default_factory=dict)

    def board(self, name: str, *plays: Any, **more: Any) -> PlayedSession:
        self.sessions[name] = PlayedSession(name, self.folder, list(plays) or [self.good()], **more)
        return self.sessions[name]

    def good(self) -> list[Event]:
        """A job that goes well."""
        taken = ResultFiles(self.folder).samples(0, [MS], [MS] * 20, [MS] * 20)
        return [*beginning(), loaded(), taken, *well()]

    def open_session(self, name: str) -> Any:
        return self.sessions[name]

    def run(
        self,
        planned: list[PlannedCase],
        finished: frozenset[str] = frozenset(),
        wait_s: float = 0.0,
        **settings_: Any,
    ) -> bool:
        settings = CampaignSettings(RUN_ID, measurement_profile("quick"), wait_s, **settings_)
        campaign = Campaign(
            settings, self.store, FixedPreparation(self.failures), self.open_session, self.notes
        )
        return campaign.run(planned, finished)

    def records(self) -> dict[Case, Record]:
        return {record.case: record for record in self.store.results(RUN_ID).records}


@pytest.fixture
def lab(tmp_path: Path, store: Store) -> Lab:
    return Lab(store, tmp_path)


def planned(device: str = "pi", asked: bool = False, **changes: Any) -> PlannedCase:
    case = replace(Case(device, "net", "null", "fp32"), **changes)
    return PlannedCase(case, None, runtime_asked=asked, precision_asked=asked)


def failed(reason: str, failure_class: str = "infrastructure") -> list[Event]:
    return [JobEnded(2.0, "failed", failure_class, reason, f"it was {reason}")]


def reasons(record: Record) -> list[str]:
    """Why each attempt failed, the last one included."""
    last = [] if record.failure is None else [record.failure.reason]
    return [attempt.failure.reason for attempt in record.attempts] + last


# --- boards ---------------------------------------------------------------------------------------


def test_a_case_that_goes_well_is_saved_with_its_samples(lab: Lab) -> None:
    session = lab.board("pi")
    item = planned()
    assert lab.run([item])
    (record,) = lab.records().values()
    assert (record.status, record.attempts) == ("ok", ())
    assert record.job_id == session.submitted[0].job_id
    assert lab.store.samples(RUN_ID, item.case)["latency"][0].tolist() == [MS] * 20
    assert session.closed


def test_a_board_that_cannot_be_reached_fails_its_own_cases_only(lab: Lab) -> None:
    lab.board("dead", unreachable=Unreachable("dead: no connection", "switch it on"))
    lab.board("pi")
    cases = [planned("dead", batch_size=1), planned("dead", batch_size=2), planned("pi")]
    assert lab.run(cases)
    outcomes = {(case.device, case.batch_size): reasons(record) for case, record in lab.records().items()}
    assert outcomes == {("dead", 1): ["unreachable"], ("dead", 2): ["unreachable"], ("pi", 1): []}


def test_boards_are_measured_beside_each_other(lab: Lab) -> None:
    """Either job ends only once the other has begun."""
    both = threading.Barrier(2, timeout=10)

    def meet() -> Iterator[Event]:
        both.wait()
        yield from lab.good()

    lab.board("a", meet)
    lab.board("b", meet)
    assert lab.run([planned("a"), planned("b")])
    assert {record.status for record in lab.records().values()} == {"ok"}


def test_the_cases_of_a_board_follow_each_other_in_the_plans_order(lab: Lab) -> None:
    session = lab.board("pi")
    lab.run([planned(batch_size=size) for size in (4, 1, 2)])
    assert [job.batch_size for job in session.submitted] == [4, 1, 2]


def test_what_is_finished_already_is_not_measured_again(lab: Lab) -> None:
    session = lab.board("pi")
    done, todo = planned(batch_size=1), planned(batch_size=2)
    assert lab.run([done, todo], frozenset({case_key(done.case)}))
    assert [job.batch_size for job in session.submitted] == [2]


def test_a_board_that_does_not_answer_yet_keeps_no_other_from_being_measured(lab: Lab) -> None:
    measured = threading.Event()

    def then_told() -> Iterator[Event]:
        yield from lab.good()
        measured.set()

    lab.board("pi", then_told)
    waited: list[bool] = []
    lab.board("slow", answers_after=lambda: waited.append(measured.wait(10)))
    assert lab.run([planned("slow"), planned("pi")])
    assert waited == [True]
    assert {case.device: record.status for case, record in lab.records().items()} == {
        "pi": "ok",
        "slow": "ok",
    }


def test_local_waits_until_everything_is_prepared_for_the_others(lab: Lab) -> None:
    """It would begin within the 50 ms for which the other board keeps silent."""
    begun = threading.Event()

    def beginning_told() -> Iterator[Event]:
        begun.set()
        yield from lab.good()

    lab.board("local", beginning_told)
    lab.board("slow", answers_after=lambda: begun.wait(0.05))
    assert lab.run([planned("local"), planned("slow", precision="fp16")])
    prepared = ("preparing", "net for null at fp16")
    assert lab.notes.told.index(prepared) < lab.notes.told.index(("case_started", planned("local").case))
    assert {record.status for record in lab.records().values()} == {"ok"}


def test_a_mistake_in_the_data_ends_what_is_measured_already(lab: Lab) -> None:
    begun = threading.Event()

    def endless() -> Iterator[Event]:
        yield from beginning()
        begun.set()
        while True:
            time.sleep(0.01)
            yield beginning()[1]

    quick = lab.board("quick", endless)
    slow = lab.board("slow", answers_after=lambda: begun.wait(10))
    lab.failures["int8"] = UsageError("the dataset has no labels")
    with pytest.raises(UsageError, match="no labels"):
        lab.run([planned("quick"), planned("slow", precision="int8")])
    assert quick.cancelled == [quick.submitted[0].job_id]
    assert (quick.closed, slow.closed, slow.submitted) == (True, True, [])


# --- trying again ---------------------------------------------------------------------------------


def test_a_passing_failure_is_tried_again_and_its_attempt_kept(lab: Lab) -> None:
    session = lab.board("pi", [*beginning(), LinkLost("gone")], failed("supervisor_died"), lab.good())
    lab.run([planned()])
    (record,) = lab.records().values()
    assert record.status == "ok"
    assert reasons(record) == ["link_lost", "supervisor_died"]
    # A job whose link was lost may still be running: it is joined again. One that has died is not.
    assert [job.job_id[-2:] for job in session.submitted] == ["-0", "-0", "-1"]
    assert [why for _, why in lab.notes.of("retrying")] == ["gone", "it was supervisor_died"]


def test_a_failure_that_does_not_pass_is_tried_twice_more_and_no_further(lab: Lab) -> None:
    session = lab.board("pi", [LinkLost("gone")])
    lab.run([planned(batch_size=1)])
    (record,) = lab.records().values()
    assert reasons(record) == ["link_lost"] * (1 + MAX_RETRIES)
    assert len(session.submitted) == 3
    assert MAX_RETRIES == 2


@pytest.mark.parametrize(
    "play",
    [
        failed("board_busy"),
        failed("disk_full"),
        [AccessDenied("no")],
        [AgentError("no", reason="no_python")],
        failed("crashed", "runtime"),
        failed("deadline", "timeout"),
    ],
    ids=["busy", "full", "denied", "no python", "crashed", "deadline"],
)
def test_a_lasting_failure_is_not_tried_again(lab: Lab, play: Play) -> None:
    session = lab.board("pi", play)
    lab.run([planned()])
    assert len(session.submitted) == 1
    (record,) = lab.records().values()
    assert (record.status, record.attempts) == ("failed", ())


def test_a_job_that_goes_on_long_after_its_deadline_is_given_up(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board that tells of itself for ever is neither silent nor done."""
    clock = itertools.count(step=1000.0)
    monkeypatch.setattr("harness.benchmark.time", SimpleNamespace(monotonic=lambda: next(clock)))
    told = itertools.count()

    def forever() -> Iterator[Event]:
        for _ in told:
            yield beginning()[1]

    session = lab.board("pi", forever)
    lab.run([planned()])
    (record,) = lab.records().values()
    assert reasons(record) == ["endless_job"]
    assert session.cancelled == [session.submitted[0].job_id]
    # 966 s of the job's own and 600 s of grace, at a thousand an event.
    assert next(told) == 2


def test_a_failed_case_does_not_stop_the_next(lab: Lab) -> None:
    lab.board("pi", failed("crashed", "runtime"), lab.good())
    lab.run([planned(batch_size=1), planned(batch_size=2)])
    assert [record.status for record in lab.records().values()] == ["failed", "ok"]


# --- resuming -------------------------------------------------------------------------------------


def test_the_same_case_of_the_same_run_is_the_same_job(lab: Lab) -> None:
    first = lab.board("pi")
    lab.run([planned()])
    again = lab.board("pi")
    lab.run([planned()])
    assert first.submitted == again.submitted
    assert first.submitted[0].job_id.startswith(f"{RUN_ID}-")


def test_a_job_that_went_on_while_nobody_listened_is_taken_as_it_is(lab: Lab) -> None:
    lab.board("pi")
    lab.run([planned()])
    job_id = lab.sessions["pi"].submitted[0].job_id
    session = lab.board("pi", lab.good(), known={job_id})
    lab.run([planned()])
    assert len(session.submitted) == 1
    assert [record.status for record in lab.records().values()] == ["ok"]


@pytest.mark.parametrize("old_end", ["board_busy", "cancelled", "supervisor_died"])
def test_what_ended_an_earlier_run_is_no_attempt_of_the_resumed_one(lab: Lab, old_end: str) -> None:
    """The board keeps a job's end for days; a resumed run asks it again instead of repeating that."""
    first = lab.board("pi", failed("supervisor_died"))
    lab.run([planned()])
    known = {job.job_id for job in first.submitted}
    assert len(known) == 3
    session = lab.board("pi", failed(old_end), failed(old_end), failed(old_end), lab.good(), known=known)
    lab.run([planned()])
    (record,) = lab.records().values()
    assert (record.status, record.attempts) == ("ok", ())
    assert record.job_id == session.submitted[-1].job_id
    assert record.job_id not in known


# --- unsupported or failed ------------------------------------------------------------------------


MISSING = RuntimeStatus("null", False, None, None, "not installed", {})
NO_DATA = ConversionFailed("net: int8 needs calibration data", "give --calibration", "calibration_required")


@pytest.mark.parametrize(("asked", "status"), [(True, "failed"), (False, "unsupported")])
def test_a_runtime_that_does_not_work_is_a_failure_only_when_asked_for(
    lab: Lab, asked: bool, status: str
) -> None:
    session = lab.board("pi", runtimes=[MISSING])
    lab.run([planned(asked=asked)])
    (record,) = lab.records().values()
    assert (record.status, reasons(record)) == (status, ["runtime_unavailable"])
    assert record.failure is not None
    assert record.failure.message == "pi: null does not work there: not installed"
    assert session.submitted == []


@pytest.mark.parametrize(("asked", "status"), [(True, "failed"), (False, "unsupported")])
def test_a_precision_that_cannot_be_is_a_failure_only_when_asked_for(
    lab: Lab, asked: bool, status: str
) -> None:
    lab.board("pi")
    lab.failures["int8"] = NO_DATA
    lab.run([planned(asked=asked, precision="int8"), planned(asked=asked)])
    by_precision = {case.precision: record for case, record in lab.records().items()}
    assert (by_precision["int8"].status, reasons(by_precision["int8"])) == (status, ["calibration_required"])
    assert by_precision["fp32"].status == "ok"


def test_a_model_that_cannot_be_read_is_a_failure_asked_for_or_not(lab: Lab) -> None:
    session = lab.board("pi")
    lab.failures["fp32"] = ModelError("net.onnx is truncated")
    lab.run([planned()])
    (record,) = lab.records().values()
    assert (record.status, reasons(record)) == ("failed", ["invalid_model"])
    assert session.submitted == []


def test_what_was_guessed_is_said_once(lab: Lab) -> None:
    lab.board("pi")
    lab.run([planned(batch_size=size) for size in (1, 2, 3)])
    assert lab.notes.of("note") == [("shapes were guessed",)]


# --- the board's lease ----------------------------------------------------------------------------

ALICE = LeaseReply("waiting", "alice@laptop (run x)", 60.0)


def test_the_board_is_asked_for_once_and_given_back_after_the_last_case(lab: Lab) -> None:
    session = lab.board("pi")
    lab.run([planned(batch_size=size) for size in (1, 2)])
    assert (session.asked, session.released, session.closed) == ([0.0], 1, True)


def test_a_board_without_a_case_to_measure_is_not_asked_for(lab: Lab) -> None:
    lab.failures["fp32"] = ConversionFailed("no")
    session = lab.board("pi")
    lab.run([planned()])
    assert (session.asked, session.released) == ([], 0)


def test_who_has_the_board_is_told_by_the_clock_of_this_computer(lab: Lab) -> None:
    lab.board("pi", leases=[[None, ALICE, None, ALICE, LeaseReply("granted")]])
    begun = time.time()
    lab.run([planned()])
    told = lab.notes.of("waiting")
    assert [what[:2] for what in told] == [("pi", "alice@laptop (run x)")] * 2
    assert all(begun - 60.1 < since < time.time() - 59.9 for _, _, since in told)
    assert {record.status for record in lab.records().values()} == {"ok"}


def test_a_board_that_is_not_given_fails_its_cases_and_is_waited_for_once(lab: Lab) -> None:
    refused = [ALICE._replace(state="refused")]
    session = lab.board("pi", leases=[refused, refused])
    lab.board("other")
    lab.run([planned(batch_size=1), planned(batch_size=2), planned("other")], wait_s=90.0)
    outcomes = {(case.device, case.batch_size): reasons(record) for case, record in lab.records().items()}
    assert outcomes == {("pi", 1): ["board_busy"], ("pi", 2): ["board_busy"], ("other", 1): []}
    assert session.asked == [90.0, 0.0]
    assert (session.submitted, session.released) == ([], 0)
    failure = lab.records()[planned(batch_size=1).case].failure
    assert failure is not None
    assert failure.message.startswith("pi: held by alice@laptop (run x) since 20")
    assert "bench device release pi" in (failure.remedy or "")


def test_a_board_that_went_to_another_run_meanwhile_is_waited_for_again(lab: Lab) -> None:
    session = lab.board("pi", leases=[[LeaseReply("granted")], [ALICE, LeaseReply("granted")]])
    session.refusals = [LeaseLost("pi: the lease is not the present one")]
    lab.run([planned()], wait_s=90.0)
    (record,) = lab.records().values()
    assert (record.status, record.attempts) == ("ok", ())
    assert session.asked == [90.0, 90.0]
    assert [job.job_id[-2:] for job in session.submitted] == ["-0", "-0"]


def test_a_board_that_gives_and_takes_back_without_end_is_given_up(lab: Lab) -> None:
    session = lab.board("pi")
    session.refusals = [LeaseLost("pi: the lease is not the present one")] * 100
    lab.run([planned()])
    assert reasons(lab.records()[planned().case]) == ["board_busy"]
    assert len(session.submitted) == MAX_LEASES_LOST + 1


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_wait_for_a_board(lab: Lab) -> None:
    def interrupt() -> Iterator[LeaseReply | None]:
        yield ALICE
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            time.sleep(0.01)
            yield None

    session = lab.board("pi", leases=[interrupt()])
    assert not lab.run([planned()])
    assert (session.submitted, session.released, session.closed) == ([], 0, True)
    assert lab.records() == {}


def test_a_board_that_was_claimed_when_it_was_chosen_is_not_asked_for_again(lab: Lab) -> None:
    session = lab.board("pi")
    lab.run([planned()], claimed=frozenset({"pi"}))
    assert (session.asked, session.released) == ([], 1)


def test_a_claimed_board_is_given_back_also_if_nothing_can_be_prepared(lab: Lab) -> None:
    session = lab.board("pi")
    lab.failures["fp32"] = UsageError("the dataset has no labels")
    with pytest.raises(UsageError):
        lab.run([planned()], claimed=frozenset({"pi"}))
    assert (session.released, session.closed) == (1, True)


# --- what a person sees ---------------------------------------------------------------------------


def test_waiting_and_repetitions_are_told(lab: Lab) -> None:
    end = RepetitionEnded(2.0, 0, "ok", None, None)
    lab.board("pi", [JobWaiting(1.0, "nightly", 0.5), *lab.good()[:-2], end, *well()])
    lab.run([planned()])
    assert lab.notes.of("waiting") == [("pi", "job nightly", 0.5)]
    assert [what[1:] for what in lab.notes.of("repetition_ended")] == [(1, 2), (2, 2)]
    assert lab.notes.of("device_ready") == [
        ("pi", "Raspberry Pi 4 Model B Rev 1.4, Cortex-A72, 4 cores, Debian GNU/Linux 12 (bookworm)")
    ]


# --- interruption ---------------------------------------------------------------------------------


def ctrl_c(after: threading.Event, until: threading.Event) -> None:
    """What a person does, once `after` has happened: again, if nothing comes of it."""
    if not after.wait(10):
        return
    time.sleep(0.02)
    while not until.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        until.wait(1)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell starts what it runs in the background with Ctrl-C ignored, and Python leaves it at that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_cancels_the_job_and_keeps_what_is_finished(lab: Lab) -> None:
    begun = threading.Event()

    def endless() -> Iterator[Event]:
        yield from beginning()
        begun.set()
        while True:
            time.sleep(0.01)
            yield beginning()[1]

    session = lab.board("pi", lab.good(), endless)
    cases = [planned(batch_size=size) for size in (1, 2, 3)]
    ended = threading.Event()
    threading.Thread(target=ctrl_c, args=(begun, ended)).start()
    complete = lab.run(cases)
    ended.set()
    assert not complete
    assert [case.batch_size for case in lab.records()] == [1]
    assert session.cancelled == [session.submitted[1].job_id]
    assert len(session.submitted) == 2
    assert session.closed


@pytest.mark.usefixtures("interruptible")
def test_a_case_whose_board_is_lost_when_the_user_stops_is_no_failure(lab: Lab) -> None:
    begun, ended = threading.Event(), threading.Event()

    def lost() -> Iterator[Event]:
        yield from beginning()
        begun.set()
        while not any("stopping" in str(note) for note in lab.notes.of("note")):
            time.sleep(0.01)
        ended.set()
        raise LinkLost("pi: the connection broke")

    session = lab.board("pi", lost)
    threading.Thread(target=ctrl_c, args=(begun, ended)).start()
    assert not lab.run([planned()])
    assert not lab.records()
    assert session.cancelled == []
    (note,) = [note for note in lab.notes.of("note") if "goes on" in str(note)]
    assert f"job {session.submitted[0].job_id} could not be cancelled and goes on to its end" in str(note)


@pytest.mark.usefixtures("interruptible")
def test_a_second_ctrl_c_leaves_a_board_that_does_not_answer(lab: Lab) -> None:
    begun, told, let_go = threading.Event(), threading.Event(), threading.Event()

    def silent() -> Iterator[Event]:
        begun.set()
        let_go.wait(10)
        yield from failed("cancelled")

    lab.board("pi", silent)
    # Two signals at once are one: the second has to come after the first was seen.
    lab.notes.note = lambda text: told.set() if text.startswith("stopping") else None  # type: ignore[attr-defined]
    ended = threading.Event()
    for after, until in ((begun, told), (told, ended)):
        threading.Thread(target=ctrl_c, args=(after, until)).start()
    before = time.monotonic()
    complete = lab.run([replace(planned(), model=None)])
    ended.set()
    assert not complete
    assert time.monotonic() - before < 5
    let_go.set()
    for thread in threading.enumerate():
        if thread.name == "device":
            thread.join(5)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_does_not_wait_for_a_board_that_does_not_answer(lab: Lab) -> None:
    """One that answers after all is let go."""
    asked, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        let_go.wait(10)

    session = lab.board("pi", answers_after=hang)
    threading.Thread(target=ctrl_c, args=(asked, ended)).start()
    complete = lab.run([planned()])
    ended.set()
    assert not complete
    assert not let_go.is_set()
    let_go.set()
    for thread in threading.enumerate():
        if thread.name == "device":
            thread.join(5)
    assert (session.closed, session.submitted, lab.records()) == (True, [], {})


def test_an_error_nobody_expected_in_opening_a_board_leaves_the_others_alone(lab: Lab) -> None:
    lab.board("a", answers_after=lambda: 1 // 0)
    lab.board("b")
    with pytest.raises(ZeroDivisionError):
        lab.run([planned("a"), planned("b")])
    assert [case.device for case in lab.records()] == ["b"]


def test_an_error_nobody_expected_is_raised_once_the_other_boards_are_done(lab: Lab) -> None:
    lab.board("a", [ZeroDivisionError("a bug")])
    lab.board("b")
    with pytest.raises(ZeroDivisionError):
        lab.run([planned("a"), planned("b")])
    assert [case.device for case in lab.records()] == ["b"]


# --- records beside measuring ---------------------------------------------------------------------


def two_cases(device: str = "pi") -> list[PlannedCase]:
    return [planned(device, batch_size=size) for size in (1, 2)]


def unreadable(lab: Lab) -> list[Event]:
    """A job that went well and whose samples cannot be true: a time is negative."""
    return [*beginning(), loaded(), ResultFiles(lab.folder).samples(1, [MS], [-MS], [MS]), *well()]


def test_a_board_gets_its_next_job_before_the_last_ones_record_is_kept(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, in_time, save = threading.Event(), [], lab.store.save

    def saved(run_id: str, record: Record, samples: Any) -> None:
        in_time.append(both.wait(10))
        save(run_id, record, samples)

    def second() -> Iterator[Event]:
        both.set()
        yield from lab.good()

    monkeypatch.setattr(lab.store, "save", saved)
    lab.board("pi", lab.good(), second)
    assert lab.run(two_cases())
    assert in_time == [True, True]
    assert [record.status for record in lab.records().values()] == ["ok", "ok"]


def test_each_case_of_many_boards_is_kept_once_though_one_of_them_dies(lab: Lab) -> None:
    """All jobs end in the same moment, twice; the last board's link is lost for good in its second case."""
    names = [f"pi-{number:02}" for number in range(12)]
    rounds = [threading.Barrier(len(names), timeout=10) for _ in range(2)]
    good = lab.good()

    def ending(at: int) -> Iterator[Event]:
        rounds[at].wait()
        yield from good

    def dying() -> Iterator[Event]:
        rounds[1].wait()
        raise LinkLost("gone")

    for name in names:
        second = dying if name == names[-1] else functools.partial(ending, 1)
        more = [[LinkLost("gone")]] if name == names[-1] else []
        lab.board(name, functools.partial(ending, 0), second, *more)
    assert lab.run([item for name in names for item in two_cases(name)])
    kept = lab.store.results(RUN_ID).records
    assert sorted((record.case.device, record.case.batch_size) for record in kept) == [
        (name, size) for name in names for size in (1, 2)
    ]
    lost = [record for record in kept if record.status != "ok"]
    assert [(record.case.device, record.case.batch_size) for record in lost] == [(names[-1], 2)]
    assert reasons(lost[0]) == ["link_lost"] * 3
    jobs = {name: [job.job_id for job in lab.sessions[name].submitted] for name in names}
    assert {len(set(ids)) for ids in jobs.values()} == {2}
    assert [name for name, ids in jobs.items() if len(ids) != 2] == [names[-1]]


def test_on_this_machine_a_record_is_kept_before_the_next_job_begins(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would begin within the 50 ms that keeping the record takes."""
    begun, too_early, save = threading.Event(), [], lab.store.save

    def saved(run_id: str, record: Record, samples: Any) -> None:
        too_early.append(begun.wait(0.05))
        save(run_id, record, samples)

    def second() -> Iterator[Event]:
        begun.set()
        yield from lab.good()

    monkeypatch.setattr(lab.store, "save", saved)
    lab.board("local", lab.good(), second)
    assert lab.run(two_cases("local"))
    assert too_early == [False, True]


def test_a_case_whose_results_cannot_be_true_is_measured_again_after_the_next(lab: Lab) -> None:
    session = lab.board("pi", unreadable(lab), lab.good())
    assert lab.run(two_cases())
    assert [(job.batch_size, job.job_id[-2:]) for job in session.submitted] == [
        (1, "-0"),
        (2, "-0"),
        (1, "-1"),
    ]
    found = {case.batch_size: (record.status, reasons(record)) for case, record in lab.records().items()}
    assert found == {1: ("ok", ["bad_result"]), 2: ("ok", [])}


def test_an_error_nobody_expected_in_making_a_record_is_raised(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.records.recording.summarize", lambda _series: 1 // 0)
    session = lab.board("pi")
    with pytest.raises(ZeroDivisionError):
        lab.run(two_cases())
    assert session.closed


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_waits_for_a_record_that_is_being_made(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping, measuring, save = threading.Event(), threading.Event(), lab.store.save

    def saved(run_id: str, record: Record, samples: Any) -> None:
        assert stopping.wait(10)
        while not session.closed:
            time.sleep(0.005)
        time.sleep(0.05)
        save(run_id, record, samples)

    def second() -> Iterator[Event]:
        yield from beginning()
        measuring.set()
        while True:
            time.sleep(0.01)
            yield beginning()[1]

    monkeypatch.setattr(lab.store, "save", saved)
    lab.notes.note = lambda text: stopping.set() if text.startswith("stopping") else None  # type: ignore[attr-defined]
    session = lab.board("pi", lab.good(), second)
    threading.Thread(target=ctrl_c, args=(measuring, stopping)).start()
    complete = lab.run(two_cases())
    assert not complete
    assert [case.batch_size for case in lab.records()] == [1]
    assert session.cancelled == [session.submitted[1].job_id]


# --- what a board's runtime takes -----------------------------------------------------------------

NANO = RuntimeStatus(
    "tensorrt",
    True,
    "8.2.1.8",
    "tensorrt",
    None,
    {
        "gpu": "NVIDIA Tegra X1",
        "compute_capability": "5.3",
        "precision_by": "flag",
        "int8": "no",
        "max_opset": "13",
    },
)


def on_tensorrt(precision: str) -> PlannedCase:
    return planned("nano", asked=True, runtime="tensorrt", precision=precision)


def test_what_a_board_cannot_do_is_unsupported_even_if_it_was_asked_for(lab: Lab) -> None:
    session = lab.board("nano", runtimes=[NANO])
    assert lab.run([on_tensorrt("fp16"), on_tensorrt("int8")])
    statuses = {case.precision: record.status for case, record in lab.records().items()}
    assert statuses == {"fp16": "ok", "int8": "unsupported"}
    (record,) = [r for r in lab.records().values() if r.failure]
    assert record.failure is not None
    assert record.failure.reason == "precision_unsupported"
    assert "compute capability 5.3" in record.failure.message
    assert len(session.submitted) == 1


def test_a_job_carries_the_settings_of_its_run(lab: Lab) -> None:
    session = lab.board("nano", runtimes=[NANO], facts=FACTS._replace(family="jetson"))
    options = BoardOptions(performance_mode="max", via="trtexec", workspace_mib=64, cool_down_s=30.0)
    profiles = {"nano": device_profile("jetson-nano")}
    assert lab.run([on_tensorrt("fp16")], options=options, profiles=profiles, deadline_s=77.0)
    (job,) = session.submitted
    assert job.deadline_s == 77.0
    assert job.performance_mode == "max"
    assert job.options == {"workspace_mib": "64", "via": "trtexec"}
    assert (job.max_start_temperature_c, job.cool_down_s) == (50.0, 30.0)


def test_nothing_is_converted_for_a_board_that_does_not_answer(lab: Lab) -> None:
    lab.board("dead", unreachable=Unreachable("dead: no connection", "switch it on"))
    lab.run([planned("dead")])
    assert lab.notes.of("preparing") == []


def test_nothing_is_converted_for_a_runtime_that_does_not_work(lab: Lab) -> None:
    lab.board("pi", runtimes=[RuntimeStatus("null", False, None, None, "it died", {})])
    lab.run([planned("pi")])
    assert lab.notes.of("preparing") == []
