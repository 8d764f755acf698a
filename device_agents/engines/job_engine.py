"""The engine of a job: where it lies in the job's folder, and how often its building is tried."""

import os

#: How many sizes of workspace are tried, each in a process of its own, before a lack of memory is final.
RUNGS = 4

#: What a built engine is called in a job's folder `engine`.
ENGINE_FILE = "engine.plan"


def engine_of(job_folder: str) -> str:
    """Where the engine of that job is, once it was built."""
    return os.path.join(job_folder, "engine", ENGINE_FILE)
