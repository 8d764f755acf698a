"""A job handed over: its folder is prepared and its supervisor started, once."""

import contextlib
import os
import time
from typing import BinaryIO, List

from device_agents.protocol import MAX_LINE_BYTES, PROTOCOL_VERSION, Dataset, Job, SubmitReply, encode, expect
from device_agents.workspace import Workspace, WorkspaceError, is_locked, whole_file


def submit(workspace: Workspace, source: BinaryIO, out: BinaryIO) -> int:
    """Take the job that `source` tells and start its supervisor; submitting it twice changes nothing."""
    job = expect(Job, source.readline(MAX_LINE_BYTES + 1))
    if job.protocol != PROTOCOL_VERSION:
        message = f"this agent speaks protocol {PROTOCOL_VERSION}, the controller {job.protocol}"
        raise WorkspaceError("protocol_mismatch", message)
    folder = workspace.job(job.job_id)
    if os.path.exists(os.path.join(folder, "journal.jsonl")):
        out.write(encode(SubmitReply("exists", job.job_id, [])))
        return 0
    _refuse_without_lease(workspace)
    sources = list(job.artifact) + [data.file for data in _datasets(job)]
    missing = workspace.missing(sources)
    if missing:
        out.write(encode(SubmitReply("missing", job.job_id, missing)))
        return 0
    workspace.remove_old_jobs()
    workspace.check_space_for_job()
    prepare(workspace, job, folder)
    _start_supervisor(workspace, job.job_id)
    out.write(encode(SubmitReply("accepted", job.job_id, [])))
    return 0


def _refuse_without_lease(workspace: Workspace) -> None:
    """A job that names a lease has to have it; that of an older controller names none, and waits."""
    if workspace.lease is None:
        return
    from device_agents.leases import Leases

    if not Leases(workspace).renew():
        raise WorkspaceError("lease_lost", f"the lease {workspace.lease} is not the present one")


def _datasets(job: Job) -> List[Dataset]:
    return [data for data in (job.check_inputs, job.evaluation, job.calibration) if data is not None]


def prepare(workspace: Workspace, job: Job, folder: str) -> None:
    """The job's folder: links to its blobs under the names they go by, then job.json and an empty journal.

    The journal comes last: a folder without one is no job yet and is prepared again.
    """
    for name in ("artifact", "data", "result"):
        os.makedirs(os.path.join(folder, name), mode=0o700, exist_ok=True)
    for blob in job.artifact:
        _link(workspace.blob(blob.sha256), os.path.join(folder, "artifact"), blob.name)
    for data in _datasets(job):
        _link(workspace.blob(data.file.sha256), os.path.join(folder, "data"), data.file.name)
    from device_agents.journal import note_boot

    with whole_file(os.path.join(folder, "job.json")) as file:
        file.write(encode(job))
    note_boot(folder)
    os.close(os.open(os.path.join(folder, "journal.jsonl"), os.O_CREAT | os.O_WRONLY, 0o600))


def _link(blob: str, folder: str, name: str) -> None:
    """A hard link, so that eviction cannot take a running job's files; a name must stay inside `folder`."""
    target = os.path.normpath(os.path.join(folder, name))
    if not target.startswith(folder + os.sep):
        raise WorkspaceError("bad_request", f"file name {name!r} leads out of the job's folder")
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.link(blob, target)


def _start_supervisor(workspace: Workspace, job_id: str) -> None:
    """Detached: a session of its own and none of our streams, so the end of the SSH link cannot reach it."""
    import subprocess

    from device_agents.own_command import agent_command

    folder = workspace.job(job_id)
    lease = ["--lease", workspace.lease] if workspace.lease is not None else []
    with open(os.path.join(folder, "supervisor.log"), "ab") as log, open(os.devnull, "r+b") as null:
        subprocess.Popen(
            agent_command("--workspace", workspace.root, *lease, "supervise", job_id),
            stdin=null,
            stdout=null,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )
    _wait_until_held(folder)


def _wait_until_held(folder: str) -> None:
    """A follower that comes before the supervisor holds its lock would take the job for an orphan."""
    give_up = time.monotonic() + 30.0
    journal = os.path.join(folder, "journal.jsonl")
    while not is_locked(folder) and os.path.getsize(journal) == 0:
        if time.monotonic() > give_up:
            raise WorkspaceError("supervisor_died", "the job's supervisor did not start within 30 s")
        time.sleep(0.005)
