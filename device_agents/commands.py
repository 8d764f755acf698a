"""The agent's commands, one function each. Answers go to the claimed standard output."""

import contextlib
import os
import select
import signal
import sys
import time
from typing import BinaryIO, Callable, Dict, List

from device_agents.protocol import (
    MAX_LINE_BYTES,
    PROTOCOL_VERSION,
    BlobState,
    CommandFailed,
    Dataset,
    Job,
    PerformanceModeRestored,
    ProtocolError,
    SubmitReply,
    encode,
    expect,
)
from device_agents.workspace import (
    DEFAULT_ROOT,
    Workspace,
    WorkspaceError,
    io_failure,
    is_locked,
    whole_file,
)

#: Less than the controller waits for the board while sending (WRITE_TIMEOUT_S).
PUT_SILENCE_S = 60.0

#: How often a transfer renews the lease it is part of.
LIFE_S = 20.0

_CHUNK_BYTES = 1 << 18


def run(arguments: List[str], claimed: int) -> int:
    """Dispatch; what goes wrong is told in the claimed channel: a controller never reads tracebacks."""
    with os.fdopen(claimed, "wb") as out:
        root, lease = DEFAULT_ROOT, None
        if arguments[:1] == ["--workspace"] and len(arguments) >= 2:
            root, arguments = arguments[1], arguments[2:]
        if arguments[:1] == ["--lease"] and len(arguments) >= 2:
            lease, arguments = arguments[1], arguments[2:]
        command = _COMMANDS.get(arguments[0]) if arguments else None
        if command is None:
            out.write(encode(CommandFailed("bad_request", f"unknown command {arguments[:1]}")))
            return 2
        try:
            workspace = Workspace(root, lease)
            workspace.create()
            _show_life(workspace)
            return command(workspace, arguments[1:], out)
        except WorkspaceError as error:
            out.write(encode(error.reply))
        except (
            ProtocolError,
            IndexError,
            ValueError,
            OverflowError,
        ) as error:  # a missing, malformed or unusable argument
            import traceback

            traceback.print_exc()  # which, of a supervisor, goes to its log
            out.write(encode(CommandFailed("bad_request", f"{arguments[0]}: {error}")))
        except BrokenPipeError:
            # The controller hung up. Closing `out` would raise again, so leave without it.
            os._exit(1)
        except OSError as error:
            out.write(encode(io_failure(error, arguments[0])))
        return 1


def _show_life(workspace: Workspace) -> None:
    """Naming a lease renews it, if it is the present one; that is no reason for a command to fail."""
    if workspace.lease is None:
        return
    from device_agents.leases import Leases

    with contextlib.suppress(OSError, WorkspaceError):
        Leases(workspace).renew()


def _show_life_again(workspace: Workspace, last: float) -> float:
    """The same every now and then in a transfer, which may take longer than a lease lasts."""
    if time.monotonic() - last < LIFE_S:
        return last
    _show_life(workspace)
    return time.monotonic()


