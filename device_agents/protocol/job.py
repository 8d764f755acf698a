"""What the controller asks for: one case, everything by value or by content hash."""

from typing import Dict, List, NamedTuple, Optional


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
