"""The wire types: what controller and agent say to each other, one JSON object a line.

The only file both sides share. Everything that crosses the wire is one of the NamedTuples below;
a dict exists only between `json.loads` and the constructor. Unknown keys are ignored, so that a newer
peer may add some; a missing or mistyped key is a `ProtocolError`.

Format history
1  first version
2  boards: performance mode, engines built on the board, accelerator telemetry. A board of version 1 would
   measure without them, so the number tells them apart.
"""

import json
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Type, TypeVar, Union

PROTOCOL_VERSION = 2

#: Longest line either side accepts; bulk data travels as files, never in lines.
MAX_LINE_BYTES = 1 << 20

#: No time, size or count is beyond this either way: what is counted with them stays finite, and fits int64.
MAX_NUMBER = (1 << 63) - 1

T = TypeVar("T")


class ProtocolError(Exception):
    """The other side said something that is not of this protocol."""


# --- what the controller asks for -----------------------------------------------------------------


class BlobRef(NamedTuple):
    """A file named by its content. `name` is what it is called beside its siblings in a job."""

    sha256: str
    bytes: int
    name: str


class TensorSpec(NamedTuple):
    """One model input or output: every name it goes by (canonical first), shape and numpy dtype name."""

    names: List[str]
    shape: List[int]
    dtype: str


class Measurement(NamedTuple):
    """How long to measure. Times are seconds of one repetition; see profiles/measurement/*.toml."""

    repetitions: int
    warmup_min_s: float
    warmup_max_s: float
    min_iterations: int
    max_iterations: int
    min_time_s: float
    max_time_s: float
    #: Sampling may stop once the median's 95 % interval is at most this share of the median wide.
    median_ci_width: float


class Dataset(NamedTuple):
    """Inputs to evaluate with the timed engine: an .npz of one array per input (array_0, ... in job order).

    `stacked` arrays are (examples, *input shape without its batch axis) and are fed batch by batch;
    otherwise they are (examples, *input shape), complete inputs.
    """

    file: BlobRef
    examples: int
    stacked: bool


class Job(NamedTuple):
    """One case for the agent: everything it needs to know, by value or by content hash."""

    protocol: int
    job_id: str
    runtime: str
    precision: str
    batch_size: int
    num_threads: int
    #: Main file first; the others (ONNX external data) lie beside it under their names.
    artifact: List[BlobRef]
    inputs: List[TensorSpec]
    outputs: List[TensorSpec]
    #: Complete inputs: the first is timed, all are checked against the fp32 reference.
    check_inputs: Optional[Dataset]
    evaluation: Optional[Dataset]
    measurement: Measurement
    #: The supervisor ends the job this many seconds after it got the board.
    deadline_s: float
    #: How long to wait for a busy board before giving up.
    lock_wait_s: float
    #: Settings of runtimes by name, `precision_by` say; each runtime's file says which it knows.
    options: Dict[str, str]
    #: `keep` leaves the board's clocks and power as they are; `max` raises them for the job.
    performance_mode: str = "keep"
    #: Examples a runtime that calibrates on the board takes its int8 ranges from.
    calibration: Optional[Dataset] = None
    #: No repetition starts hotter than this, unless waiting `cool_down_s` seconds in all did not help.
    max_start_temperature_c: Optional[float] = None
    cool_down_s: float = 0.0


# --- what the agent answers -----------------------------------------------------------------------


class RuntimeStatus(NamedTuple):
    """Whether a runtime really works here, proven in a child process."""

    name: str
    available: bool
    version: Optional[str]
    package: Optional[str]
    #: Why it is not available, in words for a person.
    reason: Optional[str]
    details: Dict[str, str]


class DeviceFacts(NamedTuple):
    """What the board says of itself. Absent is None, never zero."""

    board: Optional[str]
    cpu_model: Optional[str]
    cpu_count: Optional[int]
    cpu_max_mhz: Optional[float]
    cpu_features: Optional[str]
    machine: str
    os: Optional[str]
    kernel: str
    python: str
    memory_bytes: Optional[int]
    swap_bytes: Optional[int]
    governor: Optional[str]
    boot_id: Optional[str]
    hostname: str
    virtualization: Optional[str]
    #: Which file of device_agents/boards reads it: generic-linux, raspberry-pi or jetson.
    family: str = "generic-linux"
    #: The device tree's `compatible` strings, most specific first; empty where there is no device tree.
    compatible: List[str] = []
    #: Jetson: the nvpmodel mode, as in "MAXN (0)".
    power_mode: Optional[str] = None
    #: What only this kind of board has to say: l4t_release, jetpack, gpu, cuda, firmware, supply_max_ma, ...
    details: Dict[str, str] = {}
    #: What this user could not read, each with the reason.
    unreadable: List[str] = []


