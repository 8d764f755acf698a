"""The wire types: what controller and agent say to each other, one JSON object a line.

The only folder both sides share. By topic: job.py (what is asked for), board.py (what a board is),
answers.py, leasing.py, events.py and telemetry.py (a job's journal), lines.py (how they travel), fields.py
(how each is checked). Import from here.

Everything that crosses the wire is a NamedTuple; a dict exists only between `json.loads` and the
constructor. Unknown keys are ignored, so that a newer peer may add some; a missing or mistyped key is a
`ProtocolError`.

Format history
1  first version
2  boards: performance mode, engines built on the board, accelerator telemetry. A board of version 1 would
   measure without them, so the number tells them apart.
"""

from device_agents.protocol.answers import BlobState, CommandFailed, SubmitReply
from device_agents.protocol.board import DeviceFacts, Examination, ProbeReply, RuntimeStatus
from device_agents.protocol.events import (
    BuildAttemptFailed,
    EngineBuilt,
    Event,
    JobEnded,
    JobStarted,
    JobWaiting,
    OutputsSaved,
    RepetitionEnded,
    RepetitionStarted,
    RuntimeLoaded,
    SamplesTaken,
    StageReached,
    ToolTiming,
)
from device_agents.protocol.fields import MAX_NUMBER, ProtocolError, build
from device_agents.protocol.job import BlobRef, Dataset, Job, Measurement, TensorSpec
from device_agents.protocol.leasing import LeaseReply
from device_agents.protocol.lines import MAX_LINE_BYTES, MESSAGES, decode, encode, expect
from device_agents.protocol.telemetry import (
    CooledDown,
    PerformanceModeRestored,
    PerformanceModeSet,
    TelemetrySample,
)

__all__ = [
    "MAX_LINE_BYTES",
    "MAX_NUMBER",
    "MESSAGES",
    "PROTOCOL_VERSION",
    "BlobRef",
    "BlobState",
    "BuildAttemptFailed",
    "CommandFailed",
    "CooledDown",
    "Dataset",
    "DeviceFacts",
    "EngineBuilt",
    "Event",
    "Examination",
    "Job",
    "JobEnded",
    "JobStarted",
    "JobWaiting",
    "LeaseReply",
    "Measurement",
    "OutputsSaved",
    "PerformanceModeRestored",
    "PerformanceModeSet",
    "ProbeReply",
    "ProtocolError",
    "RepetitionEnded",
    "RepetitionStarted",
    "RuntimeLoaded",
    "RuntimeStatus",
    "SamplesTaken",
    "StageReached",
    "SubmitReply",
    "TelemetrySample",
    "TensorSpec",
    "ToolTiming",
    "build",
    "decode",
    "encode",
    "expect",
]

PROTOCOL_VERSION = 2
