"""Our machine as a board of its own: a workspace under tmp_path and the real archive running in it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from device_agents.protocol import PROTOCOL_VERSION, BlobRef, Event, Job, Measurement, RepetitionStarted
from device_agents.workspace import Workspace
from harness.link.agent_archive import agent_archive
from harness.link.device_session import DeviceSession
from harness.link.local import LocalChannel, LocalTransport

#: As short as a repetition can be.
QUICK = Measurement(
    repetitions=1,
    warmup_min_s=0.0,
    warmup_max_s=0.01,
    min_iterations=1,
    max_iterations=200,
    min_time_s=0.0,
    max_time_s=0.02,
    median_ci_width=0.9,
)
#: So long that only somebody else ends it; for runtimes that take their time, see `fake_runtime`.
LONG = QUICK._replace(min_time_s=60.0, max_time_s=60.0, max_iterations=100_000)

#: A package `onnxruntime` that behaves as the variable FAKE_RUNTIME says. Needs no numpy.
_FAKE_RUNTIME = '''
import fcntl, os, signal, stat, sys, time

__version__ = "0.1"
MODE = os.environ.get("FAKE_RUNTIME", "")
if MODE == "broken":
    raise ImportError("libgomp.so.1: cannot open shared object file")
if MODE == "sigill_on_import":
    os.kill(os.getpid(), signal.SIGILL)


def channel():
    """The descriptor that a native library would hit by accident: the claimed standard output."""
    for fd in range(3, 20):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_WRONLY:
                return fd
        except OSError:
            continue


def get_available_providers():
    return ["CPUExecutionProvider"]


class SessionOptions:
    pass


class InferenceSession:
    def __init__(self, model, settings, providers):
        if MODE == "print":
            print("a banner in Python")
            os.write(1, b"a banner in C\\n")
        if MODE == "refuse":
            raise RuntimeError("opset 99 is not supported")

    def get_inputs(self):
        return []

    get_outputs = get_inputs

    def get_providers(self):
        return get_available_providers()

    def run(self, names, feed):
        if MODE == "sleep":
            time.sleep(0.005)
        elif MODE == "print":
            print("stray", flush=True)
            os.write(1, b"native\\n")
        elif MODE == "garbage":
            os.write(channel(), b"hello from C\\n")
        elif MODE == "endless_line":
            os.write(channel(), b"x" * (3 << 20))
        elif MODE == "forged_end":
            line = (b'{"failure_class":null,"message":null,"outcome":"ok","reason":null,"time":1.0,'
                    b'"type":"ended"}\\n')
            os.write(channel(), line)
        elif MODE == "raise":
            raise RuntimeError("bad tensor")
        elif MODE == "memory":
            raise MemoryError("std::bad_alloc")
        elif MODE == "exit":
            sys.stderr.write("giving up")
            sys.stderr.flush()
            os._exit(9)
        return []
'''


class Board:
    """A workspace, sessions with it, and looks behind the scenes."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        self.workspace = Workspace(str(folder / "workspace"))
        self.python = python

    def session(
        self,
        transport: Any = None,
        sleep: Callable[[float], None] = time.sleep,
        lease: str | None = None,
    ) -> DeviceSession:
        """A conversation with it."""
        return DeviceSession(
            transport or LocalTransport(),
            python=self.python,
            workspace=self.workspace.root,
            lease=lease,
            sleep=sleep,
        )

    def opened(self, lease: str | None = None) -> DeviceSession:
        """A session whose agent is there already; the probe of a real `open` would take its time."""
        self.deploy()
        return self.session(lease=lease)

    def deploy(self) -> Path:
        """Put the agent there by hand."""
        self.workspace.create()
        agents = Path(self.workspace.root) / "agents"
        agents.mkdir(mode=0o700, exist_ok=True)
        agent = agents / agent_archive().file_name
        agent.touch(mode=0o600)
        agent.write_bytes(agent_archive().content)
        return agent

    def folder_of(self, job_id: str) -> Path:
        """Where a job keeps its things."""
        return Path(self.workspace.job(job_id))

    def journal(self, job_id: str) -> bytes:
        """What a job told so far."""
        return (self.folder_of(job_id) / "journal.jsonl").read_bytes()