class ProbeReply(NamedTuple):
    """Answer to `probe`."""

    protocol: int
    facts: DeviceFacts
    runtimes: List[RuntimeStatus]
    workspace: str
    free_bytes: Optional[int]
    #: Who holds the board, since when (unix seconds), if anyone does.
    busy_with: Optional[str]
    busy_since: Optional[float]


class Examination(NamedTuple):
    """Answer to `examine`: what `bench device check` judges a board by. Absent is None, never zero."""

    facts: DeviceFacts
    #: The board's wall clock, unix seconds.
    time: float
    #: /etc/os-release, as in {"ID": "debian", "VERSION_CODENAME": "bookworm"}.
    os_release: Dict[str, str]
    #: As in "2.31"; None where the C library is another.
    glibc: Optional[str]
    python_executable: str
    python_prefix: str
    #: The interpreter that this one's virtual environment was made with, else this one.
    base_python: Optional[str]
    #: 32 or 64: a 64-bit kernel runs 32-bit systems too.
    python_bits: int
    in_venv: bool
    #: PEP 668: pip refuses to install into this system's Python.
    externally_managed: bool
    has_venv: bool
    has_ensurepip: bool
    has_pip: bool
    openblas_coretype: Optional[str]
    #: Packages of interest that this Python sees: version, and the folder it is in.
    packages: Dict[str, str]
    package_folders: Dict[str, str]
    #: The same of the system's own Python (dist-packages), which a plain virtual environment does not see.
    system_packages: Dict[str, str]
    system_package_folders: Dict[str, str]
    user: Optional[str]
    groups: List[str]
    is_root: bool
    #: By the root commands a performance mode needs: allowed, password required, not allowed or no sudo.
    sudo: Dict[str, str]
    #: Paths of the board's own tools by their names.
    commands: Dict[str, str]
    #: Where the agent's folder lies: file system, mount options, device, and which kind of device that is.
    workspace: str
    filesystem: Optional[str]
    mount_options: Optional[str]
    storage_device: Optional[str]
    storage_kind: Optional[str]
    free_bytes: Optional[int]
    #: Of a 16 MB file, past the page cache; 1 MB is 10^6 bytes.
    write_mb_per_s: Optional[float]
    read_mb_per_s: Optional[float]
    #: Why changes vanish at the next start, as in "overlayroot=tmpfs".
    overlay_root: Optional[str]
    memory_available_bytes: Optional[int]
    #: Swap areas and their sizes in bytes.
    swaps: Dict[str, int]
    #: The processes that hold most memory, bytes.
    largest_processes: Dict[str, int]
    rtc: Optional[str]
    clock_synchronized: Optional[bool]
    governors: List[str]
    #: The files that set the governor, one a policy.
    governor_files: List[str]
    default_target: Optional[str]
    display_manager: Optional[str]
    load_1m: Optional[float]
    temperature_c: Optional[float]
    throttle_flags: Optional[int]
    under_voltage: Optional[bool]


class SubmitReply(NamedTuple):
    """Answer to `submit`: `accepted`, `exists` (the same job is known already), or `missing` blobs."""

    state: str
    job_id: str
    missing: List[str]


class BlobState(NamedTuple):
    """Answer of `put`: how many bytes of a blob are there already, then whether it is complete."""

    have: int
    complete: bool


class CommandFailed(NamedTuple):
    """Any command's answer when it could not do its work. `reason` is a stable word, `message` for people."""

    reason: str
    message: str


# --- the journal of a job -------------------------------------------------------------------------


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


