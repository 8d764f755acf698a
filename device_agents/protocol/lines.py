"""Messages as lines: one JSON object each, which names its kind as `type`."""

import json
from typing import Any, Dict, Type, TypeVar

from device_agents.protocol.answers import BlobState, CommandFailed, SubmitReply
from device_agents.protocol.board import Examination, ProbeReply, RuntimeStatus
from device_agents.protocol.events import (
    BuildAttemptFailed,
    EngineBuilt,
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
from device_agents.protocol.fields import ProtocolError, build, plain
from device_agents.protocol.job import Job
from device_agents.protocol.leasing import LeaseReply
from device_agents.protocol.telemetry import (
    CooledDown,
    PerformanceModeRestored,
    PerformanceModeSet,
    TelemetrySample,
)

#: Longest line either side accepts; bulk data travels as files, never in lines.
MAX_LINE_BYTES = 1 << 20

T = TypeVar("T")

#: Every message by the word that names it on the wire.
MESSAGES: Dict[str, Any] = {
    "job": Job,
    "probe": ProbeReply,
    "examination": Examination,
    "runtime": RuntimeStatus,
    "submitted": SubmitReply,
    "blob": BlobState,
    "failed": CommandFailed,
    "lease": LeaseReply,
    "waiting": JobWaiting,
    "started": JobStarted,
    "repetition_started": RepetitionStarted,
    "stage": StageReached,
    "loaded": RuntimeLoaded,
    "build_failed": BuildAttemptFailed,
    "built": EngineBuilt,
    "tool_timing": ToolTiming,
    "samples": SamplesTaken,
    "outputs": OutputsSaved,
    "repetition_ended": RepetitionEnded,
    "telemetry": TelemetrySample,
    "performance_mode": PerformanceModeSet,
    "performance_mode_restored": PerformanceModeRestored,
    "cooled_down": CooledDown,
    "ended": JobEnded,
}

_NAMES = {cls: name for name, cls in MESSAGES.items()}


def encode(message: Any) -> bytes:
    """One message as a line, newline included."""
    body = plain(message)
    body["type"] = _NAMES[type(message)]
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode("ascii") + b"\n"


def decode(line: bytes) -> Any:
    """The message of one line; raises ProtocolError on anything else."""
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError("a line of {} bytes is longer than {}".format(len(line), MAX_LINE_BYTES))
    try:
        body = json.loads(line.decode("utf-8"))
        if not isinstance(body, dict):
            raise ProtocolError("not a JSON object: {!r}".format(line[:80]))
        kind = body.get("type")
        if not isinstance(kind, str) or kind not in MESSAGES:
            raise ProtocolError("unknown message type {}".format(repr(kind)[:80]))
        return build(MESSAGES[kind], body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not a JSON line ({}): {!r}".format(str(error)[:200], line[:80])) from error


def expect(kind: Type[T], line: bytes) -> T:
    """The message of one line, which has to be of that kind."""
    message = decode(line)
    if not isinstance(message, kind):
        raise ProtocolError("expected {}, got {}".format(kind.__name__, type(message).__name__))
    return message
