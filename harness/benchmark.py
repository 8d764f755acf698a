"""One case told from top to bottom: job, submission, events, results; then, without the board, its record."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_agents.protocol import (
    PROTOCOL_VERSION,
    Event,
    Job,
    JobWaiting,
    Measurement,
    RepetitionEnded,
)
from harness.board_options import BoardOptions
from harness.errors import AgentError, DeviceError, LinkError
from harness.link.deployment import Blob, OnProgress
from harness.link.device_session import DeviceSession
from harness.preparation import Workload
from harness.progress import Observer
from harness.records.recording import Recording
from profiles.devices import DeviceProfile
from profiles.measurement import MeasurementProfile
from reports.record import Case, Record

#: Beyond the timed loops: loading, evaluating and proving on a slow board, seconds.
REPETITION_ALLOWANCE_S = 180.0
JOB_ALLOWANCE_S = 600.0
#: One example of the labelled data: a large network on a Pi 3. They are run once, after the timed loop.
EXAMPLE_ALLOWANCE_S = 2.0

#: Building an engine on a Nano takes minutes for a small network and half an hour for a large one.
BUILD_ALLOWANCE_S = {"tensorrt": 5400.0}

#: The agent ends a job at its deadline and restores the board; one that still goes on then never ends.
END_ALLOWANCE_S = 600.0


class Interrupted(Exception):
    """The user wants to stop; the case is not finished."""


@dataclass(frozen=True)
class CaseOutcome:
    """A finished case: its record and its raw nanoseconds by series and repetition.

    `known` says that the board had the job already, from an earlier run that is being resumed; `unheard` that
    the link failed, which says nothing about the job: it may be running.
    """

    record: Record
    samples: dict[str, list[NDArray[np.int64]]]
    known: bool = False
    unheard: bool = False


@dataclass(frozen=True)
class MeasuredCase:
    """A case whose job went well and whose result files are here: what is left to do needs no board."""

    recording: Recording
    folder: Path
    known: bool
    #: Keeps the folder until it is closed.
    keeping: contextlib.ExitStack

    def outcome(self) -> CaseOutcome:
        """The record with its samples; the files are gone then. Raises CaseError if they cannot be judged."""
        with self.keeping:
            return CaseOutcome(*self.recording.measured(self.folder), self.known)


@dataclass(frozen=True)
class CaseRequest:
    """A case with all that measuring it needs. The same `job_id` twice is the same job on the board."""

    case: Case
    workload: Workload
    measurement: MeasurementProfile
    job_id: str
    lock_wait_s: float
    options: BoardOptions = field(default_factory=BoardOptions)
    #: The kind of board: how cool it has to start, what to expect of it.
    profile: DeviceProfile | None = None
    #: In place of the time that the measurement may take at most, seconds.
    deadline_s: float | None = None
    #: Where result files are kept until their record is made; the system's own place without.
    scratch: Path | None = None


def run_case(
    session: DeviceSession, request: CaseRequest, observer: Observer, stopping: Callable[[], bool]
) -> MeasuredCase | CaseOutcome:
    """Measure one case on an open session; a job that failed is an outcome already.

    Raises DeviceError when the board or the link fails, and Interrupted, the job being cancelled, once
    `stopping` says so.
    """
    case = request.case
    job, sending = job_of(request), _sending(session.device, observer)
    recording = Recording(case, request.workload, request.options, request.profile, asked=job)
    known = not session.submit(job, request.workload.blobs, sending)
    observer.case_started(case)
    done = 0
    give_up = time.monotonic() + job.lock_wait_s + job.deadline_s + END_ALLOWANCE_S
    for event in _told(session, request.job_id, observer, stopping):
        recording.take(event)
        if time.monotonic() > give_up:
            raise _endless(session, request.job_id)
        if isinstance(event, JobWaiting):
            observer.waiting(case.device, f"job {event.holder}", event.since)
        if isinstance(event, RepetitionEnded):
            done += 1
            observer.repetition_ended(case, done, request.measurement.repetitions)
        if stopping() and recording.end is None:
            _cancel(session, request.job_id, observer)
            raise Interrupted
    failed = recording.failed()
    if failed is not None:
        return CaseOutcome(failed, {}, known)
    with contextlib.ExitStack() as keeping:
        folder = Path(keeping.enter_context(tempfile.TemporaryDirectory(dir=request.scratch)))
        session.fetch(request.job_id, recording.files(), folder)
        return MeasuredCase(recording, folder, known, keeping.pop_all())


def _told(
    session: DeviceSession, job_id: str, observer: Observer, stopping: Callable[[], bool]
) -> Iterator[Event]:
    """The job's events; a board that is lost while the user wants to stop is not waited for."""
    try:
        yield from session.follow(job_id)
    except LinkError as error:
        if not stopping():
            raise
        _goes_on(job_id, observer, error)
        raise Interrupted from error


