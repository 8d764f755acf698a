"""What the agent wants of an inference runtime. A new one is a file beside this and a row in `table.py`."""

from types import MappingProxyType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from device_agents.measurement import Steps
from device_agents.protocol import Dataset, TensorSpec


class RuntimeMissing(Exception):
    """The runtime is not installed here, or does not work here; the text says why."""


class LoadFailed(Exception):
    """The runtime is fine and refuses this model; the text is the runtime's own."""


class BuildFailed(Exception):
    """The runtime could not build an engine; `reason` is a stable word, the text the runtime's own.

    Reasons: out_of_memory (less workspace may help), unsupported_operator, invalid_model, shape_out_of_range,
    precision_unsupported, dla_unavailable, invalid_option, build_failed.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Request(NamedTuple):
    """What to load: `files` main first, `inputs` with the shapes to run, settings by value."""

    files: List[str]
    inputs: List[TensorSpec]
    outputs: List[TensorSpec]
    num_threads: int
    options: Dict[str, str]
    precision: str = "fp32"
    batch_size: int = 1
    #: The engine built for this job before, where the runtime builds engines.
    engine: Optional[str] = None


class BuildRequest(NamedTuple):
    """What to build an engine from, and with what."""

    model: Request
    #: Scratch memory the builder may give a layer, bytes.
    workspace_bytes: int
    #: A folder that outlasts the job: what one build learns here speeds up later ones.
    cache_folder: str
    #: Stands for the contents of the model's files.
    model_digest: str
    #: What int8 ranges are taken from on the board, and where it lies; None where the graph has them.
    calibration: Optional[Dataset] = None
    calibration_path: Optional[str] = None


class BuiltEngine(NamedTuple):
    """How an engine came to be; fields as in protocol.EngineBuilt."""

    seconds: float
    details: Dict[str, str]
    layer_precisions: Dict[str, int]
    skipped_tactics: int
    warnings: List[str]


class Engine:
    """A loaded model, ready to run. Arrays are keyed by each tensor's canonical (first) name."""

    inputs: Sequence[TensorSpec] = ()
    outputs: Sequence[TensorSpec] = ()
    #: Bytes the model holds on the accelerator once it has run; None where there is none or it cannot say.
    gpu_bytes: Optional[int] = None
    #: What a reader of the report would want to know of how it runs.
    details: Mapping[str, str] = MappingProxyType({})

    def steps(self, feed: Dict[str, Any]) -> Steps:
        """The three calls of one timed iteration on these inputs."""
        raise NotImplementedError

    def run(self, feed: Dict[str, Any]) -> Dict[str, Any]:
        """One inference, outputs as arrays of their own."""
        raise NotImplementedError


class Runtime:
    """An inference runtime; importing it is `start`, which may take seconds and hundreds of megabytes."""

    name = ""
    #: The package that serves it here, e.g. ai_edge_litert or tflite_runtime for tflite.
    package: Optional[str] = None
    version = ""
    #: Whether it builds an engine from the artifact first, in a process of its own (engines/building.py).
    builds_engines = False

    def start(self) -> None:
        """Import what is needed; raises RuntimeMissing."""
        raise NotImplementedError

    def load(self, request: Request) -> Engine:
        """Make an engine; raises LoadFailed."""
        raise NotImplementedError

    def prove(self) -> Dict[str, str]:
        """Build and run a tiny model; raises RuntimeMissing or LoadFailed. Returns details worth knowing."""
        raise NotImplementedError

    # --- only where `builds_engines` --------------------------------------------------------------

    def engine_identity(self, model: Request) -> Dict[str, str]:
        """What an engine depends on beside the model's files: versions, hardware, settings.

        Raises BuildFailed for settings that mean nothing.
        """
        raise NotImplementedError

    def build(self, wanted: BuildRequest, target: str) -> BuiltEngine:
        """Build an engine into the file `target`; raises BuildFailed, or MemoryError."""
        raise NotImplementedError

    def check_engine(self, path: str) -> None:
        """Load a built engine and let it go; raises LoadFailed if it is not one for this machine."""
        raise NotImplementedError


def nothing() -> None:
    """A step with nothing to do."""


def package_version(name: str, module: Any) -> str:
    """Version of an installed distribution; importlib.metadata is there from 3.8 on."""
    try:
        from importlib import metadata
    except ImportError:
        return str(getattr(module, "__version__", "unknown"))
    try:
        return str(metadata.version(name))
    except metadata.PackageNotFoundError:
        return str(getattr(module, "__version__", "unknown"))


def pick(wanted: List[TensorSpec], names: List[str], what: str) -> Dict[str, str]:
    """Which of the runtime's `names` each wanted tensor is: any of its names, else the only one there is."""
    found = {}
    for spec in wanted:
        match = next((name for name in spec.names if name in names), None)
        if match is None and len(wanted) == len(names) == 1:
            match = names[0]
        if match is None:
            raise LoadFailed(
                f"the model has no {what} named {' or '.join(spec.names)}; it has {', '.join(names)}"
            )
        found[spec.names[0]] = match
    return found
