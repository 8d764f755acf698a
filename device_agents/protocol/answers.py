"""Short answers of the agent's commands: how far each came, or why it could not."""

from typing import List, NamedTuple


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
