"""The process that builds a job's engine, or finds it from an earlier job."""

from typing import BinaryIO

from device_agents.protocol import Job
from device_agents.workspace import Workspace

#: How many sizes of workspace are tried, each in a process of its own, before a lack of memory is final.
RUNGS = 4


def run(workspace: Workspace, job: Job, rung: int, out: BinaryIO) -> int:
    """Emit one EngineBuilt or BuildAttemptFailed; the engine is then `engine/` in the job's folder."""
    raise NotImplementedError
