"""What a board tells of a job, held against what was asked for: a hostile board tells anything."""

from __future__ import annotations

from device_agents.protocol import BlobRef, Event, Job, OutputsSaved, SamplesTaken, StageReached
from harness.preparation import Workload
from harness.records.job_events import JobEvents
from harness.records.result_files import outputs_bound

_SAMPLE_BYTES = 8


def implausible(event: Event, job: Job, workload: Workload, heard: JobEvents) -> str | None:
    """Why an event cannot be true of `job` after those `heard` before, in words; None if it can."""
    repetitions = job.measurement.repetitions
    repetition = getattr(event, "repetition", 0)
    if not 0 <= repetition < repetitions:
        return f"it tells of repetition {repetition}, and {repetitions} were asked for (0 is the first)"
    if isinstance(event, StageReached) and event.seconds < 0:
        return f"its stage {event.stage[:40]!r} took {event.seconds:g} s"
    if isinstance(event, SamplesTaken):
        return _samples(event, job, heard)
    if isinstance(event, OutputsSaved):
        return _outputs(event, job, workload, heard)
    return None


def _samples(event: SamplesTaken, job: Job, heard: JobEvents) -> str | None:
    most = job.measurement.max_iterations
    if any(taken.repetition == event.repetition for taken in heard.samples):
        return f"it tells twice of the samples of repetition {event.repetition}"
    if not 1 <= event.iterations <= most or not 0 <= event.warmups <= most:
        return (
            f"it tells of {event.iterations} iterations after {event.warmups} to warm up, "
            f"and of each at most {most} were asked for"
        )
    if event.warmup_s < 0 or event.loop_s < 0:
        return f"its warm-up took {event.warmup_s:g} s and its timed loop {event.loop_s:g} s"
    needed = _SAMPLE_BYTES * (event.warmups + 2 * event.iterations)
    return _announced(event.file, needed, needed)


def _outputs(event: OutputsSaved, job: Job, workload: Workload, heard: JobEvents) -> str | None:
    asked = {"check": job.check_inputs, "evaluation": job.evaluation}.get(event.purpose)
    if asked is None:
        return f"it saved outputs for {event.purpose[:40]!r}, which nobody asked for"
    if any((o.repetition, o.purpose) == (event.repetition, event.purpose) for o in heard.outputs):
        return f"it tells twice of the {event.purpose} outputs of repetition {event.repetition}"
    if event.examples != asked.examples:
        return f"it saved {event.purpose} outputs of {event.examples} examples; {asked.examples} were sent"
    return _announced(event.file, 0, outputs_bound(workload, event.purpose))


def _announced(file: BlobRef, least: int, most: int) -> str | None:
    if least <= file.bytes <= most:
        return None
    can_be = f"{most}" if least == most else f"at most {most}"
    return f"it announces {file.bytes} bytes of {file.name[:80]!r}; there can be {can_be}"
