"""From a model to an engine: parse, configure, calibrate, build."""

import hashlib
import os
import time
from typing import Any, Dict, List, NamedTuple, Optional

from device_agents.cuda.base import CudaError
from device_agents.protocol import TensorSpec
from device_agents.runtimes.base import BuildFailed, BuildRequest, BuiltEngine
from device_agents.runtimes.tensorrt.calibrator import CalibrationFeeder, Examples, make_calibrator
from device_agents.runtimes.tensorrt.capabilities import Capabilities, capabilities
from device_agents.runtimes.tensorrt.configuration import (
    configure,
    flags_set,
    refuse_impossible,
    strongly_typed,
)
from device_agents.runtimes.tensorrt.dtypes import numpy_name
from device_agents.runtimes.tensorrt.failures import not_built
from device_agents.runtimes.tensorrt.packages import Library, create
from device_agents.runtimes.tensorrt.parsing import ModelSource, parsed
from device_agents.runtimes.tensorrt.profiles import (
    ShapeRange,
    as_text,
    fed_inputs,
    network_inputs,
    optimization_profile,
    shape_ranges,
)
from device_agents.runtimes.tensorrt.settings import Settings
from device_agents.runtimes.tensorrt.timing_cache import TimingCache

_MOST_WARNINGS = 20


class Plan(NamedTuple):
    """A serialised engine and how it came to be."""

    #: A buffer: TensorRT's own memory, not copied.
    content: Any
    details: Dict[str, str]


class PlanBuilder:
    """One build. Its parts are kept until the end: a network's weights belong to its parser."""

    def __init__(self, library: Library, settings: Settings, workspace_bytes: int) -> None:
        self._library = library
        self._settings = settings
        self._workspace_bytes = workspace_bytes
        self._builder = create(library, "Builder")
        self._able = capabilities(library.trt, self._builder, library.cuda.compute_capability())
        self._timing: Optional[TimingCache] = None
        self._feeder: Optional[CalibrationFeeder] = None
        self.details = dict(settings.as_details(), workspace_mib=str(workspace_bytes >> 20))

    def build(
        self, source: ModelSource, inputs: List[TensorSpec], wanted: Optional[BuildRequest] = None
    ) -> Plan:
        """Build the model for `inputs`; `wanted` has what outlasts the build, and examples to calibrate on.

        Raises BuildFailed, or CudaError while calibrating.
        """
        library, settings = self._library, self._settings
        refuse_impossible(settings, self._able, library)
        model = parsed(library, self._builder, source, strongly_typed(settings, self._able))
        config = configure(library, self._builder, settings, self._able, self._workspace_bytes)
        self._open_shapes(model.network, config, inputs)
        if wanted is not None:
            self._timing = TimingCache(library, wanted.cache_folder)
            self.details["timing_cache"] = self._timing.attach(config)
        if settings.precision_by == "calibrator":
            self._calibrate(model.network, config, inputs, wanted)
        self.details["parsed_layers"] = str(model.network.num_layers)
        self.details["flags"] = ",".join(flags_set(library.trt, config))
        return self._serialized(model.network, config)

    def _open_shapes(self, network: Any, config: Any, inputs: List[TensorSpec]) -> None:
        found = network_inputs(network)
        ranges = shape_ranges(found, fed_inputs(found, inputs), self._settings.batch_profile)
        if ranges:
            config.add_optimization_profile(optimization_profile(self._builder, ranges))
            self.details["profile"] = as_text(ranges)

    def _calibrate(
        self, network: Any, config: Any, inputs: List[TensorSpec], wanted: Optional[BuildRequest]
    ) -> None:
        """Give the configuration a calibrator over the job's examples, in the shapes the job feeds."""
        if wanted is None or wanted.calibration is None or wanted.calibration_path is None:
            raise BuildFailed("invalid_option", "a calibrator needs examples, and the job brought none")
        library, found = self._library, network_inputs(network)
        fed = fed_inputs(found, inputs)
        tensors = {str(tensor.name): tensor for tensor in map(network.get_input, range(network.num_inputs))}
        dtypes = {name: numpy_name(library.trt, tensor.dtype, name) for name, tensor in tensors.items()}
        names = {name: spec.names[0] for name, spec in fed.items()}
        examples = Examples(wanted.calibration, wanted.calibration_path, inputs, names, dtypes)
        self._feeder = CalibrationFeeder(library.cuda, examples, _table_path(library, wanted))
        config.int8_calibrator = make_calibrator(library.trt, self._feeder)
        fixed = {
            name: ShapeRange(*[tuple(spec.shape)] * 3) for name, spec in fed.items() if -1 in found[name]
        }
        if fixed:
            config.set_calibration_profile(optimization_profile(self._builder, fixed))
        self.details["calibration"] = (
            "the table of an earlier build"
            if self._feeder.reused
            else "{} examples on the board".format(wanted.calibration.examples)
        )

    def _serialized(self, network: Any, config: Any) -> Plan:
        feeder, log = self._feeder, self._library.log
        try:
            content = self._builder.build_serialized_network(network, config)
        finally:
            # A try that ran out of memory has timed many layers already; the next need not.
            if self._timing is not None:
                self._timing.save()
            if feeder is not None:
                feeder.close()
        if feeder is not None and feeder.fault is not None:
            if isinstance(feeder.fault, CudaError):
                raise feeder.fault
            raise BuildFailed("build_failed", "the calibration failed: {}".format(feeder.fault))
        if content is None:
            raise not_built(self._library.version, self._workspace_bytes, log)
        return Plan(content, dict(self.details, **log.memory()))


def build_into(library: Library, wanted: BuildRequest, settings: Settings, target: str) -> BuiltEngine:
    """Build a job's engine into a file, with no word of its layers yet. Raises BuildFailed or MemoryError."""
    began = time.monotonic()
    try:
        builder = PlanBuilder(library, settings, wanted.workspace_bytes)
        plan = builder.build(wanted.model.files[0], wanted.model.inputs, wanted)
    except CudaError as error:
        if "MemoryAllocation" in error.name:
            raise MemoryError(str(error)) from error
        raise BuildFailed("build_failed", str(error)) from error
    seconds = time.monotonic() - began
    with open(target, "wb") as file:
        file.write(plan.content)
        file.flush()
        os.fsync(file.fileno())
    log = library.log
    return BuiltEngine(seconds, plan.details, {}, log.skipped_tactics, log.warnings[:_MOST_WARNINGS])


def able_here(library: Library) -> Capabilities:
    """What this board can do, asked of a builder."""
    return capabilities(library.trt, create(library, "Builder"), library.cuda.compute_capability())


def _table_path(library: Library, wanted: BuildRequest) -> str:
    """Ranges hold for the same data, model and major version of TensorRT, on any GPU."""
    data = wanted.calibration.file.sha256 if wanted.calibration else ""
    text = "\n".join([data, wanted.model_digest, library.package, library.version.partition(".")[0]])
    name = hashlib.sha256(text.encode("utf-8")).hexdigest()[:32] + ".table"
    return os.path.join(wanted.cache_folder, "calibration", name)
