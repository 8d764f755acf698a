"""What a board told of one job, kept by kind."""

from __future__ import annotations

from dataclasses import dataclass, field

from device_agents.protocol import (
    BuildAttemptFailed,
    CooledDown,
    DeviceFacts,
    EngineBuilt,
    Event,
    JobEnded,
    JobStarted,
    OutputsSaved,
    PerformanceModeRestored,
    PerformanceModeSet,
    RuntimeLoaded,
    SamplesTaken,
    StageReached,
    TelemetrySample,
    ToolTiming,
)

#: Where each kind goes: those that come once (the last counts), and those that come often.
_ONCE = {
    JobStarted: "started",
    RuntimeLoaded: "loaded",
    EngineBuilt: "built",
    ToolTiming: "tool_timing",
    PerformanceModeSet: "mode_set",
    PerformanceModeRestored: "mode_restored",
    JobEnded: "end",
}
_OFTEN = {
    StageReached: "stages",
    SamplesTaken: "samples",
    OutputsSaved: "outputs",
    TelemetrySample: "telemetry",
    CooledDown: "cooling",
    BuildAttemptFailed: "failed_builds",
}


@dataclass
class JobEvents:
    """The events of a job so far."""

    started: JobStarted | None = None
    loaded: RuntimeLoaded | None = None
    built: EngineBuilt | None = None
    tool_timing: ToolTiming | None = None
    mode_set: PerformanceModeSet | None = None
    mode_restored: PerformanceModeRestored | None = None
    end: JobEnded | None = None
    stages: list[StageReached] = field(default_factory=list)
    samples: list[SamplesTaken] = field(default_factory=list)
    outputs: list[OutputsSaved] = field(default_factory=list)
    telemetry: list[TelemetrySample] = field(default_factory=list)
    cooling: list[CooledDown] = field(default_factory=list)
    failed_builds: list[BuildAttemptFailed] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Note one event; those that only say how far the job is are not kept."""
        if type(event) in _ONCE:
            setattr(self, _ONCE[type(event)], event)
        elif type(event) in _OFTEN:
            getattr(self, _OFTEN[type(event)]).append(event)

    @property
    def facts(self) -> DeviceFacts | None:
        """The board as the job found it."""
        return self.started.facts if self.started else None
