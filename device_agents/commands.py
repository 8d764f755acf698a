"""The agent's commands, one function each. Answers go to the claimed standard output."""

import contextlib
import os
import signal
import sys
import time
from typing import BinaryIO, Callable, Dict, List

from device_agents.protocol import (
    BlobState,
    CommandFailed,
    Job,
    PerformanceModeRestored,
    ProtocolError,
    SubmitReply,
    encode,
    expect,
)
from device_agents.signs_of_life import show_life
from device_agents.workspace import (
    DEFAULT_ROOT,
    Workspace,
    WorkspaceError,
    io_failure,
    is_locked,
)


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
            show_life(workspace)
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


def _put(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    from device_agents import transfers

    return transfers.put(workspace, arguments, out)


def _get(workspace: Workspace, arguments: List[str], out: BinaryIO) -> int:
    from device_agents import transfers

    return transfers.get(workspace, arguments, out)


def _submit(workspace: Workspace, _arguments: List[str], out: BinaryIO) -> int:
    from device_agents import submission

    _restore_leftovers(workspace)
    return submission.submit(workspace, sys.stdin.buffer, out)


def _examine(workspace: Workspace, _arguments: List[str], out: BinaryIO) -> int:
    from device_agents.boards.host import this_host
    from device_agents.doctor.examination import examine

    out.write(encode(examine(workspace, this_host())))
    return 0


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
