"""The journal of a job: what its supervisor and its workers tell."""

from typing import Dict, List, NamedTuple, Optional, Union

from device_agents.protocol.board import DeviceFacts
from device_agents.protocol.job import BlobRef, TensorSpec
from device_agents.protocol.telemetry import (
    CooledDown,
    PerformanceModeRestored,
    PerformanceModeSet,
    TelemetrySample,
)


class JobWaiting(NamedTuple):
    """Another job holds the board."""

    time: float
    holder: str
    since: float


class JobStarted(NamedTuple):
    """The supervisor has the board."""

    time: float
    pid: int
    facts: DeviceFacts


class RepetitionStarted(NamedTuple):
    """A fresh worker process was started."""

    time: float
    repetition: int
    pid: int


class StageReached(NamedTuple):
    """A worker finished a stage; memory is read between stages, never inside the timed loop."""

    repetition: int
    stage: str
    seconds: float
    rss_bytes: Optional[int]
    peak_rss_bytes: Optional[int]
    pss_bytes: Optional[int]
    swap_bytes: Optional[int]


class RuntimeLoaded(NamedTuple):
    """What the runtime says of itself and of the loaded model."""

    repetition: int
    version: str
    details: Dict[str, str]
    inputs: List[TensorSpec]
    outputs: List[TensorSpec]


class BuildAttemptFailed(NamedTuple):
    """An engine could not be built with that much workspace; `reason` as in RepetitionEnded."""

    time: float
    rung: int
    workspace_bytes: Optional[int]
    reason: str
    message: str


class EngineBuilt(NamedTuple):
    """The engine of the job is there: built now, or found from an earlier job (`reused`).

    `seconds` and `peak_rss_bytes` are those of its building, whenever that was.
    """

    time: float
    key: str
    reused: bool
    seconds: float
    bytes: int
    workspace_bytes: Optional[int]
    peak_rss_bytes: Optional[int]
    #: What a reader would want to know of how it was built: flags, precision_by, timing_cache, dla_core...
    details: Dict[str, str]
    #: Layers by the precision they really got, by the engine inspector; empty where it cannot say.
    layer_precisions: Dict[str, int]
    #: Ways to run a layer that were left out for lack of memory: a larger board may be faster for that alone.
    skipped_tactics: int
    warnings: List[str]


class ToolTiming(NamedTuple):
    """What the vendor's own tool measured on the same engine; milliseconds."""

    time: float
    tool: str
    version: str
    command: str
    iterations: int
    latency_p50_ms: float
    compute_p50_ms: float
    #: What it said of its own figures, or why it gave none (iterations 0).
    warnings: List[str]


class SamplesTaken(NamedTuple):
    """The timed loop of one repetition.

    `file` holds little-endian int64 nanoseconds: `warmups` latencies, then `iterations`
    latencies, then `iterations` computes. `stopped_by` is one of precision, max_time, max_iterations.
    """

    repetition: int
    file: BlobRef
    warmups: int
    iterations: int
    warmup_s: float
    loop_s: float
    cpu_s: float
    #: CPU seconds the whole board spent outside this worker during the loop, and stolen by a hypervisor.
    other_cpu_s: Optional[float]
    steal_s: Optional[float]
    stopped_by: str
    #: When the loop began and ended, seconds of the board's CLOCK_MONOTONIC as in TelemetrySample.
    began_s: Optional[float] = None
    ended_s: Optional[float] = None
    #: Memory the model holds on the accelerator, bytes: allocations by the process, weights and scratch.
    gpu_bytes: Optional[int] = None


class OutputsSaved(NamedTuple):
    """Outputs of the timed engine, as an .npz of (examples, *output shape) arrays named as in Dataset.

    `purpose` is `check` (compared with the fp32 reference) or `evaluation` (scored against labels).
    """

    repetition: int
    purpose: str
    file: BlobRef
    examples: int


class RepetitionEnded(NamedTuple):
    """How a worker process ended: `ok`, or a failure reason with its words."""

    time: float
    repetition: int
    outcome: str
    reason: Optional[str]
    message: Optional[str]


class JobEnded(NamedTuple):
    """Last line of every journal. `outcome`: ok, failed, cancelled."""

    time: float
    outcome: str
    failure_class: Optional[str]
    reason: Optional[str]
    message: Optional[str]


Event = Union[
    JobWaiting,
    JobStarted,
    RepetitionStarted,
    StageReached,
    RuntimeLoaded,
    BuildAttemptFailed,
    EngineBuilt,
    ToolTiming,
    SamplesTaken,
    OutputsSaved,
    RepetitionEnded,
    TelemetrySample,
    PerformanceModeSet,
    PerformanceModeRestored,
    CooledDown,
    JobEnded,
]
