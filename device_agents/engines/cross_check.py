"""The process that lets the vendor's own tool measure a job's engine, as an independent check.

The option `via` names the tool; there is trtexec so far. Its figures stand beside ours and never replace
them, and no end of it fails the job.
"""

import os
from typing import Any, BinaryIO, List, Optional, Tuple

from device_agents.boards.host import Host, this_host
from device_agents.engines import trtexec
from device_agents.engines.job_engine import engine_of
from device_agents.protocol import (
    EngineBuilt,
    Job,
    ProtocolError,
    RuntimeLoaded,
    TensorSpec,
    ToolTiming,
    decode,
    encode,
)
from device_agents.workspace import Workspace


def run(workspace: Workspace, job: Job, out: BinaryIO) -> int:
    """Emit one ToolTiming."""
    out.write(encode(check(workspace.job(job.job_id), job, this_host())))
    out.flush()
    return 0


def check(folder: str, job: Job, host: Host) -> ToolTiming:
    """What the tool that the job names says of the engine in the job's folder."""
    tool = job.options.get("via", "")
    if tool != trtexec.NAME:
        return trtexec.failed(tool, "this agent has no tool {!r}; it has {}".format(tool, trtexec.NAME))
    path = engine_of(folder)
    if not os.path.isfile(path):
        return trtexec.failed(tool, "there is no engine: {} builds none".format(job.runtime))
    own = os.path.join(folder, "cross-check")
    try:
        os.makedirs(own, mode=0o700, exist_ok=True)
    except OSError as error:
        return trtexec.failed(tool, "{}: {}".format(own, error.strerror))
    events = _told(folder)
    inputs = _inputs(job, events)
    engine = trtexec.Engine(
        path=path,
        shapes={spec.names[0]: shape for spec, shape in inputs},
        dynamic=[spec.names[0] for spec, _ in inputs if any(size < 0 for size in spec.shape)],
        dla_core=_dla_core(job, events),
    )
    return trtexec.measure(host, engine, own, job.deadline_s)


def _told(folder: str) -> List[Any]:
    """The job's events so far; lines that cannot be read are left out."""
    events = []
    try:
        with open(os.path.join(folder, "journal.jsonl"), "rb") as journal:
            for line in journal:
                try:
                    events.append(decode(line))
                except ProtocolError:
                    continue
    except OSError:
        return []
    return events


def _inputs(job: Job, events: List[Any]) -> List[Tuple[TensorSpec, List[int]]]:
    """The engine's inputs as the runtime told of them, each with the shape that was timed."""
    loaded = [event for event in events if isinstance(event, RuntimeLoaded)]
    specs = loaded[-1].inputs if loaded else []
    found = [(spec, _same(spec, job.inputs, only=len(specs) == 1)) for spec in specs]
    return [(spec, wanted.shape) for spec, wanted in found if wanted is not None]


def _same(spec: TensorSpec, wanted: List[TensorSpec], only: bool) -> Optional[TensorSpec]:
    """The job's name for the runtime's tensor: any name they share, else the only one there is."""
    shared = [one for one in wanted if set(one.names) & set(spec.names)]
    if shared:
        return shared[0]
    return wanted[0] if only and len(wanted) == 1 else None


def _dla_core(job: Job, events: List[Any]) -> Optional[int]:
    """The DLA core the engine was built for, by what its building told, else by what the job asked for."""
    built = [event.details for event in events if isinstance(event, EngineBuilt)]
    core = (built[-1] if built else {}).get("dla_core") or job.options.get("dla_core", "")
    return int(core) if core.isdecimal() else None