def _probe(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    from device_agents import probing

    _restore_leftovers(workspace)
    names = [name for name in (arguments[0] if arguments else "").split(",") if name]
    out.write(encode(probing.probe(workspace, names)))
    return 0


def _prove(_workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    from device_agents import memory, probing

    memory.go_first()
    out.write(encode(probing.prove_here(arguments[0])))
    return 0


def _examine(workspace: Workspace, _arguments: List[str], out: BinaryIO) -> int:
    from device_agents.boards.host import this_host
    from device_agents.doctor.examination import examine

    out.write(encode(examine(workspace, this_host())))
    return 0


def _put(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    """Say how much is there, take the rest from standard input, check the hash."""
    sha256, size = arguments[0], int(arguments[1])
    if os.path.exists(workspace.blob(sha256)):
        out.write(encode(BlobState(size, True)))
        return 0
    with workspace.partial_blob(sha256, size) as part:
        if os.path.exists(workspace.blob(sha256)):  # somebody else sent it while we waited
            os.remove(part.name)
            out.write(encode(BlobState(size, True)))
            return 0
        have, shown = part.tell(), time.monotonic()
        out.write(encode(BlobState(have, False)))
        out.flush()
        while have < size:
            # A link that died without a word must not keep the next try from this file.
            ready = select.select([0], [], [], PUT_SILENCE_S)[0]
            chunk = os.read(0, min(_CHUNK_BYTES, size - have)) if ready else b""
            if not chunk:  # the link broke; what came is kept and resumed from
                return 1
            part.write(chunk)
            have += len(chunk)
            shown = _show_life_again(workspace, shown)
        workspace.finish_blob(sha256, size, part)
    out.write(encode(BlobState(size, True)))
    return 0


def _get(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    """Result files one after the other, the first from an offset on: who asks knows sizes and hashes."""
    job_id, offset, names = arguments[0], int(arguments[1]), arguments[2:]
    folder = os.path.join(workspace.job(job_id), "result")
    shown = time.monotonic()
    for name in names:
        with open(os.path.join(folder, os.path.basename(name)), "rb") as file:
            file.seek(offset)
            for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
                out.write(chunk)
                shown = _show_life_again(workspace, shown)
        offset = 0
    return 0


def _submit(workspace: Workspace, _arguments: List[str], out: BinaryIO) -> int:
    """Take a job and start its supervisor; submitting it twice changes nothing."""
    _restore_leftovers(workspace)
    job = expect(Job, sys.stdin.buffer.readline(MAX_LINE_BYTES + 1))
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
    _prepare(workspace, job, folder)
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


def _prepare(workspace: Workspace, job: Job, folder: str) -> None:
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


def _supervise(workspace: Workspace, arguments: List[str], _out: BinaryIO) -> int:
    from device_agents.job import supervise

    return supervise(workspace, _stored_job(workspace.job(arguments[0])))


def _worker(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    from device_agents import memory, worker

    worker.die_with_parent()
    memory.go_first()
    folder = workspace.job(arguments[0])
    return worker.run(_stored_job(folder), folder, int(arguments[1]), out)


def _build(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    from device_agents import memory, worker
    from device_agents.engines import building as engine_building

    worker.die_with_parent()
    memory.go_first()
    return engine_building.run(workspace, _stored_job(workspace.job(arguments[0])), int(arguments[1]), out)


def _cross_check(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    from device_agents import memory, worker
    from device_agents.engines.cross_check import run

    worker.die_with_parent()
    memory.go_first()
    return run(workspace, _stored_job(workspace.job(arguments[0])), out)


def _restore(workspace: Workspace, _arguments: List[str], out: BinaryIO) -> int:
    """Put the board's clocks and power back if an agent died while they were raised."""
    from device_agents.boards.host import this_host
    from device_agents.performance.mode import restore_leftovers

    restored = restore_leftovers(workspace, this_host())
    if restored is None:
        raised = workspace.is_raised()
        problems = ["a running job has raised them and will put them back at its end"] if raised else []
        restored = PerformanceModeRestored(time.time(), not raised, {}, problems)
    out.write(encode(restored))
    return 0


def _restore_leftovers(workspace: Workspace) -> None:
    """As `restore`, in passing: whoever comes first after an agent died puts its board back."""
    if not workspace.is_raised():
        return
    from device_agents.boards.host import this_host
    from device_agents.performance.mode import restore_leftovers

    restored = restore_leftovers(workspace, this_host())
    if restored is not None:
        sys.stderr.write(encode(restored).decode("ascii"))


def _guard(workspace: Workspace, _arguments: List[str], out: BinaryIO) -> int:
    from device_agents.boards.host import this_host
    from device_agents.performance import guard

    return guard.watch(workspace, this_host(), out)


def _stored_job(folder: str) -> Job:
    with open(os.path.join(folder, "job.json"), "rb") as file:
        return expect(Job, file.read())


def _follow(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    from device_agents import journal

    folder, offset = workspace.job(arguments[0]), int(arguments[1])
    _restore_leftovers(workspace)
    try:
        for lines in journal.follow(folder, offset):
            out.write(lines)
            out.flush()
    except FileNotFoundError as error:
        message = (
            f"job {arguments[0]} is not in {workspace.root} any more: the board restarted and keeps nothing, "
            "or somebody emptied that folder"
        )
        raise WorkspaceError("job_lost", message) from error
    return 0


def _cancel(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    """End the job's supervisor, which ends its worker; a job that has none is left as it is."""
    from device_agents import journal

    folder = workspace.job(arguments[0])
    if is_locked(folder):
        pid = 0
        while pid == 0:  # it holds the lock a moment before it has signed
            with open(os.path.join(folder, "supervisor.lock")) as file:
                pid = int(file.read() or "0")
        _mark_cancelled(folder)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        for _ in journal.follow(folder, 0):
            pass
    out.write(encode(SubmitReply("cancelled", arguments[0], [])))
    return 0


def _mark_cancelled(folder: str) -> None:
    """Tell the supervisor whose signal is coming."""
    from device_agents.job import CANCEL_MARK

    with contextlib.suppress(OSError), open(os.path.join(folder, CANCEL_MARK), "w"):
        pass


def _clean(workspace: Workspace, _arguments: List[str], out: BinaryIO) -> int:
    """A run that has the board would lose files it has just sent, and results it has not fetched yet."""
    from device_agents.leases import Leases

    holder = Leases(workspace).leaseholder()
    if holder is not None:
        raise WorkspaceError("board_busy", f"held by {holder.words}: what it has here is still needed")
    out.write(encode(BlobState(workspace.clean(), True)))
    return 0


def _leasing(name: str) -> Callable[[Workspace, List[str], BinaryIO], int]:
    """A command of lease_commands.py, which is imported when it is asked for."""

    def run_it(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
        from device_agents import lease_commands

        command: Callable[[Workspace, List[str], BinaryIO], int] = getattr(lease_commands, name)
        return command(workspace, arguments, out)

    return run_it


_COMMANDS: Dict[str, Callable[[Workspace, List[str], BinaryIO], int]] = {
    "probe": _probe,
    "prove": _prove,
    "examine": _examine,
    "put": _put,
    "get": _get,
    "submit": _submit,
    "supervise": _supervise,
    "build": _build,
    "worker": _worker,
    "cross-check": _cross_check,
    "restore": _restore,
    "guard": _guard,
    "follow": _follow,
    "cancel": _cancel,
    "clean": _clean,
    "lease": _leasing("lease"),
    "renew": _leasing("renew"),
    "release": _leasing("release"),
    "evict": _leasing("evict"),
}