def _cancel(session: DeviceSession, job_id: str, observer: Observer) -> None:
    try:
        session.cancel(job_id)
    except DeviceError as error:
        _goes_on(job_id, observer, error)


def _goes_on(job_id: str, observer: Observer, error: DeviceError) -> None:
    observer.note(
        f"job {job_id} could not be cancelled and goes on to its end ({error.message}); "
        "--resume takes its results"
    )


def _endless(session: DeviceSession, job_id: str) -> AgentError:
    """The error of a job that tells on and on; it is asked to end, whatever the board makes of that."""
    with contextlib.suppress(DeviceError):
        session.cancel(job_id)
    return AgentError(
        f"{session.device}: job {job_id} still goes on long after its deadline",
        "restart the board: its agent no longer does what it is told",
        "endless_job",
    )


def job_of(request: CaseRequest) -> Job:
    """The case in the agent's words."""
    case, workload, profile = request.case, request.workload, request.measurement
    board, cool_down_s = request.profile, request.options.cool_down_s
    loops_s = profile.repetitions * (profile.warmup_max_s + profile.max_time_s + REPETITION_ALLOWANCE_S)
    examples = workload.evaluation.examples if workload.evaluation else 0
    evaluation_s = examples * EXAMPLE_ALLOWANCE_S
    building_s = BUILD_ALLOWANCE_S.get(case.runtime, 0.0)
    longest_s = loops_s + evaluation_s + JOB_ALLOWANCE_S + building_s + cool_down_s
    return Job(
        protocol=PROTOCOL_VERSION,
        job_id=request.job_id,
        runtime=case.runtime,
        precision=case.precision,
        batch_size=case.batch_size,
        num_threads=case.num_threads,
        artifact=list(workload.artifact_refs),
        inputs=list(workload.inputs),
        outputs=list(workload.outputs),
        check_inputs=workload.check,
        evaluation=workload.evaluation,
        measurement=Measurement(
            repetitions=profile.repetitions,
            warmup_min_s=profile.warmup_min_s,
            warmup_max_s=profile.warmup_max_s,
            min_iterations=profile.min_iterations,
            max_iterations=profile.max_iterations,
            min_time_s=profile.min_time_s,
            max_time_s=profile.max_time_s,
            median_ci_width=profile.median_ci_width,
        ),
        deadline_s=request.deadline_s or longest_s,
        lock_wait_s=request.lock_wait_s,
        options=request.options.for_runtime(case.runtime) | dict(workload.options),
        performance_mode=request.options.performance_mode,
        calibration=workload.calibration,
        max_start_temperature_c=board.max_start_temperature_c if board else None,
        cool_down_s=cool_down_s,
    )


def _sending(device: str, observer: Observer) -> Callable[[Blob], OnProgress]:
    def of_blob(blob: Blob) -> OnProgress:
        return lambda done, total: observer.sending(device, blob.name, done, total)

    return of_blob
