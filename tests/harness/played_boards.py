"""Boards that play back jobs, and runs over them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from device_agents.protocol import (
    BlobRef,
    DeviceFacts,
    Event,
    Job,
    JobEnded,
    LeaseReply,
    ProbeReply,
    RuntimeStatus,
)
from harness.campaign import Campaign, CampaignSettings
from harness.errors import (
    BenchError,
    CaseError,
)
from harness.models import BenchModel
from harness.negotiation import ArtifactForm
from harness.plan import PlannedCase
from harness.preparation import Preparation, Workload
from harness.store import Store
from profiles.measurement import measurement_profile
from reports.record import Case, Record, Run
from tests.harness.events import FACTS, ResultFiles, beginning, loaded, well

RUN = Run("20261121-220000-abcd", "2026-11-21T22:00:00Z", "0.1.0", ("bench", "run"))
RUN_ID = RUN.id
MS = 1_000_000
AVAILABLE = RuntimeStatus("null", True, "1", None, None, {})

RELEASED = LeaseReply("released")

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
    #: What is said to ending a lease, and whose was to be ended.
    eviction: LeaseReply = RELEASED
    evicted: list[str] = field(default_factory=list)
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

    def evict(self, lease: str) -> LeaseReply:
        self.evicted.append(lease)
        return self.eviction

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


def planned(device: str = "pi", asked: bool = False, **changes: Any) -> PlannedCase:
    case = replace(Case(device, "net", "null", "fp32"), **changes)
    return PlannedCase(case, None, runtime_asked=asked, precision_asked=asked)


def failed(reason: str, failure_class: str = "infrastructure") -> list[Event]:
    return [JobEnded(2.0, "failed", failure_class, reason, f"it was {reason}")]


def reasons(record: Record) -> list[str]:
    """Why each attempt failed, the last one included."""
    last = [] if record.failure is None else [record.failure.reason]
    return [attempt.failure.reason for attempt in record.attempts] + last


def ctrl_c(after: threading.Event, until: threading.Event) -> None:
    """What a person does, once `after` has happened: again, if nothing comes of it."""
    if not after.wait(10):
        return
    time.sleep(0.02)
    while not until.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        until.wait(1)