class TelemetrySample(NamedTuple):
    """The board's state at one moment; `phase` is before, running or after. Loads are shares from 0 to 1."""

    time: float
    phase: str
    #: The hottest zone that slows the board down.
    temperature_c: Optional[float]
    #: The true clock where the board tells it, else what cpufreq reports.
    cpu_mhz: Optional[float]
    cpu_mhz_limit: Optional[float]
    governor: Optional[str]
    throttled: Optional[bool]
    under_voltage: Optional[bool]
    throttle_count: Optional[int]
    load_1m: Optional[float]
    memory_available_bytes: Optional[int]
    swapped_pages: Optional[int]
    #: Power of `power_rail`, and of every rail there is, watts.
    power_w: Optional[float]
    power_rail: Optional[str] = None
    rails_w: Dict[str, float] = {}
    #: Seconds of the board's CLOCK_MONOTONIC: wall clocks of boards jump.
    monotonic_s: Optional[float] = None
    gpu_temperature_c: Optional[float] = None
    gpu_mhz: Optional[float] = None
    gpu_load: Optional[float] = None
    #: Clock of the memory controller (Jetson: EMC).
    memory_mhz: Optional[float] = None
    power_mode: Optional[str] = None
    #: Raspberry Pi's get_throttled: bits 0 to 3 now, 16 to 19 since boot.
    throttle_flags: Optional[int] = None
    core_volts: Optional[float] = None
    fan_rpm: Optional[float] = None


class PerformanceModeSet(NamedTuple):
    """The board's clocks and power were raised, as far as this user may: `reached` says whether all was."""

    time: float
    mode: str
    reached: bool
    before: Dict[str, str]
    after: Dict[str, str]
    #: What could not be set or did not take, each with the remedy.
    problems: List[str]


class PerformanceModeRestored(NamedTuple):
    """The board is as it was before the performance mode; `problems` says what is not."""

    time: float
    restored: bool
    settings: Dict[str, str]
    problems: List[str]


class CooledDown(NamedTuple):
    """The supervisor waited for the board to cool before a repetition."""

    time: float
    seconds: float
    temperature_c: Optional[float]
    reached: bool


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

#: Every message by the word that names it on the wire.
MESSAGES: Dict[str, Any] = {
    "job": Job,
    "probe": ProbeReply,
    "examination": Examination,
    "runtime": RuntimeStatus,
    "submitted": SubmitReply,
    "blob": BlobState,
    "failed": CommandFailed,
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


# --- lines ----------------------------------------------------------------------------------------


def encode(message: Any) -> bytes:
    """One message as a line, newline included."""
    body = _plain(message)
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


def build(kind: Type[T], body: Dict[str, Any]) -> T:
    """A NamedTuple of `kind` from plain JSON values, every field checked against its annotation."""
    values = {}
    defaults = getattr(kind, "_field_defaults", {})
    for field, annotation in kind.__annotations__.items():
        if field in body:
            values[field] = _checked(annotation, body[field], "{}.{}".format(kind.__name__, field))
        elif field not in defaults:
            raise ProtocolError("{} lacks {!r}".format(kind.__name__, field))
    return kind(**values)


def _plain(value: Any) -> Any:
    """NamedTuples as dicts, everything else as it is."""
    if hasattr(value, "_fields"):
        return {field: _plain(getattr(value, field)) for field in value._fields}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _checked(annotation: Any, value: Any, where: str) -> Any:
    """`value` as `annotation` wants it, or ProtocolError. Knows what the types above use, no more."""
    origin, arguments = _origin(annotation)
    if origin is Union:
        return None if value is None else _checked(arguments[0], value, where)
    if origin is list:
        if isinstance(value, list):
            return [_checked(arguments[0], item, where) for item in value]
    elif origin is dict:
        if isinstance(value, dict):
            return {_text(str(key)): _checked(arguments[1], item, where) for key, item in value.items()}
    elif hasattr(annotation, "_fields"):
        if isinstance(value, dict):
            return build(annotation, value)
    elif annotation in (int, float):
        if _is_number(annotation, value):
            return annotation(value)
    elif isinstance(value, annotation):
        return _text(value) if annotation is str else value
    raise ProtocolError("{} is {}, not {}".format(where, repr(value)[:80], annotation))


def _text(value: str) -> str:
    """Half a surrogate pair (an undecodable byte of a path under Python 3.6) is text nowhere else."""
    return value.encode("utf-8", "replace").decode("utf-8")


def _is_number(annotation: Any, value: Any) -> bool:
    """Python's JSON has NaN, Infinity and integers beyond any float; no time or size is one of these."""
    kinds = (int, float) if annotation is float else int
    return isinstance(value, kinds) and not isinstance(value, bool) and -MAX_NUMBER <= value <= MAX_NUMBER


def _origin(annotation: Any) -> Tuple[Any, Any]:
    """The generics of typing taken apart; 3.6 says List where later versions say list."""
    origin = getattr(annotation, "__origin__", None)
    if origin is List:
        origin = list
    elif origin is Dict:
        origin = dict
    return origin, getattr(annotation, "__args__", ())
