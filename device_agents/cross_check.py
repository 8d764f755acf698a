"""The process that lets the vendor's own tool measure a job's engine, as an independent check."""

from typing import BinaryIO

from device_agents.protocol import Job
from device_agents.workspace import Workspace


def run(workspace: Workspace, job: Job, out: BinaryIO) -> int:
    """Emit one ToolTiming."""
    raise NotImplementedError