def job(job_id: str = "job-1", **changes: Any) -> Job:
    """A job of the null runtime, as short as can be unless `changes` say otherwise."""
    plain = Job(
        protocol=PROTOCOL_VERSION,
        job_id=job_id,
        runtime="null",
        precision="fp32",
        batch_size=1,
        num_threads=1,
        artifact=[],
        inputs=[],
        outputs=[],
        check_inputs=None,
        evaluation=None,
        measurement=QUICK,
        deadline_s=30.0,
        lock_wait_s=0.0,
        options={},
    )
    return plain._replace(**changes)


def fake_job(board: Board, job_id: str = "job-1", **changes: Any) -> Job:
    """A job of the fake runtime, which never opens its model; a job has to have one all the same."""
    sha256 = "ab" * 32
    Path(board.workspace.blob(sha256)).write_bytes(b"model")
    return job(job_id, runtime="onnxruntime", artifact=[BlobRef(sha256, 5, "model.onnx")], **changes)


def submit(session: DeviceSession, submitted: Job) -> bool:
    """Hand over a job that needs no files."""
    return session.submit(submitted, {}, lambda _blob: lambda _done, _total: None)


def run(session: DeviceSession, submitted: Job) -> list[Event]:
    """All events of a job."""
    submit(session, submitted)
    return list(session.follow(submitted.job_id))


def worker_of(session: DeviceSession, job_id: str) -> int:
    """The process of the first worker, as soon as there is one."""
    for event in session.follow(job_id):
        if isinstance(event, RepetitionStarted):
            return event.pid
    raise AssertionError("no worker was ever started")


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies not counted."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def in_timed_loop(board: Board, job_id: str) -> bool:
    """Whether the worker has told of its first inference, which the loop follows."""
    return b'"first_inference"' in board.journal(job_id)


def install_fake_runtime(site: Path) -> None:
    """Put the fake package into a folder that PYTHONPATH will name."""
    site.mkdir(parents=True, exist_ok=True)
    (site / "onnxruntime.py").write_text(_FAKE_RUNTIME)


def names_in(folder: str) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(path.name for path in Path(folder).iterdir())


class RecordingTransport:
    """Passes everything on to this machine and keeps what was started and how many bytes were sent."""

    def __init__(self) -> None:
        self.name = "board"
        self.commands: list[list[str]] = []
        self.sent_bytes = 0
        self._inner = LocalTransport("board")

    def start(self, command: Sequence[str]) -> RecordingChannel:
        self.commands.append(list(command))
        return RecordingChannel(self._inner.start(command), self)

    def close(self) -> None:
        self._inner.close()

    def verbs(self) -> list[str]:
        """The agent's commands in order; `sh` is a deployment."""
        return ["sh" if words[0] == "sh" else words[4] for words in self.commands]


class RecordingChannel:
    """A channel that counts what is written."""

    def __init__(self, inner: LocalChannel, transport: RecordingTransport) -> None:
        self._inner = inner
        self._transport = transport

    def write(self, data: bytes, timeout_s: float) -> None:
        self._transport.sent_bytes += len(data)
        self._inner.write(data, timeout_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def kill_leftovers(board: Board) -> None:
    """End every supervisor of this board; their workers follow."""
    for path in Path(board.workspace.jobs).glob("*/supervisor.lock"):
        with contextlib.suppress(ValueError, ProcessLookupError):
            pid = int(path.read_text())
            if pid != os.getpid() and is_running(pid) and path.parent.name in _command_line(pid):
                os.kill(pid, 9)


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
